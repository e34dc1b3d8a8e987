# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Child processes on the controller that never outlive the playbook.

A killed ``ansible-playbook`` must not leave a build behind. Three nets, since each has a hole:

- ``finally``: every child is ended when the reading code is left in any way, an Ansible ``timeout`` or Ctrl-C
  included;
- on Linux the kernel signals the child when the process that started it dies (PR_SET_PDEATHSIG), of SIGKILL too;
- the loop watches the parent of this process: a worker whose ansible-playbook was killed goes on otherwise.

Children get SIGTERM first and a grace period: Nix then ends the builders, which have sessions of their own.
All children of a call are served by one loop in one thread, so that no fork happens beside other threads.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from .memory import peak_memory_mib
from .parent import ParentWatch, die_with_parent

# Seconds between two checks of deadlines, the parent and children that closed their pipes.
TICK_SECONDS = 0.25
# Seconds between SIGTERM and SIGKILL.
TERMINATION_GRACE_SECONDS = 5.0
# Seconds for output of a child that has ended but whose own children still hold its pipes.
DRAIN_SECONDS = 0.5
CHUNK_BYTES = 65536
# Of a line of standard error, which may come from another machine. The rest of a longer one is dropped.
LINE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Command:
    """A command to start. ``deadline`` is a time of ``time.monotonic``; ``output`` takes standard output directly."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    input: bytes | None = None
    deadline: float | None = None
    working_directory: str | None = None
    output: int | IO[bytes] | None = None


@dataclass(frozen=True)
class Outcome:
    """How it ended. ``return_code`` is negative for a signal; ``stdout`` is empty if ``output`` took it.

    ``peak_mib`` is the most memory that it has held, in MiB, if that was measured and the system tells; otherwise 0.
    """

    return_code: int
    stdout: bytes
    timed_out: bool
    peak_mib: int = 0


def run_all(
    commands: Sequence[Command],
    *,
    parallel: int = 1,
    watch: ParentWatch | None = None,
    on_line: Callable[[int, str], None],
    on_start: Callable[[int], None] | None = None,
    on_tick: Callable[[], None] | None = None,
    may_start: Callable[[Sequence[int]], bool] | None = None,
) -> list[Outcome]:
    """Run ``commands``, at most ``parallel`` at a time, and return their outcomes in the same order.

    With ``may_start`` the memory of the commands is measured. It gets the peaks of those that run, in MiB, and says
    whether another one may be started beside them.
    ``on_line`` gets the index of a command and a line of its standard error, decoded, without the newline;
    ``on_tick`` is called a few times a second.
    Raises ``OSError`` when a program cannot be started, ``NixferryError`` when the parent has gone.
    """
    watch = watch or ParentWatch()
    outcomes: dict[int, Outcome] = {}
    waiting = deque(enumerate(commands))
    running: dict[int, _Child] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and len(running) < max(1, parallel):
                    peaks = [child.peak_mib for child in running.values()]
                    if running and may_start is not None and not may_start(peaks):
                        break
                    index, command = waiting.popleft()
                    if on_start is not None:
                        on_start(index)
                    running[index] = _Child(command, index, selector, on_line, measured=may_start is not None)
                for key, _mask in selector.select(_pause(running.values())):
                    key.data()
                watch.check()
                if on_tick is not None:
                    on_tick()
                for index, child in list(running.items()):
                    outcome = child.advance()
                    if outcome is not None:
                        del running[index]
                        outcomes[index] = outcome
        finally:
            for child in running.values():
                child.end()
    return [outcomes[index] for index in range(len(commands))]


def _pause(children: Iterable[_Child]) -> float:
    """Return the seconds that the loop may sleep: short if a child has closed its pipes and is about to end."""
    return min((child.pause for child in children), default=0.0)


class _Child:
    def __init__(
        self,
        command: Command,
        index: int,
        selector: selectors.BaseSelector,
        on_line: Callable[[int, str], None],
        *,
        measured: bool = False,
    ) -> None:
        self.peak_mib = 0
        self._measure_at = 0.0 if measured else math.inf
        self._command = command
        self._index = index
        self._selector = selector
        self._on_line = on_line
        self._stdout: list[bytes] = []
        self._line = b""
        self._input = memoryview(command.input or b"")
        self._timed_out = False
        self._ended_at: float | None = None
        self._process = subprocess.Popen(
            list(command.argv),
            stdin=subprocess.DEVNULL if command.input is None else subprocess.PIPE,
            stdout=subprocess.PIPE if command.output is None else command.output,
            stderr=subprocess.PIPE,
            env=dict(command.environment),
            cwd=command.working_directory,
            start_new_session=True,
            preexec_fn=die_with_parent(os.getpid()),
        )
        self._open: set[IO[bytes]] = set()
        self._watch_pipe(self._process.stdout, selectors.EVENT_READ, self._read_stdout)
        self._watch_pipe(self._process.stderr, selectors.EVENT_READ, self._read_stderr)
        self._watch_pipe(self._process.stdin, selectors.EVENT_WRITE, self._write_stdin)

    @property
    def pause(self) -> float:
        return TICK_SECONDS if self._open else TICK_SECONDS / 25

    def advance(self) -> Outcome | None:
        """Return the outcome if the child has ended and its output was read, otherwise None."""
        now = time.monotonic()
        if now >= self._measure_at:
            self.peak_mib = max(self.peak_mib, peak_memory_mib(self._process.pid))
            self._measure_at = now + TICK_SECONDS
        deadline = self._command.deadline
        if deadline is not None and now > deadline and self._process.poll() is None:
            self._timed_out = True
            self.end()
        return_code = self._process.poll()
        if return_code is None:
            return None
        if self._open:
            # A grandchild may hold the pipes forever: wait only for a moment.
            if self._ended_at is None:
                self._ended_at = now
            if now - self._ended_at < DRAIN_SECONDS:
                return None
        self._close_all()
        return Outcome(return_code, b"".join(self._stdout), self._timed_out, self.peak_mib)

    def end(self) -> None:
        """End the child and its group, with SIGTERM first. Does nothing if it has ended."""
        if self._process.poll() is None:
            _signal_group(self._process.pid, signal.SIGTERM)
            deadline = time.monotonic() + TERMINATION_GRACE_SECONDS
            while self._process.poll() is None and time.monotonic() < deadline:
                # A child that cannot write its last output would not end in time.
                for pipe in self._open - {self._process.stdin}:
                    _read(pipe)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=TICK_SECONDS / 25)
            _signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._close_all()

    def _watch_pipe(self, pipe: IO[bytes] | None, event: int, handler: Callable[[], None]) -> None:
        if pipe is None:
            return
        os.set_blocking(pipe.fileno(), False)
        self._selector.register(pipe, event, handler)
        self._open.add(pipe)

    def _close(self, pipe: IO[bytes] | None) -> None:
        if pipe is None or pipe not in self._open:
            return
        self._open.discard(pipe)
        self._selector.unregister(pipe)
        with contextlib.suppress(OSError):
            pipe.close()

    def _close_all(self) -> None:
        for pipe in list(self._open):
            self._close(pipe)
        if self._line:
            self._on_line(self._index, self._line.decode("utf-8", errors="replace"))
            self._line = b""

    def _read_stdout(self) -> None:
        chunk = _read(self._process.stdout)
        if chunk:
            self._stdout.append(chunk)
        elif chunk is not None:
            self._close(self._process.stdout)

    def _read_stderr(self) -> None:
        chunk = _read(self._process.stderr)
        if chunk:
            *lines, rest = (self._line + chunk).split(b"\n")
            self._line = rest[:LINE_BYTES]
            for line in lines:
                self._on_line(self._index, line[:LINE_BYTES].decode("utf-8", errors="replace").rstrip("\r"))
        elif chunk is not None:
            self._close(self._process.stderr)

    def _write_stdin(self) -> None:
        stdin = self._process.stdin
        if stdin is None:
            return
        try:
            written = os.write(stdin.fileno(), self._input[:CHUNK_BYTES])
        except BlockingIOError:
            return
        except OSError:
            # The child does not read the rest. Its exit code says whether that is a failure.
            self._close(stdin)
            return
        self._input = self._input[written:]
        if not self._input:
            self._close(stdin)


def _read(pipe: IO[bytes] | None) -> bytes | None:
    """Return the available data, empty at the end, None if there is none at the moment."""
    if pipe is None:
        return None
    try:
        return os.read(pipe.fileno(), CHUNK_BYTES)
    except BlockingIOError:
        return None


def _signal_group(group: int, number: signal.Signals) -> None:
    # macOS raises PermissionError for a group of zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
