# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Parse Nix's machine-readable log into typed events.

``--log-format internal-json`` makes every Nix program write lines ``@nix {...}`` on standard error. The
format is not a documented interface: it is read here in the form of ``JSONLogger`` in src/libutil/logging.cc of Nix
2.8. Additions of a later Nix or Lix (actions, activity types, fields) are ignored. Lines of other origin, such as those
of ssh, are kept as ``PlainLine``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import (
    clean_line,
    clean_text,
)

PREFIX = "@nix "
# The prefix of the reason of a failure.
ERROR = "error:"
# The prefix of a warning.
WARNING = "warning:"
# The prefix of what Nix says while another process holds it up (PathLocks::lockPaths in src/libstore/pathlocks.cc,
# LocalStore::LocalStore in src/libstore/local-store.cc).
WAITING = "waiting for "
# The prefix of what Nix code prints while it is evaluated.
TRACE = "trace:"
# Nix counts bytes in 64 bits.
_NUMBER_BITS = 64


class ActivityType(IntEnum):
    """``ActivityType`` in src/libutil/logging.hh."""

    UNKNOWN = 0
    COPY_PATH = 100
    FILE_TRANSFER = 101
    REALISE = 102
    COPY_PATHS = 103
    BUILDS = 104
    BUILD = 105
    SUBSTITUTE = 108
    QUERY_PATH_INFO = 109
    BUILD_WAITING = 111
    FETCH_TREE = 112


class ResultType(IntEnum):
    """``ResultType`` in src/libutil/logging.hh."""

    BUILD_LOG_LINE = 101
    SET_PHASE = 104
    PROGRESS = 105
    SET_EXPECTED = 106
    POST_BUILD_LOG_LINE = 107


class Level(IntEnum):
    """``Verbosity`` in src/libutil/logging.hh, as far as it is used here."""

    ERROR = 0
    WARNING = 1
    NOTICE = 2
    INFO = 3
    TALKATIVE = 4


Field = int | str


@dataclass(frozen=True)
class Message:
    """A message of Nix to the user. ``text`` has no terminal escapes and may have several lines."""

    level: int
    text: str


@dataclass(frozen=True)
class Start:
    """The start of an activity. ``type`` is one of ``ActivityType`` or an unknown number."""

    id: int
    type: int
    level: int
    text: str
    fields: tuple[Field, ...] = ()
    parent: int = 0


@dataclass(frozen=True)
class Stop:
    """The end of an activity."""

    id: int


@dataclass(frozen=True)
class Result:
    """An update of a running activity. ``type`` is one of ``ResultType`` or an unknown number."""

    id: int
    type: int
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True)
class PlainLine:
    """A line that is not in Nix's log format: from ssh, from a git that Nix runs, from a hook."""

    text: str


LogEvent = Message | Start | Stop | Result | PlainLine


def is_error(event: LogEvent) -> bool:
    """Return True for a message that says why Nix fails. What Nix code prints has the same level."""
    return isinstance(event, Message) and event.text.startswith(ERROR)


def parse_line(line: str) -> LogEvent | None:
    """Parse the event in ``line`` (without its newline); None if it has none.

    Never raises: a line that looks like Nix's but cannot be read is a ``PlainLine``.
    """
    if not line.startswith(PREFIX):
        text = clean_line(line)
        return PlainLine(text) if text.strip() else None
    try:
        # A number with thousands of digits raises ValueError, deep nesting RecursionError.
        entry = json.loads(line[len(PREFIX) :])
    except (ValueError, RecursionError):
        return PlainLine(clean_line(line))
    if not isinstance(entry, dict):
        return PlainLine(clean_line(line))
    return _parse_entry(entry)


def _parse_entry(entry: dict[str, Any]) -> LogEvent | None:
    action = entry.get("action")
    if action == "msg":
        # raw_msg lacks the "error:" and the trace: msg is the text for a terminal.
        text = clean_text(_text(entry.get("msg")) or _text(entry.get("raw_msg")))
        level = _number(entry.get("level"), Level.INFO)
        # Nix logs traces, waits and some of its warnings at the level of errors.
        harmless = text.startswith((WARNING, TRACE, WAITING))
        return Message(max(level, Level.WARNING) if harmless else level, text)
    if action == "start":
        return Start(
            id=_number(entry.get("id")),
            type=_number(entry.get("type")),
            level=_number(entry.get("level"), Level.INFO),
            text=clean_line(_text(entry.get("text"))),
            fields=_fields(entry.get("fields")),
            parent=_number(entry.get("parent")),
        )
    if action == "stop":
        return Stop(id=_number(entry.get("id")))
    if action == "result":
        return Result(
            id=_number(entry.get("id")), type=_number(entry.get("type")), fields=_fields(entry.get("fields"))
        )
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object, default: int = 0) -> int:
    plausible = isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= _NUMBER_BITS
    return value if plausible else default  # type: ignore[return-value]  # mypy does not follow the condition


def _fields(value: object) -> tuple[Field, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(_number(field) if isinstance(field, int) else clean_line(str(field)) for field in value)
