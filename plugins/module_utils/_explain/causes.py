# Copyright: (c) 2026, nixferry contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Private to this collection: it can change at any time, without notice.
"""From what a program printed to what is wrong and what to do about it: the one engine for all tables of causes.

The tables lie where the programs are run. The order of a table matters: a cause stands before its consequences, since
the first row that any line shows decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from re import Pattern
from typing import NamedTuple


class Cause(NamedTuple):
    """A row of a table.

    ``signs`` are regular expressions, the most telling first. ``message`` may hold ``{line}``,
    the line that shows it. ``code`` and ``stage`` name the cause and how far things went, where a caller asks for them.
    ``transient``: the same attempt may succeed a moment later. ``unreachable``: the login itself failed.
    """

    signs: tuple[str, ...]
    message: str = "{line}"
    remedy: str = ""
    code: str = ""
    stage: str = ""
    transient: bool = False
    unreachable: bool = False


class Found(NamedTuple):
    """A cause, and the line that shows it."""

    cause: Cause
    line: str

    @property
    def message(self) -> str:
        """Return the message with the line in it."""
        return self.cause.message.format(line=self.line)


@lru_cache(maxsize=None)  # noqa: UP033 # Python 3.8 has no cache
def _compiled(sign: str, ignore_case: bool) -> Pattern[str]:
    return re.compile(sign, re.MULTILINE | (re.IGNORECASE if ignore_case else 0))


def find(causes: Iterable[Cause], texts: Sequence[str], ignore_case: bool = True) -> Found | None:
    """Return the first cause that any of ``texts`` shows, None when none is known.

    A text may be a line, or many lines where a sign reaches over the end of one.
    """
    for cause in causes:
        for sign in cause.signs:
            for text in texts:
                match = _compiled(sign, ignore_case).search(text)
                if match:
                    return Found(cause, _line_at(text, match.start()))
    return None


def _line_at(text: str, position: int) -> str:
    """Return the line of ``text`` that ``position`` is in."""
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    return text[start : len(text) if end < 0 else end]
