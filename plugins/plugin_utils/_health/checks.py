# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Health checks: on the host (commands, units) and from the controller (ports, URLs)."""

from __future__ import annotations

import functools
import queue
import shlex
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

from ansible.module_utils.urls import ConnectionError as UrlConnectionError
from ansible.module_utils.urls import open_url

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import clean_line, whole_number
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import ANSWER_BEGIN, read_line
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    ANSWER_SECONDS,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import host_script

STEP = Step.HEALTH_CHECK
# A longer page is searched only up to this size.
URL_BODY_LIMIT_BYTES = 1024 * 1024

# The host needs so many seconds more to end a command whose time is over: LIMIT_GRACE and twice LIMIT_DRAIN.
HOST_END_SECONDS = 4

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
        attempt = self.timeout + (HOST_END_SECONDS if self.on_host else 0)
        return (self.retries + 1) * attempt + self.retries * self.delay

    @property
    def on_host(self) -> bool:
        """Whether the check runs on the managed host."""
        return self.kind in ("command", "unit")


@dataclass(frozen=True)
class HealthResult:
    """The outcome of one check; ``detail`` is the last observation, ``timed_out`` whether its time was over then."""

    check: HealthCheck
    healthy: bool
    detail: str
    attempts: int
    timed_out: bool = False

    @property
    def text(self) -> str:
        """Return the outcome in words that name the check, and its target once."""
        check = self.check
        # The name of a check that was given none is its target.
        named = check.name != f"{check.kind} {check.target}" or check.target not in self.detail
        return f"{check.name}: {self.detail}" if named else self.detail

    @property
    def remedy(self) -> str:
        """Return what to do about a check that failed."""
        check = self.check
        if self.timed_out:
            return (
                f"Find out why the check {check.name!r} hangs, or raise its timeout (now {check.timeout} seconds for "
                "an attempt)."
            )
        attempts = f"{self.attempts} attempts, {check.delay} s apart" if self.attempts > 1 else "one attempt"
        return (
            f"Try the check {check.name!r} by hand. It had {attempts}: if the service only needs longer, raise the "
            "check's `retries` or `delay`."
        )

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


def _check_port(check: HealthCheck, address: str) -> str | None:
    try:
        with socket.create_connection((address, int(check.target)), timeout=check.timeout):
            return None
    except TimeoutError:
        raise
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
        if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
            raise TimeoutError from error
        return f"{check.target}: {getattr(error, 'reason', None) or error}"
    if status not in settings["status_codes"]:
        return f"{check.target} answered with status {status}"
    wanted = settings.get("contains")
    if wanted and wanted not in body:
        return f"{check.target} answered without the text {wanted!r}"
    return None


def _in_time(seconds: float, ask: Callable[[], str | None]) -> str | None:
    """Return what ``ask`` returns. Raises ``TimeoutError`` when that takes longer.

    The timeout of a socket begins anew with every byte, and that of a name server is not ours to set. The thread of a
    late answer ends with its next timeout.
    """
    answers: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put(ask())
        except BaseException as error:
            answers.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _from_controller(check: HealthCheck, address: str, sleep: Callable[[float], None]) -> HealthResult:
    problem: str | None = None
    late = False
    attempt = 0
    address = str(check.settings.get("address") or address)
    ask = functools.partial(_check_port, check, address) if check.kind == "port" else None
    for attempt in range(1, check.retries + 2):
        try:
            problem = _in_time(check.timeout, ask or functools.partial(_check_url, check))
            late = False
        except TimeoutError:
            late = True
            target = f"{address} port {check.target}" if check.kind == "port" else check.target
            problem = f"{target} did not answer within its timeout of {check.timeout} s"
        if problem is None:
            return HealthResult(check, True, "", attempt)
        if attempt <= check.retries:
            sleep(check.delay)
    # The text of an error may quote what the host sent.
    return HealthResult(check, False, clean_line(problem or ""), attempt, timed_out=late)


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
    results += [_from_controller(check, shell.address, sleep) for check in checks if not check.on_host]
    return results
