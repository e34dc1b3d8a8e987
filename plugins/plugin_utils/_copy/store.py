# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Query the Nix store of the host, with one script per round trip.

A path that is valid in a Nix store has its whole closure there (src/libstore/local-store.cc registers a path only
when its references are valid), so querying the topmost paths is enough.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import is_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    RemoteResult,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import EXTEND_SEARCH_PATH
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import batches

from .explain import STEP, explain

NIX_COMMAND = "nix --extra-experimental-features nix-command"
# A host that cannot reach its substituters must not wait long for them, nor retry forever.
SUBSTITUTER_CONNECT_SECONDS = 5
SUBSTITUTER_ATTEMPTS = 2
NO_ANSWER_REMEDY = (
    "Make sure that the login user can run /bin/sh on the host, with become if it is used: a restricted shell, "
    "or a forced command of sshd, runs something else. The host's output is in `output`."
)
_ANSWER = re.compile(r"^nixferry-(?P<word>[a-z-]+)=(?P<value>.*)$")

# Settings that every user may change for their own commands.
QUICK_SUBSTITUTION = (
    f"--option connect-timeout {SUBSTITUTER_CONNECT_SECONDS} "
    f"--option download-attempts {SUBSTITUTER_ATTEMPTS}"
)


@dataclass(frozen=True)
class Answer:
    """The output of a script: store paths on lines of their own, and ``nixferry-word=value`` lines."""

    text: str = ""
    paths: tuple[str, ...] = ()
    words: dict[str, str] = field(default_factory=dict)


def parse_answer(text: str) -> Answer:
    """Parse standard output of a script; ignore lines of login scripts and of sudo."""
    paths: list[str] = []
    words: dict[str, str] = {}
    for line in text.splitlines():
        match = _ANSWER.match(line)
        if match is not None:
            words[match["word"]] = match["value"]
        elif is_store_path(line.strip()):
            paths.append(line.strip())
    return Answer(text, tuple(paths), words)


def store_option(root: str | None) -> str:
    """Return the option for the store below ``root``, quoted for a shell, with a space before it."""
    return f" --store {shlex.quote(root)}" if root else ""


class TargetStore:
    """The Nix store of one host; ``root`` is a directory that has it as ``root/nix/store``."""

    def __init__(self, shell: RemoteShell, root: str | None = None) -> None:
        self.shell = shell
        self.root = root

    def missing(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Return the invalid ``paths`` on the host, in the given order. One round trip, changes nothing."""
        answer = self.ask(self.missing_commands(paths))
        found = set(answer.paths)
        return tuple(path for path in paths if path in found)

    def missing_commands(self, paths: Sequence[str]) -> list[str]:
        """Return sh commands that print the invalid ``paths``."""
        check = f"nix-store{store_option(self.root)} --check-validity --print-invalid"
        commands = [f"{check} {shlex.join(batch)}" for batch in batches(paths)]
        if self.root is None:
            return commands
        # Nix would create a missing store.
        listing = "; ".join(f"printf '%s\\n' {shlex.join(batch)}" for batch in batches(paths))
        database = shlex.quote(self.root.rstrip("/") + "/nix/var/nix/db/db.sqlite")
        inner = " && ".join(commands)
        return [f"if [ -e {database} ]; then {inner}; else {listing}; fi"]

    def substitute(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Let the host fetch ``paths`` from its own substituters; return the paths that are still missing.

        One round trip. Missing or unreachable substituters are not an error.
        """
        realise = (
            f"nix-store{store_option(self.root)} --realise --ignore-unknown --keep-going {QUICK_SUBSTITUTION}"
        )
        # Realising a derivation would build it.
        wanted = [path for path in paths if not path.endswith(".drv")]
        commands = [f"{realise} {shlex.join(batch)} >/dev/null || :" for batch in batches(wanted)]
        answer = self.ask([*commands, *self.missing_commands(paths)])
        found = set(answer.paths)
        return tuple(path for path in paths if path in found)

    def ask(self, commands: Iterable[str]) -> Answer:
        """Run sh ``commands`` one after the other until one fails, in one round trip.

        Raises ``HostUnreachable``, and ``NixferryError`` if Nix is missing or a command fails.
        """
        return self.read(self.shell.run(render_script(commands), step=STEP))

    def read(self, result: RemoteResult) -> Answer:
        """Return the answer in ``result`` of a script of ``render_script``, or raise its error."""
        answer = parse_answer(result.stdout)
        if "no-nix" in answer.words:
            raise no_nix(answer.words["no-nix"])
        if answer.words.get("end") != "0":
            error = explain(
                [*result.stderr.splitlines(), *result.stdout.splitlines()],
                f"the host answered with exit code {result.return_code} and no result",
            )
            if "end" not in answer.words and not error.remedy:
                error = error.with_(remedy=NO_ANSWER_REMEDY)
            raise error
        return answer


def render_script(commands: Iterable[str]) -> str:
    """Return a script for ``/bin/sh`` on standard input; children must not read from there."""
    body = "\n".join(f"    {command} </dev/null || return $?" for command in _grouped(commands))
    # A login script may have printed text without a newline.
    return f"""{EXTEND_SEARCH_PATH}
echo
work() {{
{body or "    :"}
}}
if command -v nix-store >/dev/null 2>&1; then
    work
    printf 'nixferry-end=%s\\n' "$?"
else
    printf 'nixferry-no-nix=%s\\n' "$PATH"
fi
"""


def _grouped(commands: Iterable[str]) -> Iterator[str]:
    for command in commands:
        yield f"{{ {command}; }}"


def no_nix(search_path: str) -> NixferryError:
    """Return the error for a host without Nix on the search path of a command without a login."""
    return NixferryError(
        "nix-store was not found on the host",
        step=STEP,
        remedy="Install Nix on the host, or link the programs of an installation elsewhere into /usr/local/bin. "
        f"Searched: {search_path}.",
    )
