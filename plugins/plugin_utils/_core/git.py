# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Which revision is deployed, and whether it contains another: questions to git on the controller.

Without git, or outside of a checkout, there is no revision; that is no error.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from .deploy_record import DIRTY, base_revision

GIT_DEADLINE_SECONDS = 30.0
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REMOTE = re.compile(r"(?:github|gitlab|sourcehut):[^/?]+/[^/?]+/(?P<commit>[0-9a-f]{40})(?:\?|$)")
_PARAMETER = re.compile(r"[?&](?P<name>rev|ref)=(?P<value>[^&]+)")
_LOCAL_SCHEMES = ("path:", "git+file:")
# A hook of git that starts a deploy has these set for a repository of its own.
_FOREIGN = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
)


@dataclass(frozen=True)
class Revision:
    """What a source was built from."""

    revision: str = ""
    """The full hash of the commit, with ``-dirty`` when tracked files were modified; empty: not known."""
    repository: str = ""
    """The checkout on the controller; empty when there is none."""
    warning: str = ""
    """Why git would not tell, if it should have been able to."""


def flake_revision(reference: str, directory: str) -> Revision:
    """The revision of a flake reference without its fragment; relative ones count from ``directory``.

    Nothing is fetched: of a remote flake only the commit that the reference itself names is known.
    """
    parameters = {match["name"]: unquote(match["value"]) for match in _PARAMETER.finditer(reference)}
    commit = parameters.get("rev", "")
    plain = reference.partition("?")[0]
    scheme = next((scheme for scheme in _LOCAL_SCHEMES if plain.startswith(scheme)), "")
    if not scheme and plain[:1] not in ("", ".", "/"):
        match = _REMOTE.match(reference)
        found = match["commit"] if match else commit
        return Revision(found if _COMMIT.fullmatch(found) else "")
    path = plain.removeprefix(scheme)
    if path.startswith("//"):
        path = "/" + path.lstrip("/")
    place = Path(directory, unquote(path) if scheme else path)
    return checkout_revision(place, commit or parameters.get("ref", ""))


def file_revision(file: str, directory: str) -> Revision:
    """The revision of the checkout that holds a Nix file; none for an entry of the search path."""
    if file.startswith("<"):
        return Revision()
    path = Path(directory, Path(file).expanduser())
    return checkout_revision(path if path.is_dir() else path.parent)


def checkout_revision(place: Path, commit: str = "") -> Revision:
    """The commit of the checkout around a directory, or the one that ``commit`` names there."""
    try:
        place = place.resolve(strict=True)
    except OSError:
        return Revision()
    found = _git(place, "rev-parse", "--show-toplevel", "--verify", f"{commit or 'HEAD'}^{{commit}}")
    if found is None or found.returncode:
        complaint = found.stderr.strip() if found else ""
        # Somebody else's checkout: then the protection is not silently absent.
        return Revision(warning=complaint.splitlines()[0] if "dubious ownership" in complaint else "")
    repository, _newline, revision = found.stdout.strip().rpartition("\n")
    if commit:
        return Revision(revision, repository)
    # As Nix does: what git does not track does not count.
    status = _git(place, "status", "--porcelain", "--untracked-files=no")
    modified = status is None or status.returncode != 0 or bool(status.stdout.strip())
    return Revision(revision + (DIRTY if modified else ""), repository)


def is_checkout(directory: str) -> bool:
    """Whether git knows the directory."""
    done = _git(Path(directory), "rev-parse", "--git-dir") if directory else None
    return done is not None and done.returncode == 0


def contains(repository: str, new: str, old: str) -> bool | None:
    """Whether ``old`` is ``new`` or one of its ancestors; ``None`` when the checkout lacks one of the two."""
    new, old = base_revision(new), base_revision(old)
    if not (_COMMIT.fullmatch(new) and _COMMIT.fullmatch(old)):
        return None
    done = _git(Path(repository), "merge-base", "--is-ancestor", old, new)
    if done is None or done.returncode not in (0, 1):
        return None
    return done.returncode == 0


def intend_to_add(path: Path) -> list[str]:
    """Let git know of a new file, without its content. Returns what went wrong; outside of a checkout nothing does."""
    if not is_checkout(str(path.parent)):
        return []
    done = _git(path.parent, "add", "--intent-to-add", "--", path.name)
    if done is not None and done.returncode == 0:
        return []
    return [f"{path} is not known to git: {done.stderr.strip() if done else 'git does not answer'}"]


def is_shallow(repository: str) -> bool:
    """Whether the checkout lacks the older part of its history."""
    done = _git(Path(repository), "rev-parse", "--is-shallow-repository")
    return done is not None and done.stdout.strip() == "true"


def _git(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    """What git answers; ``None`` when there is no git or it does not answer in time."""
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    # No question, no download of what a partial clone has left out, no lock in the user's way.
    environment.update(GIT_TERMINAL_PROMPT="0", GIT_NO_LAZY_FETCH="1", GIT_OPTIONAL_LOCKS="0", LC_ALL="C")
    try:
        return subprocess.run(
            ["git", "-C", str(directory), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            timeout=GIT_DEADLINE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
