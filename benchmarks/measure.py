# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one command and say what it took.

Times come from the monotonic clock around the whole process. Processor time is what the kernel accounts to the
command and to the children that it waited for (getrusage), and to the daemons that it leaves behind, such as ssh
masters, until its end. Memory is sampled, see ``Peak``.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

RUN_DEADLINE = 900  # seconds for one deploy
SAMPLE_INTERVAL = 0.05  # seconds between two looks at the memory
SAMPLE_SHARE = 0.1  # of the time at most, since looking at hundreds of processes slows them down
KILL_DEADLINE = 10  # seconds for a killed command to be gone

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


@dataclass(frozen=True)
class Command:
    """A program with its arguments, and what its environment has beside ours."""

    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What one run took. ``memory`` is in bytes, None when it was not looked at."""

    return_code: int
    seconds: float
    cpu_seconds: float
    memory: int | None = None


@dataclass(frozen=True)
class Spread:
    """Minimum, median and maximum of several runs."""

    minimum: float
    median: float
    maximum: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Raises ``statistics.StatisticsError`` without values."""
        ordered = sorted(values)
        return cls(
            minimum=min(ordered, default=0.0),
            median=statistics.median(ordered),
            maximum=max(ordered, default=0.0),
        )


def adopt_orphans() -> None:
    """Make daemons that a command leaves behind, such as ssh masters, children of this process."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans() -> None:
    """Forget adopted daemons that have ended. Call while no command runs."""
    while True:
        try:
            process, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if process == 0:
            return


def run(command: Command, log: Path, *, with_memory: bool = False, deadline: int = RUN_DEADLINE) -> Outcome:
    """Run ``command`` to its end with its output in the file ``log``.

    Raises ``subprocess.TimeoutExpired`` after ``deadline`` seconds, with the command killed.
    """
    peak = Peak()
    known = set(descendants(os.getpid()))
    with log.open("wb") as output:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.monotonic()
        process = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **command.environment},
            start_new_session=True,
        )
        try:
            if with_memory:
                peak.start()
            return_code = process.wait(deadline)
            seconds = time.monotonic() - start
            daemons = sum(_cpu_seconds(process) for process in set(descendants(os.getpid())) - known)
        finally:
            peak.stop()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(KILL_DEADLINE)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Outcome(
        return_code=return_code,
        seconds=seconds,
        cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime + daemons,
        memory=peak.bytes if with_memory else None,
    )


class Peak:
    """Watches the memory of all processes below this one, and keeps the largest sum."""

    def __init__(self) -> None:
        self.bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; harmless when it never began."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        pause = SAMPLE_INTERVAL
        while not self._done.wait(pause):
            begin = time.thread_time()
            self.bytes = max(
                self.bytes, sum(_proportional_size(process) for process in descendants(os.getpid()))
            )
            pause = max(SAMPLE_INTERVAL, (time.thread_time() - begin) * (1 / SAMPLE_SHARE - 1))


def descendants(ancestor: int) -> list[int]:
    """Process numbers of all children, grandchildren and so on."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # "NUMBER (NAME) STATE PARENT ...", where NAME may contain anything: proc(5).
                parent = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue  # it has just ended
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    waiting = [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _cpu_seconds(process: int) -> float:
    """Processor time of a process and of the children it waited for; 0 for one that is gone."""
    try:
        # From the state on, see above: utime, stime, cutime and cstime are fields 14 to 17.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _proportional_size(process: int) -> int:
    """PSS in bytes: private memory, and shared memory divided among those who share it. 0 for one that is gone."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
