# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Look up the commit of a git branch, and the hash of a source, for the update of a pin."""

from __future__ import annotations

import base64
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.run import run_one
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixRequest
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.literal import nix_literal

from .pins import STEP, Pin, holds_password

GIT_TIMEOUT_SECONDS = 120.0
FETCH_TIMEOUT_NAME = "the timeout for the update of the pins"
_COMMIT = re.compile(r"(?P<commit>[0-9a-f]{40}(?:[0-9a-f]{24})?)\t")
_PASSWORD = "the URL contains a password or a token, which would be visible in the process list"  # noqa: S105


@dataclass(frozen=True)
class Sources:
    """Asks git and Nix. ``deadline`` is a time of ``time.monotonic``, None for no limit."""

    nix: Nix
    deadline: float | None = None
    ages: bool = False
    """Whether the times of new revisions are wanted, which takes one more request each."""
    times: dict[str, int] = field(default_factory=dict)
    """The times of new revisions that were found, in seconds since the epoch."""

    def head_of(self, url: str, branch: str) -> str:
        """Return the commit of a branch of a remote repository. Raises ``NixferryError`` if it does not exist."""
        # `--`: a word that begins with a dash is a name here, never an option.
        text = _git(["ls-remote", "--", url, f"refs/heads/{branch}"], shown=f"git ls-remote {url}")
        match = _COMMIT.match(text)
        if match is None:
            raise NixferryError(f"{url} has no branch {branch}", step=STEP)
        return match["commit"]

    def note_time(self, url: str, branch: str, revision: str) -> None:
        """Note the time of the commit at the head of a branch, if ages are wanted: the commit alone is fetched."""
        if not self.ages:
            return
        with tempfile.TemporaryDirectory(prefix="nixferry-") as directory:
            here = ["-C", directory]
            _git([*here, "init", "--quiet", "--bare"], shown="git init")
            fetch = ["fetch", "--quiet", "--no-tags", "--depth=1", "--filter=tree:0", "--", url]
            _git([*here, *fetch, f"refs/heads/{branch}"], shown=f"git fetch {url}")
            commit, _space, seconds = _git(
                [*here, "log", "-1", "--format=%H %ct", "FETCH_HEAD"], shown="git log"
            ).partition(" ")
        # The branch may have moved meanwhile.
        if commit == revision:
            self.times[revision] = int(seconds)

    def with_times(self, pins: Mapping[str, Pin]) -> dict[str, Pin]:
        """Return the pins with the times that were noted."""
        return {name: replace(pin, time=self.times.get(pin.revision)) for name, pin in pins.items()}

    def download_hash(self, url: str, *, unpack: bool) -> str:
        """Return the SHA-256 hash of a file, or of an archive's content, in Nix's base 32."""
        # The name is that of builtins.fetchTarball, so that the build does not download again.
        flags = ["--unpack", "--name", "source"] if unpack else []
        return self._run("nix-prefetch-url", "--type", "sha256", *flags, url).strip()

    def checkout_hash(self, url: str, branch: str, revision: str, *, submodules: bool) -> str:
        """Return the SHA-256 hash of a checkout, as in builtins.fetchGit, in the form sha256-BASE64."""
        source = {"url": url, "rev": revision, "ref": f"refs/heads/{branch}", "submodules": submodules}
        expression = f"(builtins.fetchGit {nix_literal(source)}).narHash"
        argv = ("nix-instantiate", "--eval", "--json", "--read-write-mode", "-")
        return str(json.loads(self._run(*argv, input=expression.encode())))

    def base64_form(self, base32: str) -> str:
        """Convert a hash from Nix's base 32 to the form sha256-BASE64."""
        digits = self._run("nix-hash", "--type", "sha256", "--to-base16", base32).strip()
        return "sha256-" + base64.b64encode(bytes.fromhex(digits)).decode()

    def base32_form(self, sri: str) -> str:
        """Convert a hash from the form sha256-BASE64 to Nix's base 32."""
        digits = base64.b64decode(sri.removeprefix("sha256-")).hex()
        return self._run("nix-hash", "--type", "sha256", "--to-base32", digits).strip()

    def _run(self, *arguments: str, input: bytes | None = None) -> str:
        request = NixRequest(arguments, input=input, deadline=self.deadline)
        result = self.nix.run_many([request], step=STEP, parallel=1)[0]
        if result.return_code != 0 or result.timed_out:
            raise result.error(step=STEP, deadline_name=FETCH_TIMEOUT_NAME)
        return result.stdout


def _git(arguments: Sequence[str], *, shown: str) -> str:
    """Run git, which must not ask for a password. Raises ``NixferryError`` if it fails."""
    environment = {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
        "LC_ALL": "C",
    }
    try:
        ended = run_one(["git", *arguments], timeout=GIT_TIMEOUT_SECONDS, environment=environment)
    except OSError as error:
        raise NixferryError(f"git could not be started: {error}", step=STEP, remedy="Install git.") from error
    if ended.timed_out:
        raise NixferryError(f"the wait for {shown} expired", step=STEP, output=ended.errors)
    if ended.return_code != 0:
        last = next(
            (line for line in reversed(ended.errors) if line.strip()), f"exit code {ended.return_code}"
        )
        raise NixferryError(
            f"{shown}: {last}",
            step=STEP,
            remedy="Check the repository, the network and the credentials of git on the controller.",
            output=ended.errors,
        )
    return ended.text


def url_refusal(url: str) -> str:
    """Return why ``url`` must not be fetched; empty if it may."""
    if not url:
        return "it names no repository"
    return _PASSWORD if holds_password(url) else ""
