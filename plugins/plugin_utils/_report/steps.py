# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The tasks of a run on a host, for the time line, and what the programs of a failed one said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import clean_line

from .facts import UNREACHABLE, message_of, plain

COLLECTION = "nixferry.deploy."
# It only looks at variables: no step of a deploy, unless it fails.
NOTE = f"{COLLECTION}nix_role_variables"
# The lines of a failed program's output that a report has at most, from the end.
LOG_LINES = 200


def step_of(
    action: str, task: str, status: str, result: Mapping[str, Any], begin: float, seconds: float
) -> dict[str, Any] | None:
    """Return a finished task as data; None if it is of no interest.

    ``status`` is ok, failed, ignored or unreachable. ``begin`` is in seconds since the run began.
    """
    ours = action.startswith(COLLECTION)
    bad = status in ("failed", UNREACHABLE)
    if not bad and (not ours or action == NOTE or result.get("skipped")):
        return None
    return {
        "action": action.removeprefix(COLLECTION) if ours else "",
        "task": plain(task),
        "status": "failed" if result.get("failed") and status == "ok" else status,
        "begin": round(max(0.0, begin), 2),
        "seconds": round(max(0.0, seconds), 2),
        "phases": [plain(phase) for item in items_of(result) for phase in item.get("phases") or ()]
        if ours
        else [],
        # The words of other tasks may hold anything.
        "message": message_of(result) if bad and (ours or status == UNREACHABLE) else "",
    }


def items_of(result: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the results of a loop, or the only one."""
    items = result.get("results")
    if isinstance(items, list) and "outcome" not in result:
        return [item for item in items if isinstance(item, Mapping)]
    return [result]


def log_of(result: Mapping[str, Any]) -> list[str]:
    """Return the end of what the programs of a task said: ``log`` of a switch, ``output`` of any other task.

    Nothing with ``no_log``.
    """
    if "censored" in result:
        return []
    for item in items_of(result):
        for key in ("log", "output"):
            lines = item.get(key)
            if isinstance(lines, list | tuple) and lines:
                return [clean_line(str(line)) for line in lines[-LOG_LINES:]]
    return []
