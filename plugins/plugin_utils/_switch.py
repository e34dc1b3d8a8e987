# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The controller's half of an activation: start the guard, log in anew, check, confirm or abort.

The host's half is the guard (``target/*.sh``), which needs nobody: when nothing from here reaches it, it rolls
back. So whatever goes wrong here is reported, and never leaves the host half-deployed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from ansible_collections.nixferry.deploy.plugins.plugin_utils._connection import HostUnreachable, RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._deploy_record import (
    DeployRecord,
    OtherRevision,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard import (
    StartRequest,
    abort_script,
    confirm_script,
    recover_script,
    start_script,
    status_script,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard_answers import GuardStatus, parse_status
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health import (
    HealthCheck,
    HealthResult,
    run_health_checks,
    total_budget,
)

# How long one question waits on the host for the phase to change. Below what firewalls forget idle
# connections after, and short enough for the user to see signs of life.
LONG_POLL_SECONDS = 15
# Between two attempts to reach a host that does not answer.
RECONNECT_SECONDS = 1.0
# What the controller waits beyond the sum of the host's own deadlines before it gives up.
MARGIN_SECONDS = 60

# The revision on the host may be another one each time, when others deploy meanwhile.
START_ATTEMPTS = 3

AWAITING_CONFIRMATION = "awaiting-confirmation"


class ProgressLike(Protocol):
    """The part of ``Progress`` that is used."""

    def line(self, text: str) -> None:
        """Show a line that stays."""


@dataclass(frozen=True)
class Followed:
    """How an activation ended, as far as the controller could see."""

    status: GuardStatus
    health: tuple[HealthResult, ...] = ()
    lost: NixferryError | None = None
    """Set when nobody got an answer any more before every deadline had passed; ``status`` is then old."""


@dataclass
class Switch:
    """One activation on one host. ``run`` starts it and stays with it to the end."""

    shell: RemoteShell
    request: StartRequest
    checks: Sequence[HealthCheck]
    progress: ProgressLike
    allow: Callable[[DeployRecord], None] = lambda _record: None
    """Raises ``NixferryError`` when what is deployed must not be replaced."""
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _health: tuple[HealthResult, ...] = field(default=(), init=False)
    _shown: str = field(default="", init=False)

    def __post_init__(self) -> None:
        # The host waits for the checks as well, else a slow but healthy service would be rolled back.
        budget = self.request.timeout_confirm + total_budget(self.checks)
        self.request = replace(self.request, timeout_confirm=budget)

    def run(self) -> Followed:
        """Start the activation and follow it until it is committed, rolled back or failed.

        Raises ``NixferryError`` when the guard refuses to start (nothing was changed then), and
        ``HostUnreachable`` when the host cannot be reached to begin with.
        """
        try:
            status = self._start()
        except HostUnreachable as error:
            status = self._started_all_the_same(error)
        return self._follow(status)

    def longest_wait(self) -> int:
        """Seconds until the host has reached a final phase by its own deadlines, with a margin."""
        request = self.request
        wait = 2 * request.timeout_activation + request.timeout_confirm + 2 * request.timeout_roll_back
        if request.reboot_if_unreachable:
            wait += request.timeout_confirm
        return wait + MARGIN_SECONDS

    def _start(self) -> GuardStatus:
        """Start, and once more when a deployed revision that the guard does not know of may be replaced."""
        for _attempt in range(START_ATTEMPTS):
            try:
                return self._ask(self.shell, "start", start_script(self.request))
            except OtherRevision as error:
                self.allow(error.record)
                self.request = replace(self.request, known_revision=error.record.revision)
        return self._ask(self.shell, "start", start_script(self.request))

    def _started_all_the_same(self, error: HostUnreachable) -> GuardStatus:
        """The state of an activation whose start was sent over a connection that then broke.

        Raises the first error when the host cannot be reached anew, or knows nothing of the activation.
        """
        try:
            with self.shell.fresh() as fresh:
                return self._ask(fresh, "status", status_script(self.request.activation_id))
        except NixferryError:
            raise error from None

    def _follow(self, status: GuardStatus) -> Followed:
        deadline = self.clock() + self.longest_wait()
        trouble: NixferryError | None = None
        while not status.final:
            if self.clock() > deadline:
                trouble = trouble or NixferryError(
                    f"the guard was still {status.phase} after {self.longest_wait()} s",
                    step="wait for the guard",
                    remedy=f"Look at the log on the host: {status.log_path}.",
                )
                return Followed(status, self._health, trouble)
            try:
                with self.shell.fresh() as fresh:
                    status = self._wait(fresh)
                if status.phase == AWAITING_CONFIRMATION:
                    # That login may be older than the end of the activation; the one that counts is not.
                    with self.shell.fresh() as fresh:
                        status = self._judge(fresh)
                trouble = None
            except NixferryError as error:
                # No way in, or in but not to root any more, or a shell that garbles what it prints: all the same
                # to the guard, which rolls back what is not confirmed. Then the way in is what it was.
                if trouble is None:
                    self.progress.line(f"{error.message.splitlines()[0]}; it rolls back unless that passes")
                trouble = error
                self.sleep(RECONNECT_SECONDS)
        return Followed(status, self._health)

    def _wait(self, fresh: RemoteShell) -> GuardStatus:
        """Wait on the host until it is the controller's turn or the end, for as long as one question may take."""
        identifier = self.request.activation_id
        waiting = ("prepared", "activating", "committing", "rolling-back")
        script = status_script(identifier, wait_while=waiting, seconds=LONG_POLL_SECONDS)
        status = self._ask(fresh, "status", script)
        if status.interrupted:
            return self._ask(fresh, "recover", recover_script(identifier))
        return status

    def _judge(self, fresh: RemoteShell) -> GuardStatus:
        """Over a login that the new system has let in: run the checks, then confirm or abort."""
        identifier = self.request.activation_id
        if self.checks:
            self.progress.line(f"reached over a new login; running {len(self.checks)} health checks")
            self._health = tuple(run_health_checks(self.checks, fresh, sleep=self.sleep))
        unhealthy = [result for result in self._health if not result.healthy]
        if unhealthy:
            reason = f"{unhealthy[0].check.name}: {unhealthy[0].detail}"
            self.progress.line(f"not healthy: {reason.splitlines()[0]}")
            script = abort_script(identifier, seconds=LONG_POLL_SECONDS, reason=reason)
            return self._ask_or_look(fresh, "abort", script)
        script = confirm_script(identifier, seconds=LONG_POLL_SECONDS)
        return self._ask_or_look(fresh, "confirm", script)

    def _ask_or_look(self, shell: RemoteShell, verb: str, script: str) -> GuardStatus:
        """Ask, and when the guard refuses because its deadline has just passed, report its state instead."""
        try:
            return self._ask(shell, verb, script)
        except HostUnreachable:
            raise
        except NixferryError:
            return self._ask(shell, "status", status_script(self.request.activation_id))

    def _ask(self, shell: RemoteShell, verb: str, script: str) -> GuardStatus:
        status = parse_status(verb, shell.run(script, step=verb))
        if status.phase != self._shown and not status.final:
            self._shown = status.phase
            self.progress.line(status.phase.replace("-", " "))
        return status
