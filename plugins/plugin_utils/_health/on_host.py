# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Health checks on the host: commands and units. One script runs all of them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import whole_number
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import ANSWER_BEGIN, read_line
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import host_script

from .checks import HealthCheck, HealthResult

PARTS = ("lib/answer.sh", "lib/time.sh", "lib/process.sh", "lib/limited.sh", "health.sh")
SETTINGS = {"ROOT": "", "PROC": "/proc"}
# In place of the exit code of a check that did not end in time
_TIMEOUT = "timeout"


def host_checks(checks: Sequence[HealthCheck]) -> str:
    """Return the script that runs all checks of kind command and unit, in one round trip."""
    lines = [host_script(SETTINGS, PARTS), "checks() {"]
    for number, check in enumerate(checks):
        words = [number, check.retries, check.delay, check.timeout, check.kind, check.target]
        lines.append(f"    check {' '.join(shlex.quote(str(word)) for word in words)}")
    return "\n".join([*lines, "}", "check_health", ""])


def parse_host_output(checks: Sequence[HealthCheck], stdout: str) -> list[HealthResult]:
    """Read the answer to ``host_checks``.

    A check whose line is missing (the connection was cut, the shell was killed) counts as failed.
    """
    seen: dict[int, HealthResult] = {}
    problem = "the check did not end"
    for line in stdout.rpartition(ANSWER_BEGIN)[2].split("\n"):
        key, value = read_line(line) or ("", "")
        if key == "message":
            problem = value
        elif key == "check":
            result = _host_result(checks, value)
            if result is not None:
                seen[result[0]] = result[1]
    return [seen.get(number, HealthResult(check, False, problem, 0)) for number, check in enumerate(checks)]


def _host_result(checks: Sequence[HealthCheck], text: str) -> tuple[int, HealthResult] | None:
    """Read ``NUMBER EXIT_CODE ATTEMPTS OUTPUT``; None if it is anything else."""
    words = text.split(" ", 3)
    if len(words) != 4:
        return None
    number, attempts, code, output = (
        whole_number(words[0]),
        whole_number(words[2]),
        words[1],
        words[3].strip(),
    )
    if number is None or attempts is None or number >= len(checks):
        return None
    if code != _TIMEOUT and whole_number(code) is None:
        return None
    check = checks[number]
    if code == "0":
        return number, HealthResult(check, True, output, attempts)
    what = _late(check) if code == _TIMEOUT else f"exit code {code}"
    detail = f"{what}: {output}" if output else what
    return number, HealthResult(check, False, detail, attempts, timed_out=code == _TIMEOUT)


def _late(check: HealthCheck) -> str:
    return f"it did not end within its timeout of {check.timeout} s"
