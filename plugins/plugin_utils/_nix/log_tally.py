# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""What the events of Nix's log add up to: how far it is, and what each build has printed.

The arithmetic is that of Nix's own progress bar (``ProgressBar`` in src/libmain/progress-bar.cc): an activity
carries counts of its own, and announces how much of other types it expects; what ended stays counted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from .log_stream import (
    ActivityType,
    Field,
    LogEvent,
    Message,
    Result,
    ResultType,
    Start,
    Stop,
)

LOG_TAIL_LINES = 40
# Logs of this many builds are kept, so that a build of a whole distribution does not fill the memory. The store
# has the logs of the others.
LOGS_KEPT = 200


@dataclass(frozen=True)
class Counts:
    """How far the activities of one type are: derivations, paths or bytes, as the type has it."""

    done: int = 0
    expected: int = 0
    running: int = 0
    failed: int = 0


@dataclass
class _Activity:
    start: Start
    done: int = 0
    expected: int = 0
    running: int = 0
    failed: int = 0
    announced: dict[int, int] = field(default_factory=dict)


class Tally:
    """Adds up events. Numbers that make no sense are counted as they come: this is for showing, not deciding."""

    def __init__(self) -> None:
        self._running: dict[int, _Activity] = {}
        self._done: dict[int, int] = {}
        self._failed: dict[int, int] = {}
        self._announced: dict[int, int] = {}
        self.evaluated_files = 0

    def event(self, event: LogEvent) -> None:
        if isinstance(event, Start):
            self._running[event.id] = _Activity(event)
        elif isinstance(event, Stop):
            self._stop(event)
        elif isinstance(event, Result):
            self._result(event)
        elif isinstance(event, Message) and event.text.startswith("evaluating file "):
            self.evaluated_files += 1

    def counts(self, activity_type: ActivityType) -> Counts:
        running = [each for each in self._running.values() if each.start.type == activity_type]
        done = self._done.get(activity_type, 0)
        return Counts(
            done=done + sum(each.done for each in running),
            expected=max(
                done + sum(each.expected for each in running), self._announced.get(activity_type, 0)
            ),
            running=sum(each.running for each in running),
            failed=self._failed.get(activity_type, 0) + sum(each.failed for each in running),
        )

    def running_derivations(self) -> list[str]:
        """The .drv paths being built, in the order in which they began."""
        return [path for path, _builder in self.running_builds()]

    def running_builds(self) -> list[tuple[str, str]]:
        """The same with the address of the builder each is built on, empty for this machine."""
        return [
            (path, builder_of(each.start))
            for each in self._running.values()
            if (path := derivation_of(each.start)) is not None
        ]

    def _stop(self, event: Stop) -> None:
        activity = self._running.pop(event.id, None)
        if activity is None:
            return
        kind = activity.start.type
        self._done[kind] = self._done.get(kind, 0) + activity.done
        self._failed[kind] = self._failed.get(kind, 0) + activity.failed
        for announced_type, number in activity.announced.items():
            self._announced[announced_type] = self._announced.get(announced_type, 0) - number

    def _result(self, event: Result) -> None:
        activity = self._running.get(event.id)
        if activity is None:
            return
        numbers = _numbers(event.fields)
        if event.type == ResultType.PROGRESS and len(numbers) >= 4:
            activity.done, activity.expected, activity.running, activity.failed = numbers[:4]
        elif event.type == ResultType.SET_EXPECTED and len(numbers) >= 2:
            announced_type, number = numbers[:2]
            before = activity.announced.get(announced_type, 0)
            activity.announced[announced_type] = number
            self._announced[announced_type] = self._announced.get(announced_type, 0) + number - before


class BuildLogs:
    """The end of what each build printed, by .drv path."""

    def __init__(self, tail: int = LOG_TAIL_LINES, kept: int = LOGS_KEPT) -> None:
        self._tail = tail
        self._kept = kept
        self._derivations: dict[int, str] = {}
        self._lines: dict[str, deque[str]] = {}

    def event(self, event: LogEvent) -> None:
        if isinstance(event, Start):
            path = derivation_of(event)
            if path is not None:
                self._derivations[event.id] = path
                self._lines[path] = deque(maxlen=self._tail)
        elif isinstance(event, Result) and event.type == ResultType.BUILD_LOG_LINE and event.fields:
            path = self._derivations.get(event.id)
            if path is not None:
                self._lines[path].append(str(event.fields[0]))
        elif isinstance(event, Stop):
            self._derivations.pop(event.id, None)
            self._forget_oldest()

    def built(self) -> list[str]:
        """The .drv paths whose build began, the most recent ones at least."""
        return list(self._lines)

    def tail(self, derivation: str) -> list[str]:
        return list(self._lines.get(derivation, ()))

    def _forget_oldest(self) -> None:
        running = set(self._derivations.values())
        for path in list(self._lines):
            if len(self._lines) <= self._kept:
                return
            if path not in running:
                del self._lines[path]


def derivation_of(start: Start) -> str | None:
    """The .drv path when ``start`` begins a build."""
    if start.type != ActivityType.BUILD or not start.fields:
        return None
    return str(start.fields[0])


def builder_of(start: Start) -> str:
    """The address of the remote builder on which a build begins; empty for this machine."""
    return str(start.fields[1]) if len(start.fields) > 1 else ""


def _numbers(fields: tuple[Field, ...]) -> list[int]:
    return [value for value in fields if isinstance(value, int)]
