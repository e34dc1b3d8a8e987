# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Run the health checks over a fresh login, then confirm, hold or abort."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import Guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import HealthCheck
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.run import run_health_checks

from .follow import (
    LONG_POLL_SECONDS,
    Follower,
)


@dataclass(frozen=True)
class Judge:
    """Called on a fresh login to a host that awaits its confirmation."""

    follower: Follower
    checks: Sequence[HealthCheck]
    hold: int = 0
    """Seconds for which a healthy host waits on; 0: confirm it."""

    def __call__(self, fresh: Guard) -> GuardStatus:
        """Run the checks, then confirm, hold or abort. Raises ``NixferryError`` when the host is lost again."""
        follower, activation = self.follower, self.follower.activation_id
        if self.checks:
            follower.progress.line(f"reached over a new login; running {len(self.checks)} health checks")
            follower.health = tuple(run_health_checks(self.checks, fresh.shell, sleep=follower.sleep))
        unhealthy = [result for result in follower.health if not result.healthy]
        if unhealthy:
            reason = unhealthy[0].text
            headline = reason.partition("\n")[0]
            follower.progress.line(f"not healthy: {headline}")
            abort = functools.partial(fresh.abort, activation, seconds=LONG_POLL_SECONDS, reason=reason)
            return follower.ask_or_look(fresh, abort)
        if self.hold:
            return follower.ask_or_look(fresh, functools.partial(fresh.hold, activation, seconds=self.hold))
        confirm = functools.partial(fresh.confirm, activation, seconds=LONG_POLL_SECONDS)
        return follower.ask_or_look(fresh, confirm)
