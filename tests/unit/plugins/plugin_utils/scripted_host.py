# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that answers from a list, and a clock that goes on only during a sleep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import Guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import (
    HEALTH_CHECK_OPTIONS,
    HealthCheck,
    parse_health_checks,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import HostUnreachable
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.result import RemoteResult

OLD, NEW = (f"/nix/store/{letter * 32}-system" for letter in "ab")
LOST = "lost"


def answer(verb: str, phase: str, **fields: str) -> tuple[str, str]:
    values = {"id": "1", "phase": phase, "action": "switch", "old_system": OLD, "system": NEW, **fields}
    lines = [
        "nixferry=1",
        *(f"{key}={value.replace(' ', '%20')}" for key, value in values.items()),
        f"end={verb}",
    ]
    return verb, "\n".join(lines)


def verb_of(script: str) -> str:
    """What a script asks for."""
    begins = script.split(maxsplit=1)[0]
    return begins.removeprefix("verb=") if begins.startswith("verb=") else "checks"


class Host:
    """Answers each verb with the next line of the play; ``LOST`` breaks the connection."""

    host = "web1"
    address = "127.0.0.1"
    keeps_bounds = True

    def __init__(self, *play: tuple[str, str]) -> None:
        self.play = list(play)
        self.fresh_logins = 0
        self.on_fresh = False
        self.log: list[tuple[str, bool]] = []
        self.logins: list[int] = []
        self.sent: list[str] = []

    @contextmanager
    def fresh(self) -> Iterator[Host]:
        self.fresh_logins += 1
        self.on_fresh = True
        try:
            yield self
        finally:
            self.on_fresh = False

    def run(self, script: str, **_step: str) -> RemoteResult:
        verb = verb_of(script)
        self.log.append((verb, self.on_fresh))
        self.sent.append(script)
        self.logins.append(self.fresh_logins)
        expected, text = self.play.pop(0)
        assert verb == expected, self.log
        if text == LOST:
            raise HostUnreachable("no route to host", step=verb)
        return RemoteResult(0, text, "")


def guard_of(host: Host) -> Guard:
    return Guard(host)  # type: ignore[arg-type]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def command_check() -> HealthCheck:
    defaults = {name: spec.get("default") for name, spec in HEALTH_CHECK_OPTIONS.items()}
    return parse_health_checks([{**defaults, "command": "true"}])[0]
