# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Health checks: on the host (commands, units) and from the controller (ports, URLs)."""

from __future__ import annotations

import shlex
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

from ansible.module_utils.urls import ConnectionError as UrlConnectionError
from ansible.module_utils.urls import open_url

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import ANSWER_BEGIN, decode_value
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import host_script

STEP = Step.HEALTH_CHECK
# A longer page is searched only up to this size.
URL_BODY_LIMIT_BYTES = 1024 * 1024

# The options of one check, shared by every action that takes checks.
HEALTH_CHECK_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str"},
    "command": {"type": "str"},
    "unit": {"type": "str"},
    "port": {"type": "int"},
    "address": {"type": "str"},
    "url": {"type": "str"},
    "status_codes": {"type": "list", "elements": "int", "default": [200]},
    "contains": {"type": "str"},
    "headers": {"type": "dict", "default": {}},
    "validate_certs": {"type": "bool", "default": True},
    "retries": {"type": "int", "default": 5},
    "delay": {"type": "int", "default": 2},
    "timeout": {"type": "int", "default": 10},
}
HEALTH_CHECK_KINDS = ("command", "unit", "port", "url")
HEALTH_CHECKS_OPTION: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": HEALTH_CHECK_OPTIONS,
    "required_one_of": [HEALTH_CHECK_KINDS],
    "mutually_exclusive": [HEALTH_CHECK_KINDS],
}


@dataclass(frozen=True)
class HealthCheck:
    """One check. Times are whole seconds; ``retries`` are further attempts after the first."""

    kind: str
    target: str
    name: str
    retries: int
    delay: int
    timeout: int
    settings: Mapping[str, Any]

    @property
    def budget(self) -> int:
        """Return the longest time in seconds that this check may take."""
        return (self.retries + 1) * self.timeout + self.retries * self.delay

    @property
    def on_host(self) -> bool:
        """Whether the check runs on the managed host."""
        return self.kind in ("command", "unit")


@dataclass(frozen=True)
class HealthResult:
    """The outcome of one check; ``detail`` is the last observation."""

    check: HealthCheck
    healthy: bool
    detail: str
    attempts: int

    def result(self) -> dict[str, Any]:
        """Return the outcome as data for an Ansible result."""
        return {
            "name": self.check.name,
            "kind": self.check.kind,
            "healthy": self.healthy,
            "detail": self.detail,
            "attempts": self.attempts,
        }


def parse_health_checks(options: Sequence[Mapping[str, Any]]) -> tuple[HealthCheck, ...]:
    """Turn validated options into checks.

    Raises ``NixferryError`` when a time is negative or zero where it cannot be.
    """
    checks = []
    for option in options:
        kind = next(kind for kind in HEALTH_CHECK_KINDS if option.get(kind) is not None)
        check = HealthCheck(
            kind=kind,
            target=str(option[kind]),
            name=str(option.get("name") or f"{kind} {option[kind]}"),
            retries=int(option["retries"]),
            delay=int(option["delay"]),
            timeout=int(option["timeout"]),
            settings=option,
        )
        if check.timeout < 1 or check.retries < 0 or check.delay < 0:
            raise NixferryError(
                f"{check.name}: timeout has to be at least 1, retries and delay at least 0",
                step=STEP,
                remedy="Correct the health check in the playbook.",
            )
        checks.append(check)
    return tuple(checks)


def total_budget(checks: Sequence[HealthCheck]) -> int:
    """Return the longest time in seconds that all of ``checks`` may take, one after the other."""
    return sum(check.budget for check in checks)


PARTS = ("lib/answer.sh", "health.sh")


def host_checks(checks: Sequence[HealthCheck]) -> str:
    """Return the script that runs all checks of kind command and unit, in one round trip."""
    lines = [host_script({}, PARTS), "checks() {"]
    for number, check in enumerate(checks):
        words = [number, check.retries, check.delay, check.timeout, check.kind, check.target]
        lines.append(f"    check {' '.join(shlex.quote(str(word)) for word in words)}")
    return "\n".join([*lines, "}", "check_health", ""])


def parse_host_output(checks: Sequence[HealthCheck], stdout: str) -> list[HealthResult]:
    """Read the answer to ``host_checks``.

    A check whose line is missing (the connection was cut, the shell was killed) counts as failed.
    """
    seen: dict[int, HealthResult] = {}
    for line in stdout.rpartition(ANSWER_BEGIN)[2].splitlines():
        key, _equals, value = line.partition("=")
        words = decode_value(value).split(" ", 3) if key == "check" and value.isascii() else []
        if len(words) != 4 or not all(word.isdecimal() for word in words[:3]):
            continue
        number, code, attempts = map(int, words[:3])
        output = words[3].strip()
        detail = output if code == 0 else f"exit code {code}" + (f": {output}" if output else "")
        seen[number] = HealthResult(checks[number], code == 0, detail, attempts)
    return [
        seen.get(number, HealthResult(check, False, "the check did not end", 0))
        for number, check in enumerate(checks)
    ]


def _check_port(check: HealthCheck, address: str) -> str | None:
    try:
        with socket.create_connection((address, int(check.target)), timeout=check.timeout):
            return None
    except OSError as error:
        return f"{address} port {check.target}: {error}"


def _check_url(check: HealthCheck) -> str | None:
    settings = check.settings
    try:
        response = open_url(
            check.target,
            timeout=check.timeout,
            headers=dict(settings["headers"]),
            validate_certs=settings["validate_certs"],
            follow_redirects="safe",
            # A proxy would answer even if the host is down.
            use_proxy=False,
        )
        status, body = response.code, response.read(URL_BODY_LIMIT_BYTES).decode(errors="replace")
    except HTTPError as error:
        status, body = error.code, ""
    except (OSError, ValueError, HTTPException, UrlConnectionError) as error:
        return f"{check.target}: {error}"
    if status not in settings["status_codes"]:
        return f"{check.target} answered with status {status}"
    wanted = settings.get("contains")
    if wanted and wanted not in body:
        return f"{check.target} answered without the text {wanted!r}"
    return None


def _from_controller(check: HealthCheck, address: str, sleep: Callable[[float], None]) -> HealthResult:
    problem: str | None = None
    attempt = 0
    for attempt in range(1, check.retries + 2):
        if check.kind == "port":
            problem = _check_port(check, str(check.settings.get("address") or address))
        else:
            problem = _check_url(check)
        if problem is None:
            return HealthResult(check, True, "", attempt)
        if attempt <= check.retries:
            sleep(check.delay)
    return HealthResult(check, False, problem or "", attempt)


def run_health_checks(
    checks: Sequence[HealthCheck], shell: RemoteShell, *, sleep: Callable[[float], None] = time.sleep
) -> list[HealthResult]:
    """Run all checks; those on the host go together in one round trip over ``shell``.

    Raises ``HostUnreachable`` when the host cannot be reached.
    """
    on_host = [check for check in checks if check.on_host]
    results = []
    if on_host:
        raw = shell.run(host_checks(on_host), step=STEP)
        results += parse_host_output(on_host, raw.stdout)
    results += [_from_controller(check, shell.address, sleep) for check in checks if not check.on_host]
    return results
