# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Run health checks on a host in one task, whatever system runs there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    HostUnreachable,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

from .checks import HealthCheck
from .run import run_health_checks

UNCHANGED = "This task changed nothing."
COMMAND = "command"
LOGIN_POLL_SECONDS = 2.0


def wait_for_login(
    shell: RemoteShell,
    progress: Progress,
    *,
    seconds: float,
    title: Step,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until a login to the host succeeds: it boots, and may refuse users until then.

    Raises ``NixferryError`` after ``seconds``, or when the host refuses the login; never ``HostUnreachable``.
    """
    deadline = now() + seconds
    progress.phase("waiting for a login")
    while True:
        try:
            shell.run(":", step=title)
            return
        except HostUnreachable as error:
            if now() >= deadline or not error.transient:
                # Not the other type, for which Ansible skips a rescue.
                raise NixferryError(
                    f"no login to the host succeeded within {seconds:.0f} seconds (login_timeout): {error.cause}"
                    if error.transient
                    else error.cause,
                    step=title,
                    remedy=error.remedy or "Look at the console of the host.",
                    output=error.output,
                ) from None
        sleep(LOGIN_POLL_SECONDS)


def check_host(
    checks: Sequence[HealthCheck],
    shell: RemoteShell,
    progress: Progress,
    *,
    title: Step,
    check_mode: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Run ``checks`` and return the task's result, a failed one if any of them fails.

    ``title`` names a check in messages. In check mode no command is run: its effects are unknown, and it
    may lie in a closure that was not copied. Raises ``HostUnreachable`` when the host cannot be reached.
    """
    left_out = [check.name for check in checks if check_mode and check.kind == COMMAND]
    to_run = [check for check in checks if not check_mode or check.kind != COMMAND]
    if to_run:
        progress.line(f"running {len(to_run)} checks")
    results = run_health_checks(to_run, shell, sleep=sleep)
    told = {"health_checks": [result.result() for result in results], "not_run": left_out}
    unhealthy = [result for result in results if not result.healthy]
    if not unhealthy:
        return {"failed": False, "changed": False, **told}
    cause = "; ".join(result.text for result in unhealthy)
    error = NixferryError(cause, step=title, remedy=f"{unhealthy[0].remedy} {UNCHANGED}")
    return {**error.result(shell.host), **told}
