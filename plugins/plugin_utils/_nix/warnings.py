# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Collect the warnings of an evaluation: what Nix code says to the user, such as renamed options.

``lib.warn`` and the option ``warnings`` of NixOS are traces, which every Nix logs at the level of errors
(``prim_trace`` in src/libexpr/primops.cc). Since Nix 2.23 there is ``builtins.warn`` (``prim_warn`` in the same file).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .log_stream import LogEvent, Message, PlainLine
from .text import without_margin

# nixpkgs had "warning:" until 24.05 (lib/trivial.nix), and still has it for the option `warnings` (showWarnings in
# lib/trivial.nix).
_WARNING = re.compile(r"(?:trace: (?:evaluation )?warning:|evaluation warning:)\s*(?P<text>\S.*)", re.DOTALL)
# An option of the command line without effect (src/libexpr/flake/flake.cc of Nix).
_WITHOUT_EFFECT = re.compile(r"warning: (?P<text>the flag '--override-input .*)", re.DOTALL)
# A warning inside a function that is called for each of many hosts may differ each time.
WARNINGS_KEPT = 100
LINES_KEPT = 20


def evaluation_warning(text: str) -> str:
    """Return what a message of Nix without terminal escapes warns of; empty if it is not such a warning."""
    match = _WARNING.match(text) or _WITHOUT_EFFECT.match(text)
    if match is None:
        return ""
    lines = without_margin(match["text"].rstrip().splitlines())
    return "\n".join(lines[:LINES_KEPT] + (["..."] if len(lines) > LINES_KEPT else []))


def shown(text: str) -> str:
    """Return a warning of ``EvaluationWarnings`` as Ansible should show it."""
    return f"evaluation warning: {text}"


class EvaluationWarnings:
    """Listens to Nix's log. ``texts`` has each distinct warning once, in the order of Nix."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}
        self._left_out = 0

    def event(self, event: LogEvent) -> None:
        text = evaluation_warning(event.text) if isinstance(event, Message | PlainLine) else ""
        if not text or text in self._texts:
            return
        if len(self._texts) < WARNINGS_KEPT:
            self._texts[text] = None
        else:
            self._left_out += 1

    def rewrite(self, told: Callable[[str], str]) -> None:
        """Replace each text by what ``told`` returns for it."""
        self._texts = dict.fromkeys(map(told, self._texts))

    @property
    def texts(self) -> list[str]:
        more = [f"{self._left_out} more warnings of the evaluation are left out"] if self._left_out else []
        return [*self._texts, *more]
