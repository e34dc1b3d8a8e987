# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Reboot a machine into a trial, and prove over new logins that it works; otherwise reboot it again.

The web server has handed the trial out by then, so that every further boot is the release before. The machine reboots
by itself when a timer expires that the trial has on its kernel's command line: nothing here has to live for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from ansible_collections.nixferry.deploy.plugins.module_utils._netboot.script import TRIAL_UNIT
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import (
    HealthCheck,
    HealthResult,
    total_budget,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.run import run_health_checks
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    HostUnreachable,
    RemoteShell,
)

from .look import BOOTED, STEP, Look, look

# Between two attempts to reach a machine, and between two looks at one that boots.
POLL_SECONDS = 2.0
COMMAND_SECONDS = 60
REBOOT = "systemctl --no-block reboot"
STOP_TIMER = f"systemctl stop {TRIAL_UNIT}"
# For a systemd that does not read units from the kernel's command line.
ARM_TIMER = (
    f"systemd-run --quiet --unit={TRIAL_UNIT.removesuffix('.timer')} --on-boot={{seconds}} "
    "--timer-property=AccuracySec=1s systemctl --no-block reboot"
)
WHAT_ENDS_A_TRIAL = (
    "Look at the console of the host, or its journal. The boot default is still the release before."
)


class Outcome(StrEnum):
    """How a trial has ended."""

    PROVED = "proved"
    ROLLED_BACK = "rolled-back"
    UNKNOWN = "unknown"


class ProgressLike(Protocol):
    """The part of ``Progress`` that is used here."""

    def line(self, text: str) -> None:
        """Show a line that stays."""


@dataclass(frozen=True)
class Request:
    """What shall be tried, and how long each part may take, in seconds."""

    release: str
    trial: str
    timeout_reboot: int
    timeout_confirm: int
    seconds: int
    """After the start of its kernel the trial reboots by itself."""
    checks: Sequence[HealthCheck]
    watch_units: bool
    ignored_units: frozenset[str]

    @property
    def problem(self) -> str:
        """Why the times do not fit; empty if they do."""
        needed = self.timeout_reboot + self.timeout_confirm + total_budget(self.checks)
        if needed <= self.seconds:
            return ""
        return (
            f"the trial reboots by itself after {self.seconds} s, and its proof may take {needed} s: timeout_reboot, "
            "timeout_confirm and the health checks"
        )


@dataclass(frozen=True)
class Ended:
    """How a trial has ended. ``cause`` is empty for one that was proved."""

    outcome: Outcome
    before: Look
    after: Look | None = None
    health: tuple[HealthResult, ...] = ()
    cause: str = ""
    remedy: str = ""
    armed_by: str = ""
    """What has set the timer of the trial: ``kernel`` or ``controller``."""


