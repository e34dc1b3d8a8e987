# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Send requests to the guard on one host."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import (
    ANSWER_BEGIN,
    Answer,
    Completed,
    parse_answer,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    ANSWER_SECONDS,
    RemoteShell,
)

from .installed import STEP, guard_version
from .probe import ProbeResult, read_probe
from .program import GuardProgram, guard_program, guard_script
from .refusal import raise_refusal
from .requests import ProbeRequest, StartRequest, check_id, encode_value, request_fields, request_lines
from .status import GuardStatus, read_status

# A reason may be the output of a health check. The guard gets this much of it; the task's result has all of it.
REASON_BYTES = 256
# Verbs that run programs of the system, compare closures or finish what was interrupted, and how long these may take.
LONG_VERBS = ("probe", "start", "recover")
LONG_SECONDS = 3600
# The longest text that an installed guard accepts.
PLAIN_LENGTH = 1000
_MISSING = "missing"
_INSTALL = "As a user who may become root, install it once for this user (nixferry.deploy.nix_guard)."
# What sudo and the shell print when the rule, the program or sudo is missing.
_REASONS = (
    (re.compile(r"command not found|no such file|not found", re.I), "is not on the host, or sudo is not"),
    (
        re.compile(r"password is required|not allowed|may not run|not in the sudoers", re.I),
        "may not be run by",
    ),
)


class Guard:
    """Sends requests to the guard through ``shell``, which runs as the user whose system it is.

    Every method takes one round trip; ``probe`` and ``start`` one more if the host lacks this version of the guard.
    They raise ``GuardRefusal`` when the guard refuses, ``HostUnreachable`` when the host cannot be reached, and
    ``NixferryError`` for an answer that breaks the contract.
    """

    def __init__(self, shell: RemoteShell, program: GuardProgram | None = None) -> None:
        self.shell = shell
        self.program = program or guard_program()
        # Whether the host has said that it lacks the program. A refused `start` does not put it there.
        self._is_missing = False

    @contextmanager
    def fresh(self) -> Iterator[Guard]:
        """The same guard over a brand-new connection."""
        with self.shell.fresh() as shell:
            yield self._over(shell)

    def probe(self, request: ProbeRequest) -> ProbeResult:
        """Ask what the host runs, and what a deploy of a system would change. Changes nothing on the host."""
        return read_probe(self._ask("probe", request_fields(request)))

    def start(self, request: StartRequest) -> GuardStatus:
        """Begin an activation.

        With the action ``dry-activate`` it runs to the end at once and leaves no trace on the host.
        """
        return read_status(self._ask("start", request_fields(request)))

    def status(
        self,
        activation_id: str,
        *,
        wait_while: Iterable[str] = (),
        seconds: int = 0,
        within: int | None = None,
    ) -> GuardStatus:
        """Return the status of an activation; the host waits up to ``seconds`` while its phase is in ``wait_while``.

        Without an answer ``within`` that many seconds the host counts as unreachable.
        """
        values = {"wait_while": " ".join(wait_while), "seconds": str(seconds)}
        return self._about(activation_id, "status", values, within=within)

    def hold(self, activation_id: str, *, seconds: int) -> GuardStatus:
        """Extend the deadline of the confirmation to ``seconds`` from now.

        It is refused (error ``not_awaiting``) unless the guard is waiting for a confirmation.
        """
        return self._about(activation_id, "hold", {"seconds": str(seconds)})

    def confirm(self, activation_id: str, *, seconds: int) -> GuardStatus:
        """Confirm that the host is healthy, and wait up to ``seconds`` for the end.

        It is refused (error ``not_awaiting``) unless the guard is waiting for it. It may be repeated after a lost
        connection.
        """
        return self._about(activation_id, "confirm", {"seconds": str(seconds)})

    def abort(self, activation_id: str, *, seconds: int, reason: str = "") -> GuardStatus:
        """Ask for the roll back and wait up to ``seconds`` for the end.

        ``reason`` is recorded, such as the health check that failed. After the commit has begun it is refused
        (error ``too_late``).
        """
        return self._about(activation_id, "abort", {"seconds": str(seconds), "reason": shortened(reason)})

    def recover(self, activation_id: str) -> GuardStatus:
        """Finish or undo an activation whose status says ``interrupted``."""
        return self._about(activation_id, "recover", {})

    def _about(
        self, activation_id: str, verb: str, values: Mapping[str, str], *, within: int | None = None
    ) -> GuardStatus:
        check_id(activation_id)
        fields = iter({"id": activation_id, **values}.items())
        return read_status(self._ask(verb, fields, activation_id, within=within))

    def _ask(
        self,
        verb: str,
        values: Iterator[tuple[str, str]],
        activation_id: str = "",
        *,
        within: int | None = None,
    ) -> Answer:
        fields = list(values)
        answer = self._send(verb, fields, activation_id, within or patience(verb, fields))
        raise_refusal(answer)
        return answer

    # --- delivery of a request ----------------------------------------------------------------------------------------

    def _over(self, shell: RemoteShell) -> Guard:
        return Guard(shell, self.program)

    def _send(self, verb: str, values: Sequence[tuple[str, str]], activation_id: str, seconds: int) -> Answer:
        lines = request_lines(self.program.name, verb, iter(values))
        for whole in (True,) if self._is_missing and not activation_id else (False, True):
            script = guard_script(self.program, verb, lines, activation_id=activation_id, whole=whole)
            answer = parse_answer(verb, self.shell.run(script, step=Step(verb), seconds=seconds))
            if answer.text("guard") != _MISSING:
                return answer
            self._is_missing = True
        raise answer.broken("it lacks the program that it has just been sent")


