# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Clean and bound what another machine or program says, before it is kept, shown or parsed.

A host may be hostile: its words must not move the cursor of a terminal, hide or reorder text, forge further lines,
or fill the memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Of a line, in characters. The longest honest ones are lines of build logs.
LINE_CHARACTERS = 4096
# Of one text, such as the end of a log.
TEXT_LINES = 1000
TEXT_CHARACTERS = 65536
# Of these, how much is kept of the beginning; the end has the rest.
BEGIN_LINES = 200
BEGIN_CHARACTERS = 16384
CUT = " [..]"
# No count, size or time that a host reports needs more digits.
NUMBER_DIGITS = 15
# The end of the year 9999, the last one that Python's dates know, in seconds since the epoch.
LAST_MOMENT = 253_402_300_799

# Control sequences (colours, cursor); strings (titles, hyperlinks, device control), ended by BEL or ST; other escapes.
# Each has a form of two bytes that begins with ESC, and one with a single C1 character (ECMA-48, 5.3 and 5.4).
_TERMINAL_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-Z\\`-~]"
)
# Other characters that a line of text does not need: control characters, surrogates, and those that are invisible or
# change the direction of what follows. All of these end a line for some program: CR, VT, FF, NEL, LS, PS.
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_KEPT = {ord("\t"): None, ord("\n"): None}
_NUMBER = re.compile(rf"[0-9]{{1,{NUMBER_DIGITS}}}")


def clean(text: str) -> str:
    """Return ``text`` without terminal escapes and characters that are not seen; only ``\\n`` ends a line."""
    # Ten times faster for long plain texts.
    if text.isascii() and text.translate(_KEPT).isprintable():
        return text
    return _UNSEEN.sub("", _LINE_END.sub("\n", _TERMINAL_ESCAPE.sub("", text)))


def clean_line(text: str, limit: int = LINE_CHARACTERS) -> str:
    """Return ``text`` cleaned, on one line of at most ``limit`` characters."""
    # What is far beyond the limit costs no time.
    return _cut(clean(text[: 4 * limit]).replace("\n", " "), limit)


def clean_lines(lines: Iterable[str], limit: int = LINE_CHARACTERS) -> tuple[str, ...]:
    """Return each of ``lines`` cleaned; a line that hides further ones becomes one."""
    return tuple(clean_line(line, limit) for line in lines)


def clean_text(text: str) -> str:
    """Return ``text`` cleaned, with beginning and end of what exceeds ``TEXT_LINES`` or ``TEXT_CHARACTERS``."""
    if len(text) > 4 * TEXT_CHARACTERS:
        text = text[:TEXT_CHARACTERS] + CUT + text[-TEXT_CHARACTERS:]
    lines = [_cut(line, LINE_CHARACTERS) for line in clean(text).split("\n")]
    if len(lines) > TEXT_LINES:
        lines = [*lines[:BEGIN_LINES], CUT.strip(), *lines[BEGIN_LINES + 1 - TEXT_LINES :]]
    text = "\n".join(lines)
    if len(text) > TEXT_CHARACTERS:
        text = text[:BEGIN_CHARACTERS] + CUT + text[BEGIN_CHARACTERS + len(CUT) - TEXT_CHARACTERS :]
    return text


def whole_number(text: str) -> int | None:
    """Return a whole number in decimal digits, at most ``NUMBER_DIGITS`` of them; None for any other text."""
    return int(text) if _NUMBER.fullmatch(text) else None


def moment(text: str) -> int | None:
    """Return a time in seconds since the epoch that is a date; None for any other text."""
    seconds = whole_number(text)
    return None if seconds is None or seconds > LAST_MOMENT else seconds


def _cut(line: str, limit: int) -> str:
    return line if len(line) <= limit else line[: limit - len(CUT)] + CUT
