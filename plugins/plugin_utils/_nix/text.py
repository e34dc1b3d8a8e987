# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Undo the layout that Nix gives to a text of several lines."""

from __future__ import annotations

from collections.abc import Sequence


def without_margin(lines: Sequence[str]) -> list[str]:
    """Return the lines without the common indentation of all but the first.

    Nix indents them by the width of what it prints before the text, such as ``error: ``.
    """
    rest = [line for line in lines[1:] if line.strip()]
    margin = min((len(line) - len(line.lstrip()) for line in rest), default=0)
    return [line if number == 0 else line[margin:] for number, line in enumerate(lines)]