class InstalledGuard(Guard):
    """Sends requests to the program ``path`` that is installed on the host, as root through sudo."""

    def __init__(self, shell: RemoteShell, path: str) -> None:
        super().__init__(shell)
        self.path = path

    def _over(self, shell: RemoteShell) -> Guard:
        return InstalledGuard(shell, self.path)

    def _send(
        self, verb: str, values: Sequence[tuple[str, str]], _activation_id: str, seconds: int
    ) -> Answer:
        program = shlex.quote(self.path)
        # Root needs no sudo, and may have none.
        command = f'if [ "$(id -u)" = 0 ]; then exec {program}; else exec sudo -n {program}; fi'
        result = self.shell.run_command(
            f"/bin/sh -c {shlex.quote(command)}",
            data=installed_request(verb, values),
            step=Step(verb),
            seconds=seconds,
        )
        if result.return_code != 0 and ANSWER_BEGIN not in result.stdout:
            raise self._no_answer(result, Step(verb))
        return parse_answer(verb, result)

    def _no_answer(self, result: Completed, step: Step) -> NixferryError:
        output = [*result.stdout.splitlines(), *result.stderr.splitlines()]
        user = self.shell.login_user or "this user"
        reason = next((text for sign, text in _REASONS if sign.search("\n".join(output))), "did not answer")
        who = f" {user}" if reason.endswith("by") else ""
        return NixferryError(
            f"the installed guard {self.path} {reason}{who}", step=step, remedy=_INSTALL, output=output
        )


# Fields that callers of an installed guard may not set (see the table in target/lib/request.sh).
FIXED_FIELDS = ("activate_command", "reboot_command", "variable", "metrics_directory")
# Free texts, of which an installed guard accepts only printable ASCII.
_TEXTS = ("deployer", "reason")


def installed_request(verb: str, values: Sequence[tuple[str, str]]) -> bytes:
    """Return a request in the form that an installed guard reads.

    Raises ``NixferryError`` when it sets a field that only the installed program may set.
    """
    for key, value in values:
        if key in FIXED_FIELDS and value:
            raise NixferryError(
                f"with an installed guard, {key} is not for the deploy to choose",
                step=STEP,
                remedy="Leave the option out. What activates a system was fixed when the guard was installed "
                "(nixferry.deploy.nix_guard).",
            )
    plain = ((key, _printable(value) if key in _TEXTS else value) for key, value in values)
    return "\n".join([*request_lines(guard_version(), verb, plain), ""]).encode("ascii")


def patience(verb: str, values: Sequence[tuple[str, str]]) -> int:
    """Return how long to wait for the answer, in seconds: what the host is asked to wait, and what it needs itself."""
    return (LONG_SECONDS if verb in LONG_VERBS else ANSWER_SECONDS) + int(dict(values).get("seconds") or 0)


def guard_on(shell: RemoteShell, installed: object) -> Guard:
    """Return the guard of a host, or the one at the path ``installed`` if given."""
    return InstalledGuard(shell, str(installed)) if installed else Guard(shell)


def shortened(reason: str) -> str:
    """Shorten ``reason`` to ``REASON_BYTES``, as it is sent."""
    if len(encode_value(reason)) <= REASON_BYTES:
        return reason
    kept = reason[:REASON_BYTES]
    while len(encode_value(kept)) > REASON_BYTES - 3:
        kept = kept[:-1]
    return f"{kept}..."


def _printable(value: str) -> str:
    """Return ``value`` in printable ASCII, on one line."""
    return "".join(each if " " <= each <= "~" else "?" for each in value)[:PLAIN_LENGTH]