@dataclass
class Trial:
    """One trial, over ``shell`` and new logins like it."""

    shell: RemoteShell
    request: Request
    progress: ProgressLike
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _armed_by: str = field(default="", init=False)
    _same_boot: bool = field(default=False, init=False)

    def run(self, before: Look) -> Ended:
        """Reboot the machine that is in the boot ``before``, and say how it ends.

        Raises ``NixferryError`` if it cannot be told to reboot.
        """
        self._reboot(self.shell)
        self.progress.line("rebooting into the release once")
        after = self._another_boot(before.boot, self.request.timeout_reboot)
        if after is None and self._same_boot:
            return Ended(
                Outcome.ROLLED_BACK,
                before,
                before,
                cause=f"the host did not go down within {self.request.timeout_reboot} s (timeout_reboot)",
                remedy="Look at what keeps it from going down (systemctl list-jobs). It boots the release before.",
            )
        if after is None:
            return self._late(before)
        if not self._is_trial(after):
            return self._came_back(before, after)
        try:
            self._arm(after)
            health, cause = self._prove(before, after)
        except NixferryError as error:
            health, cause = (), error.cause
        if not cause:
            return Ended(Outcome.PROVED, before, after, health, armed_by=self._armed_by)
        return self._roll_back(before, after, health, cause)

    def _is_trial(self, seen: Look) -> bool:
        return (seen.release, seen.trial) == (self.request.release, self.request.trial)

    def _came_back(self, before: Look, after: Look) -> Ended:
        return Ended(
            Outcome.ROLLED_BACK,
            before,
            after,
            cause=f"the host came back with the release {after.release or 'of another server'} by itself",
            remedy="The new one crashed, or was not handed out: the web server must be configured by the role netboot "
            f"(tasks_from: server). {WHAT_ENDS_A_TRIAL}",
        )

    def _late(self, before: Look) -> Ended:
        """Wait on for a machine that is silent: its timer reboots it into the release before."""
        cause = f"the host did not come back within {self.request.timeout_reboot} s (timeout_reboot)"
        self.progress.line("not back yet: waiting until its timer has rebooted it")
        after = self._another_boot(before.boot, self.request.seconds + self.request.timeout_reboot)
        if after is None:
            remedy = f"{WHAT_ENDS_A_TRIAL} Switching it off and on boots that."
            return Ended(Outcome.UNKNOWN, before, cause=cause, remedy=remedy)
        if self._is_trial(after):
            return self._roll_back(before, after, (), cause)
        return self._came_back(before, after)

    def _another_boot(self, boot: str, seconds: int) -> Look | None:
        """Wait for a login to another boot; None if there is none.

        ``_same_boot`` is whether the last attempt found the old one.
        """
        deadline = self.clock() + seconds
        self._same_boot = False
        while self.clock() < deadline:
            try:
                with self.shell.fresh() as fresh:
                    seen = look(fresh)
                self._same_boot = seen.boot == boot
                if not self._same_boot:
                    self.progress.line("is back after the reboot")
                    return seen
            except NixferryError:
                # Away, not ready for logins yet, or refusing them: a trial that goes on doing so ends by itself.
                self._same_boot = False
            self.sleep(POLL_SECONDS)
        return None

    def _arm(self, after: Look) -> None:
        if after.timer == "active":
            self._armed_by = "kernel"
            return
        with self.shell.fresh() as fresh:
            ran = fresh.run(
                ARM_TIMER.format(seconds=self.request.seconds), step=STEP, seconds=COMMAND_SECONDS
            )
        if ran.return_code != 0:
            raise NixferryError(
                f"the timer that ends the trial cannot be set: {ran.stderr.strip()}", step=STEP
            )
        self._armed_by = "controller"

    def _prove(self, before: Look, after: Look) -> tuple[tuple[HealthResult, ...], str]:
        """Return the results of the checks, and what is wrong; nothing if all is well."""
        deadline = self.clock() + self.request.timeout_confirm
        while after.state not in BOOTED:
            if self.clock() > deadline:
                return (
                    (),
                    f"it had not finished booting after {self.request.timeout_confirm} s (timeout_confirm)",
                )
            self.sleep(POLL_SECONDS)
            with self.shell.fresh() as fresh:
                seen = look(fresh)
            if seen.boot != after.boot:
                return (), "it has rebooted by itself"
            after = seen
        new = sorted(set(after.failed) - set(before.failed) - self.request.ignored_units)
        if after.state == "maintenance" or (self.request.watch_units and new):
            return (), f"it is in the state {after.state}, with failed units: {', '.join(new) or 'none'}"
        with self.shell.fresh() as fresh:
            if self.request.checks:
                self.progress.line(f"running {len(self.request.checks)} checks")
            health = tuple(run_health_checks(self.request.checks, fresh, sleep=self.sleep))
            unhealthy = [result.text for result in health if not result.healthy]
            if unhealthy:
                return health, "; ".join(unhealthy)
            last = look(fresh)
        return health, "" if last.boot == after.boot else "it has rebooted by itself"

    def _roll_back(self, before: Look, after: Look, health: tuple[HealthResult, ...], cause: str) -> Ended:
        self.progress.line("not healthy: rebooting into the release before")
        limit = self.request.timeout_reboot
        try:
            with self.shell.fresh() as fresh:
                self._reboot(fresh)
        except NixferryError:
            self.progress.line("cannot be reached: waiting until its timer has rebooted it")
            limit += self.request.seconds
        seen = self._another_boot(after.boot, limit)
        if seen is None or self._is_trial(seen):
            return Ended(
                Outcome.UNKNOWN,
                before,
                seen,
                health,
                cause=f"{cause}. It did not come back with the release before within {limit} s",
                remedy=f"{WHAT_ENDS_A_TRIAL} It reboots by itself {self.request.seconds} s after it has started.",
                armed_by=self._armed_by,
            )
        return Ended(
            Outcome.ROLLED_BACK,
            before,
            seen,
            health,
            cause=cause,
            remedy=f"It runs the release {seen.release} again. Correct the system, and deploy again.",
            armed_by=self._armed_by,
        )

    def _reboot(self, shell: RemoteShell) -> None:
        try:
            ran = shell.run(REBOOT, step=STEP, seconds=COMMAND_SECONDS)
        except HostUnreachable:
            # The reboot may be faster than the answer.
            return
        if ran.return_code != 0:
            raise NixferryError(
                f"the host cannot be told to reboot: {ran.stderr.strip() or ran.return_code}",
                step=STEP,
                remedy="Look at what `systemctl reboot` says there. It runs what it ran.",
            )


def keep(shell: RemoteShell, release: str) -> Look:
    """Let the trial that runs go on for ever. Raises ``NixferryError`` if it cannot be kept."""
    shell.run(STOP_TIMER, step=STEP, seconds=COMMAND_SECONDS)
    seen = look(shell)
    if seen.release != release:
        raise NixferryError(
            f"the host runs the release {seen.release or 'of another server'}, and not {release}",
            step=STEP,
            remedy=f"{release} is the boot default now. Look why the host has rebooted, and deploy again.",
        )
    if seen.timer == "active":
        raise NixferryError(
            f"{TRIAL_UNIT} cannot be stopped",
            step=STEP,
            remedy=f"The host reboots once more, into {release}, which is the boot default now. To avoid that, stop it "
            "there.",
        )
    return seen
