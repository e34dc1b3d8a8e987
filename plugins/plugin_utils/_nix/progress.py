# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Show progress while Nix works: a refreshing line on a terminal, occasional plain lines elsewhere.

Everything goes through Ansible's Display, to standard error and not to the log file: a worker has no terminal
of its own, and standard output belongs to the callback, which may write JSON.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Literal, Protocol

from ansible_collections.nixferry.deploy.plugins.module_utils._builders.machines import Machine

from .log_stream import (
    ActivityType,
    Level,
    LogEvent,
    Message,
    Result,
    ResultType,
    Start,
)
from .log_tally import Tally, derivation_of
from .warnings import evaluation_warning

# Seconds between two plain lines, and between two states of the refreshing line.
LINE_INTERVAL_SECONDS = 5.0
REFRESH_INTERVAL_SECONDS = 0.2
# Seconds after which a plain line comes even without progress: a sign of life in a CI log.
SIGN_OF_LIFE_SECONDS = 60.0
DEFAULT_COLUMNS = 79
HASH_AND_DASH = 33

Mode = Literal["auto", "lines", "none"]


class DisplayLike(Protocol):
    """The part of ``ansible.utils.display.Display`` that is used here."""

    verbosity: int

    def display(
        self, msg: str, *, stderr: bool = ..., screen_only: bool = ..., newline: bool = ...
    ) -> None: ...


class Progress:
    """Shows Nix's progress. ``muted`` (a task with no_log) and mode ``none`` show nothing at all.

    With ``-v`` the lines that builds print are shown too. Call ``close`` at the end: it removes the
    refreshing line.
    """

    def __init__(
        self,
        display: DisplayLike,
        *,
        prefix: str,
        muted: bool,
        mode: Mode = "auto",
        clock: Callable[[], float] = time.monotonic,
        on_terminal: bool | None = None,
    ) -> None:
        self._display = display
        self._prefix = f"[{prefix}] "
        self._silent = muted or mode == "none"
        self._clock = clock
        if on_terminal is None:
            on_terminal = mode == "auto" and _parent_has_terminal()
        self._on_terminal = on_terminal
        self._columns = int(getattr(display, "columns", DEFAULT_COLUMNS) or DEFAULT_COLUMNS)
        self._begin = self._last = clock()
        self._last_text = self._shown = ""
        self._line_is_open = False
        self._names: dict[int, str] = {}
        self._phase = ""
        self._tally = Tally()

    def event(self, event: LogEvent) -> None:
        """Record an event of Nix's log, and show the state if it is time."""
        if self._silent:
            return
        self._tally.event(event)
        self._show_log_line(event)
        self.tick()

    def rename(self, prefix: str) -> None:
        """Begin lines with ``prefix`` from now on."""
        self._prefix = f"[{prefix}] "

    def phase(self, text: str) -> None:
        """Begin a new phase, such as ``evaluating``: show it at once and count from zero again."""
        self._phase = text
        self._tally = Tally()
        self._begin = self._clock()
        self._last_text = text
        self.line(text)

    def line(self, text: str) -> None:
        """Show a milestone as a line that stays."""
        if self._silent:
            return
        self._clear()
        self._show(self._prefix + text)
        self._last = self._clock()

    def tick(self) -> None:
        """Show the state if it is time. Call it regularly, also without events."""
        if self._silent:
            return
        now = self._clock()
        since = now - self._last
        if since < (REFRESH_INTERVAL_SECONDS if self._on_terminal else LINE_INTERVAL_SECONDS):
            return
        text = state_text(self._tally) or self._phase
        if not text or (text == self._last_text and not self._on_terminal and since < SIGN_OF_LIFE_SECONDS):
            return
        self._last = now
        self._last_text = text
        full = f"{self._prefix}{text} · {duration_text(now - self._begin)}"
        if not self._on_terminal:
            self._show(full)
            return
        if self._line_is_open and full == self._shown:
            return
        self._shown = full
        # The cursor returns to the first column, so that output of another worker overwrites the line.
        self._show(f"\x1b[K{full[: self._columns - 1]}\r", newline=False)
        self._line_is_open = True

    def close(self) -> None:
        """Remove the refreshing line."""
        self._clear()

    def _clear(self) -> None:
        if self._line_is_open:
            self._show("\x1b[K\r", newline=False)
            self._line_is_open = False

    def _show_log_line(self, event: LogEvent) -> None:
        if self._display.verbosity < 1:
            return
        if isinstance(event, Start):
            derivation = derivation_of(event)
            if derivation is not None:
                self._names[event.id] = derivation_name(derivation)
        elif isinstance(event, Result):
            if event.type in (ResultType.BUILD_LOG_LINE, ResultType.POST_BUILD_LOG_LINE) and event.fields:
                self.line(f"{self._names.get(event.id, 'build')}> {event.fields[0]}")
        elif (
            isinstance(event, Message)
            and event.level <= Level.WARNING
            # The task shows them once, at its end.
            and not evaluation_warning(event.text)
        ):
            for line in event.text.splitlines():
                self.line(line)

    def _show(self, text: str, newline: bool = True) -> None:
        self._display.display(text, stderr=True, screen_only=True, newline=newline)


def state_text(tally: Tally) -> str:
    """Return the state in a few words, such as ``building 12/48 (hello-1.0) · copying 3/210 paths (1.2 GiB)``."""
    parts = [tally.waiting] if tally.waiting else []
    builds = tally.counts(ActivityType.BUILDS)
    if builds.expected or builds.running:
        text = f"building {builds.done}/{builds.expected}"
        running = tally.running_builds()
        if running:
            path, builder = running[0]
            place = f" on {Machine(builder).host}" if builder else ""
            others = f" +{len(running) - 1}" if len(running) > 1 else ""
            text += f" ({derivation_name(path)}{place}{others})"
        if builds.failed:
            text += f", {builds.failed} failed"
        parts.append(text)
    copies = tally.counts(ActivityType.COPY_PATHS)
    if copies.expected or copies.running:
        transferred = (
            tally.counts(ActivityType.COPY_PATH).done or tally.counts(ActivityType.FILE_TRANSFER).done
        )
        size = f" ({size_text(transferred)})" if transferred else ""
        parts.append(f"copying {copies.done}/{copies.expected} paths{size}")
    if not parts and tally.evaluated_files:
        parts.append(f"evaluating, {tally.evaluated_files} files read")
    return " · ".join(parts)


def derivation_name(path: str) -> str:
    """``/nix/store/<hash>-hello-1.0.drv`` as ``hello-1.0``."""
    return path.rpartition("/")[2][HASH_AND_DASH:].removesuffix(".drv") or path


def size_text(size: int) -> str:
    """Format a number of bytes in binary units."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{int(value)} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def duration_text(seconds: float) -> str:
    """Format a duration as minutes and seconds, with hours if any."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def _parent_has_terminal() -> bool:
    """Return True if ansible-playbook writes its standard error to a terminal.

    This worker is detached from it; Linux shows the target of the parent's file descriptor.
    """
    try:
        target = os.readlink(f"/proc/{os.getppid()}/fd/2")  # noqa: PTH115  (a name, not a path to follow)
    except OSError:
        return False
    return target.startswith(("/dev/pts/", "/dev/tty"))
