# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Parse what the guard and the other scripts on the host print.

An answer is a block of lines ``key=value`` that begins with ``nixferry=1`` (the version of this form) and ends
with ``end=<verb>``. A key may come several times: it is a list. In a value every byte outside printable ASCII, and
``%`` itself, is written as ``%`` and two hexadecimal digits; what the host prints before the block (a banner, a
sudo lecture) is not part of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any, Protocol, TypeVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import (
    OUTPUT_TAIL_LINES,
    NixferryError,
    Step,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import (
    TEXT_CHARACTERS,
    clean_line,
    clean_text,
    whole_number,
)

WIRE_VERSION = "1"
ANSWER_BEGIN = f"nixferry={WIRE_VERSION}"
_LINE = re.compile(r"(?P<key>[a-z_]{1,64}+)=(?P<value>[ -$&-~]*+(?:%[0-9a-f]{2}[ -$&-~]*+)*+)")
# A value of the greatest length with every byte encoded, and its key.
_LINE_CHARACTERS = 4 * TEXT_CHARACTERS
# Values with several lines: the output of programs, and messages that quote them. Any other is one line.
MANY_LINES = frozenset({"check", "dry_activate_log", "log", "message"})
_ESCAPE = re.compile(rb"%[0-9a-f]{2}")
_ESCAPED = {f"%{number:02x}".encode("ascii"): bytes([number]) for number in range(256)}
BUG_REMEDY = (
    "This is a bug in nixferry.deploy, or something on the host changes what sh prints: please report it."
)


class AnswerLost(NixferryError):
    """The answer was cut off. The guard may have carried out the request all the same."""


class Completed(Protocol):
    """The result of a script on the host."""

    @property
    def return_code(self) -> int: ...
    @property
    def stdout(self) -> str: ...
    @property
    def stderr(self) -> str: ...


def unescape(text: str) -> str:
    """Undo the percent encoding of ASCII ``text``; bytes that are not UTF-8 become U+FFFD."""
    raw = _ESCAPE.sub(lambda match: _ESCAPED[match[0]], text.encode("ascii"))
    return raw.decode("utf-8", errors="replace")


def decode_value(key: str, text: str) -> str:
    """Return the value of ``key`` in a line of an answer: decoded, cleaned and bounded."""
    return clean_text(unescape(text)) if key in MANY_LINES else clean_line(unescape(text))


class GuardRefusal(NixferryError):
    """The guard has understood the request and refuses it; ``code`` is a key of ``ERRORS``."""

    def __init__(
        self, code: str, message: str, *, step: Step, remedy: str = "", output: Sequence[str] = ()
    ) -> None:
        super().__init__(message, step=step, remedy=remedy, output=output)
        self.code = code


@dataclass(frozen=True)
class Answer:
    """A decoded block of lines. Every accessor raises ``NixferryError`` when the host broke the contract."""

    verb: str
    values: Mapping[str, tuple[str, ...]]
    step: Step = Step.GUARD

    def all(self, key: str) -> tuple[str, ...]:
        """Return all values of a list key, in order."""
        return self.values.get(key, ())

    def text(self, key: str, default: str = "") -> str:
        """Return the value of a key that occurs at most once."""
        found = self.all(key)
        if len(found) > 1:
            raise self.broken(f"the key {key!r} came {len(found)} times")
        return found[0] if found else default

    def integer(self, key: str) -> int | None:
        """Return the value as an integer; ``None`` when it is absent or empty."""
        text = self.text(key)
        if not text:
            return None
        value = whole_number(text.removeprefix("-"))
        if value is None:
            raise self.broken(f"{key} should be a number, not {text!r}")
        return -value if text.startswith("-") else value

    def flag(self, key: str) -> bool:
        """Return a boolean: ``1`` or ``0`` (also when absent)."""
        text = self.text(key, "0")
        if text not in ("0", "1"):
            raise self.broken(f"{key} should be 0 or 1, not {text!r}")
        return text == "1"

    def broken(self, what: str) -> NixferryError:
        """Return the error for an answer that breaks the contract."""
        return NixferryError(
            f"the host's answer to {self.verb!r} makes no sense: {what}", step=self.step, remedy=BUG_REMEDY
        )


_Decoded = TypeVar("_Decoded")
_READERS: Mapping[str, Callable[[Answer, str], object]] = {
    "str": Answer.text,
    "int | None": Answer.integer,
    "bool": Answer.flag,
    "tuple[str, ...]": Answer.all,
}


def key_of(field: Field[Any]) -> str:
    """Return the key of an answer for ``field``: its name, unless its metadata has another one."""
    return str(field.metadata.get("key", field.name))


def decode_answer(answer: Answer, result: type[_Decoded]) -> _Decoded:
    """Build a dataclass from an answer: each field by its annotation, or by the function ``read`` of its metadata."""
    values = {}
    for field in fields(result):  # type: ignore[arg-type]  # a dataclass, which has no type of its own
        read = field.metadata.get("read")
        values[field.name] = read(answer) if read else _READERS[str(field.type)](answer, key_of(field))
    return result(**values)


def read_line(line: str) -> tuple[str, str] | None:
    """Return key and decoded value of a line of an answer; None for any other line."""
    match = _LINE.fullmatch(line) if len(line) <= _LINE_CHARACTERS else None
    return None if match is None else (match["key"], decode_value(match["key"], match["value"]))


def parse_answer(verb: str, completed: Completed, *, step: Step = Step.GUARD) -> Answer:
    """Find and decode the block that answers ``verb``.

    Raises ``NixferryError`` when no block is complete: the shell never ran, or garbled it; ``AnswerLost`` when it
    was cut off, or a signal ended the program that carries the connection.
    """
    lines = completed.stdout.split("\n")
    try:
        begin = len(lines) - 1 - lines[::-1].index(ANSWER_BEGIN)
    except ValueError:
        kind = AnswerLost if completed.return_code < 0 else NixferryError
        raise kind(
            f"the host did not answer {verb!r} (exit code {completed.return_code})",
            step=step,
            remedy="Make sure that the connection user can run /bin/sh there, with become if it is in use: a "
            "restricted shell, or a forced command of sshd, runs something else.",
            output=tail_of(completed),
        ) from None
    values: dict[str, list[str]] = {}
    whole, rest = lines[begin + 1 : -1], lines[-1]
    if rest == f"end={verb}":
        whole.append(rest)
    # Without an end of line, the connection may have broken within it.
    for line in whole:
        pair = read_line(line)
        if pair is None:
            raise (
                Answer(verb, {}, step)
                .broken(f"a line is not key=value: {line[:80]!r}")
                .with_(output=tail_of(completed))
            )
        key, value = pair
        if key == "end":
            if value != verb:
                raise Answer(verb, {}, step).broken(f"it ends as the answer to {value[:80]!r}")
            return Answer(verb, {key: tuple(found) for key, found in values.items()}, step)
        values.setdefault(key, []).append(value)
    raise AnswerLost(
        f"the host's answer to {verb!r} was cut off (exit code {completed.return_code})",
        step=step,
        remedy="Run it again: the guard works on without the connection and keeps its state.",
        output=tail_of(completed),
    )


def tail_of(completed: Completed) -> Sequence[str]:
    """Return the end of all output, as lines."""
    return [
        line
        for stream in (completed.stdout, completed.stderr)
        for line in stream[-TEXT_CHARACTERS:].splitlines()[-OUTPUT_TAIL_LINES:]
    ]
