# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The time line of a run: for each host, when which phase was under way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .steps import COLLECTION
from .text import duration

# The phase that a task is, unless the guard on the host tells it in more detail.
OF_TASKS = {
    "nix_build": "build",
    "nix_copy": "copy",
    # It copies before the guard begins.
    "nix_deploy": "copy",
    "nix_switch": "activate",
    "nix_rollback": "activate",
    "nix_transaction": "activate",
    "nix_secrets": "secrets",
    "nix_health_check": "check",
    "nix_reboot": "reboot",
}
# The phases of the guard. The final ones take no time.
OF_GUARD = {
    "prepared": "activate",
    "activating": "activate",
    "awaiting-confirmation": "check",
    "committing": "commit",
    "rolling-back": "roll back",
}
KINDS = ("build", "copy", "activate", "check", "commit", "roll back", "secrets", "reboot", "other")
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
MOST_TICKS = 5


def time_line(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return bars for each host, in percent of the time from the first task to the last; None without any task.

    ``hosts`` are those of a report.
    """
    rows = [(name, _spans(host["steps"])) for name, host in hosts.items()]
    spans = [span for _name, found in rows for span in found]
    if not spans:
        return None
    start = min(span["begin"] for span in spans)
    length = max(1.0, max(span["begin"] + span["seconds"] for span in spans) - start)
    return {
        "rows": [
            {
                "name": name,
                "bars": [_bar(span, start, length) for span in found],
                "text": _text(found) or "no task of this collection ran",
            }
            for name, found in rows
        ],
        "kinds": [kind for kind in KINDS if any(span["kind"] == kind for span in spans)],
        "ticks": _ticks(length),
    }


def _spans(steps: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what was under way, from when, and for how many seconds."""
    spans: list[dict[str, Any]] = []
    for step in steps:
        bad = step["status"] in ("failed", "unreachable")
        kind = OF_TASKS.get(step["action"].removeprefix(COLLECTION), "other")
        phases = _phases(step["phases"])
        told = sum(seconds for _kind, seconds in phases)
        # The guard counts whole seconds of its own clock: it may have counted more than the task took.
        shrink = min(1.0, step["seconds"] / told) if told else 1.0
        before = max(0.0, step["seconds"] - told * shrink)
        moment = step["begin"]
        for each, seconds in [(kind, before), *((each, part * shrink) for each, part in phases)]:
            if seconds > 0 or not phases:
                spans.append({"kind": each, "begin": moment, "seconds": seconds, "bad": False})
                moment += seconds
        if spans:
            spans[-1]["bad"] = bad
    return spans


def _phases(phases: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """Return the guard's phases that took time, neighbours of one kind as one."""
    found: list[tuple[str, float]] = []
    for phase in phases:
        kind, seconds = OF_GUARD.get(str(phase.get("name"))), phase.get("seconds")
        if kind and isinstance(seconds, int | float) and seconds > 0:
            if found and found[-1][0] == kind:
                found[-1] = (kind, found[-1][1] + seconds)
            else:
                found.append((kind, float(seconds)))
    return found


def _bar(span: Mapping[str, Any], start: float, length: float) -> dict[str, Any]:
    return {
        "x": round(100 * (span["begin"] - start) / length, 2),
        # What took no time is seen nevertheless.
        "width": round(max(0.4, 100 * span["seconds"] / length), 2),
        "kind": span["kind"],
        "bad": span["bad"],
        "text": _told(span),
    }


def _told(span: Mapping[str, Any]) -> str:
    return f"{span['kind']} {duration(span['seconds'])}{', failed' if span['bad'] else ''}"


def _text(spans: Iterable[Mapping[str, Any]]) -> str:
    return "; ".join(map(_told, spans))


def _ticks(length: float) -> list[dict[str, Any]]:
    every = next((tick for tick in TICKS if length / tick <= MOST_TICKS), TICKS[-1])
    return [
        {"x": round(100 * moment / length, 2), "text": duration(moment)}
        for moment in range(0, min(int(length), 1000 * every) + 1, every)
    ]
