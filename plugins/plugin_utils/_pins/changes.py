# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Tell as Markdown what an update changes: the pins, and the closure of every host."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.closure_diff import (
    ClosureDiff,
    change_text,
)

# Rows of packages in all. GitHub takes texts of 65,536 characters, and a row has about 100.
MAX_ROWS = 400
# What could begin markup, a link or a mention in a cell of a table.
_MARKUP = re.compile(r"[^A-Za-z0-9 .,:;/_+=?()∅~>-]")


def plain(text: object) -> str:
    """Return text of lock files and store paths without what Markdown would read as more than text."""
    return _MARKUP.sub(" ", str(text)).strip()


def markdown(
    pins: Sequence[Mapping[str, Any]],
    diffs: Mapping[str, ClosureDiff],
    *,
    changed: Collection[str],
    unknown: Collection[str],
) -> str:
    """Return the text.

    ``pins`` are those of ``nix_lock_update``. ``diffs`` leave out the toplevels themselves, so that hosts with the same
    difference are one. ``changed`` are hosts with another toplevel, ``unknown`` those without one before.
    """
    lines = _pins_table(pins)
    groups: dict[tuple[ClosureDiff, bool], list[str]] = {}
    for host in sorted(diffs):
        groups.setdefault((diffs[host], host in changed), []).append(plain(host))
    rows = MAX_ROWS
    for (diff, is_other), hosts in groups.items():
        if not diff.changes:
            said = (
                "The system is another one, of the same packages."
                if is_other
                else "The system stays as it is."
            )
            lines += [f"### {', '.join(hosts)}", "", said, ""]
            continue
        size = change_text(diff.size_after - diff.size_before)
        lines += [f"### {', '.join(hosts)}", "", f"{len(diff.changes)} packages, {size}", ""]
        shown = diff.changes[:rows]
        rows -= len(shown)
        if shown:
            lines += ["| package | before | after | size |", "| --- | --- | --- | --- |"]
        for change in shown:
            before, after = (plain(", ".join(each)) or "-" for each in (change.before, change.after))
            lines.append(f"| {plain(change.name)} | {before} | {after} | {change_text(change.size_delta)} |")
        if len(shown) < len(diff.changes):
            lines.append(f"\n{len(diff.changes) - len(shown)} more are not shown.")
        lines.append("")
    if unknown:
        hosts = [plain(host) for host in sorted(unknown)]
        lines += [f"### {', '.join(hosts)}", "", "There is no earlier system to compare with.", ""]
    return "\n".join(lines)


def _pins_table(pins: Sequence[Mapping[str, Any]]) -> list[str]:
    changed = [pin for pin in pins if pin.get("changed")]
    if not changed:
        return []
    lines = ["| input | before | after | date |", "| --- | --- | --- | --- |"]
    for pin in changed:
        before, after = ((pin.get(side) or {}).get("revision") or "-" for side in ("old", "new"))
        moment = (pin.get("new") or {}).get("time")
        date = time.strftime("%Y-%m-%d", time.gmtime(moment)) if isinstance(moment, int) else "-"
        lines.append(f"| {plain(pin.get('name'))} | {plain(before)[:12]} | {plain(after)[:12]} | {date} |")
    return [*lines, ""]
