# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The controller's half of an activation: start the guard, log in anew, check, confirm or abort.

The host's half is the guard (``target/*.sh``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_record import (
    DeployRecord,
    OtherRevision,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import Guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.requests import StartRequest
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.words import Phase, Reboot
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import HealthCheck, total_budget
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import AnswerLost
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import HostUnreachable

from .follow import (
    MARGIN_SECONDS,
    RECONNECT_SECONDS,
    Followed,
    Follower,
    ProgressLike,
)
from .judge import Judge
from .reboot import time_for_reboots

# The revision on the host may have changed at each attempt, when others deploy at the same time.
START_ATTEMPTS = 3
# The phases in which a wait over the open connection makes sense, its length, and the share of the time to confirm that
# it may take. Twice as long may pass until the connection counts as cut.
BRIEFLY = (Phase.PREPARED, Phase.ACTIVATING)
BRIEF_SECONDS = 10
BRIEF_SHARE = 6
# The guard watches services for so many times `settle` (target/guard/settle.sh).
SETTLE_PATIENCE = 5


@dataclass
class Switch:
    """One activation on one host. ``run`` starts it and stays with it to the end."""

    guard: Guard
    request: StartRequest
    checks: Sequence[HealthCheck]
    progress: ProgressLike
    allow: Callable[[DeployRecord], None] = lambda _record: None
    """Raises ``NixferryError`` when the deployed revision must not be replaced."""
    hold: int = 0
    """Seconds for which a healthy host waits for a later task to confirm; 0: confirm at once."""
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _follower: Follower = field(init=False)

    def __post_init__(self) -> None:
        # The host also waits for the checks. Otherwise it would roll back a slow but healthy service.
        budget = self.request.timeout_confirm + total_budget(self.checks)
        self.request = replace(self.request, timeout_confirm=budget)
        self._follower = Follower(
            self.guard, self.request.activation_id, self.progress, clock=self.clock, sleep=self.sleep
        )

    def run(self) -> Followed:
        """Start the activation and follow it until it is committed, rolled back or failed, or with ``hold`` healthy.

        Raises ``NixferryError`` when the guard refuses to start (nothing was changed then), and
        ``HostUnreachable`` when the host cannot be reached to begin with.
        """
        try:
            status = self._start()
        except (HostUnreachable, AnswerLost) as error:
            status = self._started_all_the_same(error)
        status = self._wait_briefly(status)
        # A task that holds runs the checks once more before it confirms.
        judge = Judge(self._follower, self.checks, self.hold and self.hold + total_budget(self.checks))
        wait = self.longest_wait()
        followed = self._follower.follow(
            status,
            judge,
            longest_wait=wait,
            longest_silence=self._longest_silence(wait) if self.hold else None,
            hold=bool(self.hold),
        )
        return self._log_in_once_more(followed)

    def _wait_briefly(self, status: GuardStatus) -> GuardStatus:
        """Wait over the open connection: if the activation is quick, the only login after it is the one that proves it.

        An activation may cut that connection without a sign. Therefore the wait leaves most of the time in which a
        confirmation may come to fresh logins.
        """
        seconds = min(BRIEF_SECONDS, self.request.timeout_confirm // BRIEF_SHARE)
        if (
            status.phase not in BRIEFLY
            or self.request.reboot != Reboot.NEVER
            or seconds == 0
            or not self.guard.shell.keeps_bounds
        ):
            return status
        try:
            return self._follower.heard(
                self.guard.status(
                    self.request.activation_id, wait_while=BRIEFLY, seconds=seconds, within=2 * seconds
                )
            )
        except NixferryError:
            # Fresh logins find out what that means.
            return status

    def longest_wait(self) -> int:
        """Seconds until the host has reached a final phase by its own deadlines, with a margin."""
        request = self.request
        wait = 2 * request.timeout_activation + request.timeout_confirm + 2 * request.timeout_roll_back
        wait += SETTLE_PATIENCE * request.settle
        if request.reboot_if_unreachable:
            wait += request.timeout_confirm
        return wait + time_for_reboots(request) + MARGIN_SECONDS

    def _longest_silence(self, longest_wait: int) -> int:
        """Return the seconds after which the other hosts no longer wait for an unreachable one.

        By then it rolls back by its own deadlines. How that ends does not matter to the others.
        """
        return longest_wait - self.request.timeout_activation - 2 * self.request.timeout_roll_back

    def _start(self) -> GuardStatus:
        """Start. Repeat it with the deployed revision when the guard does not know that it may be replaced."""
        for _attempt in range(START_ATTEMPTS):
            try:
                return self._follower.heard(self.guard.start(self.request))
            except OtherRevision as error:
                self.allow(error.record)
                self.request = replace(self.request, known_revision=error.record.revision)
        return self._follower.heard(self.guard.start(self.request))

    def _started_all_the_same(self, error: NixferryError) -> GuardStatus:
        """Return the state of an activation whose start was sent before the connection broke.

        Raises the first error when the host cannot be reached anew, or knows nothing of the activation.
        """
        # A host that has begun to reboot is away for a while.
        deadline = self.clock() + (0 if self.request.reboot == Reboot.NEVER else MARGIN_SECONDS)
        while True:
            try:
                return self._follower.look()
            except HostUnreachable:
                if self.clock() >= deadline:
                    raise error from None
                self.sleep(RECONNECT_SECONDS)
            except NixferryError:
                raise error from None

    def _log_in_once_more(self, followed: Followed) -> Followed:
        """Log in, so that ``reboot_if_unreachable`` does not reboot the host; if it reboots anyway, wait for it."""
        if not self.request.reboot_if_unreachable or followed.status.phase not in ("rolled-back", "failed"):
            return followed
        deadline = self.clock() + self.request.timeout_confirm + self.request.timeout_reboot
        while self.clock() < deadline:
            try:
                return replace(followed, status=self._follower.look())
            except NixferryError:
                self.sleep(RECONNECT_SECONDS)
        return followed
