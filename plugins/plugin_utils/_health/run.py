# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Run health checks, those on the host and those from the controller."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    ANSWER_SECONDS,
    RemoteShell,
)

from .checks import STEP, HealthCheck, HealthResult, total_budget
from .from_controller import check_from_controller
from .on_host import host_checks, parse_host_output


def run_health_checks(
    checks: Sequence[HealthCheck], shell: RemoteShell, *, sleep: Callable[[float], None] = time.sleep
) -> list[HealthResult]:
    """Run all checks; those on the host go together in one round trip over ``shell``.

    Raises ``HostUnreachable`` when the host cannot be reached.
    """
    on_host = [check for check in checks if check.on_host]
    results = []
    if on_host:
        raw = shell.run(host_checks(on_host), step=STEP, seconds=total_budget(on_host) + ANSWER_SECONDS)
        results += parse_host_output(on_host, raw.stdout)
    results += [check_from_controller(check, shell.address, sleep) for check in checks if not check.on_host]
    return results
