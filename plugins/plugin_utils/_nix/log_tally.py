# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Sum up the events of Nix's log: the progress, and the output of each build.

The arithmetic is that of Nix's own progress bar (``ProgressBar`` in src/libmain/progress-bar.cc): an activity
has its own counts, and announces how much of other types it expects; ended activities stay counted.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

from .log_stream import (
    WAITING,
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
# Keep the logs of this many builds, so that a build of a whole distribution does not fill the memory. The store has
# the other logs.
LOGS_KEPT = 200
# Nix 2.8 tells the number of paths that `nix copy` copies in words only, and no progress.
_COPYING = re.compile(r"copying (\d{1,9}) paths")


@dataclass(frozen=True)
class Counts:
    """The progress of the activities of one type, in its unit: derivations, paths or bytes."""

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
    counted_here: bool = False
    """Whether the end of each path counts, since Nix does not report the progress of the copy."""


class Tally:
    """Adds up events. Implausible numbers are counted too: the result is for display, not for decisions."""

    def __init__(self) -> None:
        self._running: dict[int, _Activity] = {}
        self._done: dict[int, int] = {}
        self._failed: dict[int, int] = {}
        self._announced: dict[int, int] = {}
        self.evaluated_files = 0
        self._waiting = ""

    @property
    def waiting(self) -> str:
        """Return what Nix waits for, in its words; empty if it does not wait."""
        waits = [each.start.text for each in self._running.values() if each.start.text.startswith(WAITING)]
        return waits[-1] if waits else self._waiting

    def event(self, event: LogEvent) -> None:
        # A wait that is only a message has no end; it is over when anything else happens.
        if isinstance(event, Message):
            self._waiting = event.text.partition("\n")[0] if event.text.startswith(WAITING) else ""
        elif isinstance(event, Start | Result):
            self._waiting = ""
        if isinstance(event, Start):
            self._running[event.id] = _started(event)
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
        """Return the .drv paths being built, in the order of their start."""
        return [path for path, _builder in self.running_builds()]

    def running_builds(self) -> list[tuple[str, str]]:
        """Return the same with the address of each one's builder, empty for this machine."""
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
        if kind == ActivityType.COPY_PATH:
            for copy in self._running.values():
                if copy.counted_here:
                    copy.done += 1
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
            activity.counted_here = False
        elif event.type == ResultType.SET_EXPECTED and len(numbers) >= 2:
            announced_type, number = numbers[:2]
            before = activity.announced.get(announced_type, 0)
            activity.announced[announced_type] = number
            self._announced[announced_type] = self._announced.get(announced_type, 0) + number - before


def _started(event: Start) -> _Activity:
    told = _COPYING.match(event.text) if event.type == ActivityType.COPY_PATHS else None
    return _Activity(event, expected=int(told[1]), counted_here=True) if told else _Activity(event)


class BuildLogs:
    """Return the end of each build's output, by .drv path."""

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
        """Return the .drv paths whose build began, at least the most recent ones."""
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
    """Return the .drv path if ``start`` begins a build."""
    if start.type != ActivityType.BUILD or not start.fields:
        return None
    return str(start.fields[0])


def builder_of(start: Start) -> str:
    """Return the address of the remote builder on which a build begins; empty for this machine."""
    return str(start.fields[1]) if len(start.fields) > 1 else ""


def _numbers(fields: tuple[Field, ...]) -> list[int]:
    return [value for value in fields if isinstance(value, int)]
