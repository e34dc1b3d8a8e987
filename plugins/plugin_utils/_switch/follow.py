# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Wait for an activation to end, polling the guard over fresh logins.

The guard does not need the controller: without a confirmation it rolls back. A fault on the controller is reported and
never leaves the host half-deployed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import Guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.words import UNDER_WAY, Phase
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import HealthResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import HostUnreachable

from .reboot import is_away, reboot_line

# How long one request waits on the host for the phase to change. Firewalls forget idle connections later than that, and
# the user sees progress often enough.
LONG_POLL_SECONDS = 15
# Between two attempts to reach a host that does not answer.
RECONNECT_SECONDS = 1.0
# Seconds beyond the sum of the host's own deadlines after which the controller gives up.
MARGIN_SECONDS = 60


class ProgressLike(Protocol):
    """The part of ``Progress`` that is used here."""

    def line(self, text: str) -> None:
        """Show a line that stays."""


@dataclass(frozen=True)
class Followed:
    """How an activation ended, as far as the controller could see."""

    status: GuardStatus
    health: tuple[HealthResult, ...] = ()
    lost: NixferryError | None = None
    """Set when every deadline passed without another answer; ``status`` is then outdated."""
    acted: bool = True
    """Whether this task has changed anything. False if an earlier one gave the same order."""


@dataclass
class Follower:
    """Follow one activation through the guard."""

    guard: Guard
    activation_id: str
    progress: ProgressLike
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    health: tuple[HealthResult, ...] = ()
    """The results of the checks, once they have run."""
    _shown: str = field(default="", init=False)
    _reboot: str = field(default="", init=False)

    def follow(
        self,
        status: GuardStatus,
        my_turn: Callable[[Guard], GuardStatus],
        *,
        longest_wait: int,
        longest_silence: int | None = None,
        hold: bool = False,
    ) -> Followed:
        """Stay with the activation to its end, for ``longest_wait`` seconds at most.

        Each time the host awaits a confirmation, ``my_turn`` is called on a fresh login and returns the new state. With
        ``hold``, following ends while the host still waits. A host that does not answer for ``longest_silence``
        seconds is given up.
        """
        deadline = self.clock() + longest_wait
        heard = self.clock()
        trouble: NixferryError | None = None
        while not status.final:
            silent = (
                trouble is not None and longest_silence is not None and self.clock() > heard + longest_silence
            )
            if silent or self.clock() > deadline:
                trouble = trouble or NixferryError(
                    f"the guard was still {status.phase} after {longest_wait} s",
                    step=Step.WAIT_FOR_GUARD,
                    remedy=f"Look at the log on the host: {status.log_path}.",
                )
                return Followed(status, self.health, trouble)
            try:
                if trouble is not None or status.interrupted or status.phase != Phase.AWAITING_CONFIRMATION:
                    with self.guard.fresh() as fresh:
                        status = self.wait(fresh)
                if status.phase == Phase.AWAITING_CONFIRMATION:
                    # The login that told it may be older than the end of the activation. Only a fresh one counts.
                    with self.guard.fresh() as fresh:
                        status = my_turn(fresh)
                    if hold and status.phase == Phase.AWAITING_CONFIRMATION:
                        break
                trouble = None
                heard = self.clock()
            except NixferryError as error:
                # Login refused, become refused, or unreadable output: the guard rolls back in each case, and the
                # old login works again.
                if trouble is None and is_away(status):
                    self.progress.line("rebooting: waiting for it to come back")
                elif trouble is None:
                    self.progress.line(f"{error.headline}; it rolls back unless that passes")
                trouble = error
                self.sleep(RECONNECT_SECONDS)
        return Followed(status, self.health)

    def wait(self, fresh: Guard) -> GuardStatus:
        """Wait until the host needs the controller or has ended, for as long as one request may take."""
        status = self.heard(fresh.status(self.activation_id, wait_while=UNDER_WAY, seconds=LONG_POLL_SECONDS))
        return self.heard(fresh.recover(self.activation_id)) if status.interrupted else status

    def look(self) -> GuardStatus:
        """Ask for the current state of the activation over a fresh login."""
        with self.guard.fresh() as fresh:
            return self.heard(fresh.status(self.activation_id))

    def heard(self, status: GuardStatus) -> GuardStatus:
        """Show a phase that is new."""
        if status.phase != self._shown and not status.final:
            self._shown = status.phase
            self.progress.line(status.phase.replace("-", " "))
        line = reboot_line(self._reboot, status)
        self._reboot = status.reboot
        if line:
            self.progress.line(line)
        return status

    def ask_or_look(self, guard: Guard, ask: Callable[[], GuardStatus]) -> GuardStatus:
        """Ask, and when the guard refuses because its deadline has just passed, report its state instead."""
        try:
            return self.heard(ask())
        except HostUnreachable:
            raise
        except NixferryError:
            return self.heard(guard.status(self.activation_id))
