# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Query the Nix store of the host, with one script per round trip.

A path that is valid in a Nix store has its whole closure there (src/libstore/local-store.cc registers a path only
when its references are valid), so querying the topmost paths is enough.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import AnswerLost
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.commands import (
    CommandOutput,
    command_script,
    read_commands,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    ANSWER_SECONDS,
    OUTPUT_CHARACTERS,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.result import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import batches

from .explain import STEP, explain

NIX_COMMAND = "nix --extra-experimental-features nix-command"
# A host that cannot reach its substituters must not wait long for them, nor retry forever.
SUBSTITUTER_CONNECT_SECONDS = 5
SUBSTITUTER_ATTEMPTS = 2
# A shell's exit code for a program that was ended by a signal is this plus the signal's number.
SIGNALLED = 128

# Settings that every user may change for their own commands.
QUICK_SUBSTITUTION = (
    f"--option connect-timeout {SUBSTITUTER_CONNECT_SECONDS} "
    f"--option download-attempts {SUBSTITUTER_ATTEMPTS}"
)


def store_option(root: str | None) -> str:
    """Return the option for the store below ``root``, quoted for a shell, with a space before it."""
    return f" --store {shlex.quote(root)}" if root else ""


class TargetStore:
    """The Nix store of one host; ``root`` is a directory that has it as ``root/nix/store``.

    ``step`` is the step of errors.
    """

    def __init__(self, shell: RemoteShell, root: str | None = None, *, step: Step = STEP) -> None:
        self.shell = shell
        self.root = root
        self.step = step

    def missing(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Return the invalid ``paths`` on the host, in the given order. One round trip, changes nothing."""
        found = set(self.ask(self.missing_commands(paths)).lines)
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

    def substitute(self, paths: Sequence[str], *, seconds: float | None) -> tuple[str, ...]:
        """Let the host fetch ``paths`` from its own substituters; return the paths that are still missing.

        One round trip, of at most ``seconds``; None for no limit. Missing or unreachable substituters are not an error.
        """
        realise = (
            f"nix-store{store_option(self.root)} --realise --ignore-unknown --keep-going {QUICK_SUBSTITUTION}"
        )
        # Realising a derivation would build it.
        wanted = [path for path in paths if not path.endswith(".drv")]
        commands = [f"{realise} {shlex.join(batch)} >/dev/null || :" for batch in batches(wanted)]
        found = set(self.ask([*commands, *self.missing_commands(paths)], seconds=seconds).lines)
        return tuple(path for path in paths if path in found)

    def ask(
        self,
        commands: Iterable[str],
        *,
        seconds: float | None = ANSWER_SECONDS,
        most: int = OUTPUT_CHARACTERS,
    ) -> CommandOutput:
        """Run sh ``commands`` one after the other until one fails, in one round trip.

        ``seconds`` and ``most`` are those of ``RemoteShell.run``. Raises ``HostUnreachable``, and ``NixferryError`` if
        Nix is missing or a command fails.
        """
        done = self.shell.run(command_script(commands), step=self.step, seconds=seconds, most=most)
        return self.read(done)

    def read(self, result: RemoteResult) -> CommandOutput:
        """Return the output in ``result`` of a ``command_script``, or raise the error of the command that failed."""
        said = [*result.stdout.split("\n"), *result.stderr.split("\n")]
        try:
            output = read_commands(result, step=self.step)
        except AnswerLost as error:
            # A full disk, or a lost connection, may be the cause.
            known = explain(said, error.cause, transient=True)
            raise (known if known.remedy else error).with_(step=self.step) from None
        if output.code != 0:
            said = [*output.lines, *result.stderr.split("\n")]
            raise explain(
                said,
                f"the host ended with exit code {output.code}",
                # Ended by a signal: for instance a container restart, or a moment without memory.
                transient=output.code > SIGNALLED,
            ).with_(step=self.step)
        return output
