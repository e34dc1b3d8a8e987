# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Remember the memory that the hosts of a project took, for the next evaluation of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.state import state_directory

from .attribute import Root
from .limits import Cost


def remembered_cost(roots: Iterable[Root]) -> Cost:
    """Return the highest cost that was measured for one of ``roots``; the default if none was."""
    known = [cost for root in roots if (cost := _read(_file(root)))]
    if not known:
        return Cost()
    return Cost(max(cost.first for cost in known), max(cost.further for cost in known))


def remember_cost(root: Root, measured: Iterable[tuple[int, int]]) -> None:
    """Keep what evaluators of ``root`` took: the number of their hosts, and their peaks in MiB (0: not measured).

    Where nothing can be written nothing is kept.
    """
    taken = [(hosts, peak) for hosts, peak in measured if peak > 0]
    if not taken:
        return
    file = _file(root)
    before = _read(file)
    cost = (before or Cost()).learned(taken)
    if before is not None:
        # This time it may have been a few small hosts: what was higher goes down by half of the difference.
        cost = Cost(
            max(cost.first, (cost.first + before.first) // 2),
            max(cost.further, (cost.further + before.further) // 2),
        )
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(json.dumps({"first": cost.first, "further": cost.further}), encoding="ascii")


def _read(file: Path) -> Cost | None:
    try:
        data = json.loads(file.read_text(encoding="ascii"))
        first, further = data["first"], data["further"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not all(isinstance(number, int) and number > 0 for number in (first, further)):
        return None
    return Cost(first, further)


def _file(root: Root) -> Path:
    return state_directory() / "memory" / hashlib.sha256(repr(root).encode()).hexdigest()[:32]
