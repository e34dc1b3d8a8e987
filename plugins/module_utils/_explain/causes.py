# Copyright: (c) 2026, nixferry contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Private to this collection: it can change at any time, without notice.
"""Find the cause and the remedy in a program's output: the common engine for all tables of causes.

The tables are next to the code that runs the programs. The order of a table matters: a cause comes before its
consequences, since the first row with a matching line decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from re import Pattern
from typing import NamedTuple


class Cause(NamedTuple):
    """A row of a table.

    ``signs`` are regular expressions, the most specific first. ``message`` may contain ``{line}``,
    the line that shows it. ``code`` and ``stage`` name the cause and the stage of the failure, if a caller needs them.
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
    """Return the first cause that any of ``texts`` shows, None if it is unknown.

    A text may be one line, or many lines if a sign spans several.
    """
    for cause in causes:
        for sign in cause.signs:
            for text in texts:
                match = _compiled(sign, ignore_case).search(text)
                if match:
                    return Found(cause, _line_at(text, match.start()))
    return None


def _line_at(text: str, position: int) -> str:
    """Return the line of ``text`` at ``position``."""
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    return text[start : len(text) if end < 0 else end]
