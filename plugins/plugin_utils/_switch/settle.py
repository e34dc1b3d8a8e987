# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Confirm or abort an activation that an earlier task has begun."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import Guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import HealthCheck, total_budget
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import GuardRefusal

from .follow import (
    LONG_POLL_SECONDS,
    MARGIN_SECONDS,
    RECONNECT_SECONDS,
    Followed,
    Follower,
)
from .judge import Judge


@dataclass
class Settlement:
    """Bring one activation to its end, over fresh logins only."""

    follower: Follower
    first_wait: int
    """Seconds after which a host that does not answer at all is given up."""
    timeout_activation: int
    timeout_roll_back: int
    _acted: bool = field(default=False, init=False)

    def confirm(self, checks: Sequence[HealthCheck]) -> Followed:
        """Run the checks once more, and commit if they pass.

        Raises ``NixferryError`` when the host does not answer, or knows nothing of the activation.
        """
        return self._follow(self._look(), Judge(self.follower, checks), extra=total_budget(checks))

    def abort(self, reason: str) -> Followed:
        """Have the host roll back. What is committed stays committed. Raises like ``confirm``."""
        follower = self.follower

        def ask(guard: Guard) -> GuardStatus:
            abort = functools.partial(
                guard.abort, follower.activation_id, seconds=LONG_POLL_SECONDS, reason=reason
            )
            return follower.ask_or_look(guard, abort)

        status = self._look()
        if not status.final and not status.interrupted:
            # At once, in any phase: the host may still be activating.
            with suppress(NixferryError), follower.guard.fresh() as fresh:
                status = ask(fresh)
            self._acted = True
        return self._follow(status, ask)

    def _follow(
        self, status: GuardStatus, my_turn: Callable[[Guard], GuardStatus], *, extra: int = 0
    ) -> Followed:
        def acting(fresh: Guard) -> GuardStatus:
            self._acted = True
            return my_turn(fresh)

        wait = (status.seconds_left or 0) + 2 * self.timeout_activation + 2 * self.timeout_roll_back + extra
        followed = self.follower.follow(status, acting, longest_wait=wait + MARGIN_SECONDS)
        return Followed(followed.status, followed.health, followed.lost, self._acted)

    def _look(self) -> GuardStatus:
        """Return the current state of the activation."""
        follower = self.follower
        deadline = follower.clock() + self.first_wait
        while True:
            try:
                return follower.look()
            except GuardRefusal:
                raise
            except NixferryError:
                if follower.clock() > deadline:
                    raise
                follower.sleep(RECONNECT_SECONDS)
