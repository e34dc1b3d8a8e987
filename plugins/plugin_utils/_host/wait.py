# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Bound the wait for a host: the time that it takes, and the memory that its output fills.

A connection plugin returns only when a command has ended, and holds all output until then. A host that never ends its
answer would hang the task, or fill the memory of the controller. Therefore a timer looks at both while the plugin
reads. It is the process's own alarm, as for Ansible's keyword ``timeout`` of a task, whose alarm goes on beside it.
It works in the main thread only, where Ansible runs actions, and as soon as Python code runs: a plugin that waits
inside a library in C (``libssh``) is not interrupted.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

# Seconds to remove what a script was given.
CLEAN_UP_SECONDS = 30
# Seconds between two looks.
LOOK_SECONDS = 0.5
# Growth of this process, in bytes. The data of one command and its answer take some hundred MiB at most.
MEMORY_BYTES = 1024 * 1024 * 1024
_KIBIBYTE = 1024


class WaitEnded(BaseException):
    """The wait has ended; ``too_long`` says whether its time was up, otherwise the memory was.

    It is not an ``Exception``, so that no plugin tries again.
    """

    def __init__(self, *, too_long: bool) -> None:
        super().__init__("the time is up" if too_long else "too much output")
        self.too_long = too_long


@contextlib.contextmanager
def bounded_wait(seconds: float | None, *, memory: int = MEMORY_BYTES) -> Iterator[None]:
    """Raise ``WaitEnded`` in the block after ``seconds`` (None: never), or when this process has grown by ``memory``.

    Processes that the block has started are killed before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watch = _Watch(seconds, memory)
    watch.begin()
    try:
        yield
    finally:
        watch.end()


class _Watch:
    def __init__(self, seconds: float | None, memory: int) -> None:
        self._seconds = seconds
        self._memory = memory
        self._begin = time.monotonic()
        self._size = _own_size()
        self._children = _own_children()
        self._running = False
        # Of Ansible's own timeout, or of a wait around this one.
        self._other = signal.getsignal(signal.SIGALRM)
        self._other_left, self._other_interval = signal.getitimer(signal.ITIMER_REAL)

    def begin(self) -> None:
        self._running = True
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)

    def end(self) -> None:
        self._running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if self._other is None else self._other)
        if self._other_left:
            left = self._other_left - (time.monotonic() - self._begin)
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.001), self._other_interval)

    def _look(self, number: int, frame: FrameType | None) -> None:
        if not self._running:
            return
        passed = time.monotonic() - self._begin
        if self._other_left and passed >= self._other_left and callable(self._other):
            self._other_left = self._other_left + self._other_interval if self._other_interval else 0.0
            self._other(number, frame)
        too_long = self._seconds is not None and passed >= self._seconds
        if too_long or _own_size() - self._size > self._memory:
            self._running = False
            for child in _own_children() - self._children:
                with contextlib.suppress(OSError):
                    os.kill(child, signal.SIGKILL)
            raise WaitEnded(too_long=too_long)


def _own_size() -> int:
    """Return the memory of this process in bytes; where the system does not tell, its greatest size until now."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        return pages * resource.getpagesize()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * _KIBIBYTE


def _own_children() -> set[int]:
    """Return the ids of this process's children; none where the system does not tell (macOS).

    There a program that carries a connection ends when it writes, because its pipe has no reader any more.
    """
    found: set[int] = set()
    for file in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(map(int, file.read_bytes().split()))
    return found
