# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Health checks: their options, what one asks, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step

STEP = Step.HEALTH_CHECK

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
