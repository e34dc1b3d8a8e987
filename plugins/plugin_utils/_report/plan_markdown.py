# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""A plan as Markdown, for a merge request: what a deploy would do, told to a reader who has never seen the tool."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import clean_line
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.closure_diff import change_text, is_unit

from .plan import Plan, PlannedHost

# Packages of one host that are listed by name. The plan itself has them all.
MOST_PACKAGES = 60
MOST_HOSTS = 300
MOST_UNITS = 60


def plan_markdown(plan: Plan) -> str:
    """Return the summary of a plan. What comes from hosts and builds cannot inject markup."""
    changed = {name: host for name, host in sorted(plan.hosts.items()) if host.changed}
    same = sorted(name for name, host in plan.hosts.items() if not host.changed)
    moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(plan.made))
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(plan.expires))
    lines = [
        "# Plan of a deploy",
        "",
        f"Made {moment}, valid until {until}. {_counted(len(changed), 'host')} would change, "
        f"{_counted(len(same), 'host')} would stay as {'it is' if len(same) == 1 else 'they are'}"
        + (f", {_counted(len(plan.left_out), 'host')} could not be planned." if plan.left_out else "."),
        "",
    ]
    if changed:
        lines += ["| Host | Size | Reboot | Secrets | New system |", "|---|---|---|---|---|"]
        lines += [_row(name, host) for name, host in list(changed.items())[:MOST_HOSTS]]
        lines.append("")
    for name, why in sorted(plan.left_out.items()):
        lines += [f"- **{_escaped(name)}** is left out: {_escaped(why)}"]
    if plan.left_out:
        lines.append("")
    lines += _differences(list(changed.items())[:MOST_HOSTS])
    if len(changed) > MOST_HOSTS:
        lines += [f"{len(changed) - MOST_HOSTS} more hosts are in the plan itself.", ""]
    if same:
        lines += [f"Unchanged: {', '.join(map(_escaped, same[:MOST_HOSTS]))}", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _row(name: str, host: PlannedHost) -> str:
    cells = (
        _escaped(name),
        _size(host.closure),
        _reboot(host),
        ", ".join(map(_escaped, host.secrets)) or "-",
        f"`{_code(host.toplevel.rpartition('/')[2])}`",
    )
    return f"| {' | '.join(cells)} |"


def _reboot(host: PlannedHost) -> str:
    reasons = ", ".join(map(_escaped, host.reboot_reasons))
    if host.reboot:
        return f"**yes**{f': {reasons}' if reasons else ''}"
    return f"due afterwards: {reasons}" if reasons else "no"


def _size(closure: Mapping[str, Any]) -> str:
    before, after = closure.get("size_before"), closure.get("size_after")
    if not isinstance(before, int) or not isinstance(after, int):
        return "unknown"
    return change_text(after - before)


def _differences(changed: Sequence[tuple[str, PlannedHost]]) -> list[str]:
    """Return the differences of the closures: equal ones once, with the hosts that they are of."""
    hosts: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, host in changed:
        hosts[(*_units(host.closure), *_packages(host.closure))].append(name)
    lines = []
    for packages, names in hosts.items():
        shown = ", ".join(map(_escaped, names[:5])) + (
            f" and {len(names) - 5} more" if len(names) > 5 else ""
        )
        lines += [f"## {shown}", ""]
        lines += packages or [
            "The packages are the same: only the configuration differs, or it could not be compared."
        ]
        lines.append("")
    return lines


def _units(closure: Mapping[str, Any]) -> list[str]:
    units = closure.get("units")
    lines = []
    for word in ("changed", "added", "removed"):
        names = units.get(word) if isinstance(units, Mapping) else None
        if isinstance(names, list) and names:
            more = f" and {len(names) - MOST_UNITS} more" if len(names) > MOST_UNITS else ""
            lines.append(f"- units {word}: {', '.join(map(_escaped, names[:MOST_UNITS]))}{more}")
    return lines


def _packages(closure: Mapping[str, Any]) -> list[str]:
    packages = closure.get("packages")
    listed = packages if isinstance(packages, list) else []
    # Their lines are those of _units.
    listed = [package for package in listed if not is_unit(str(package.get("name", "")))]
    lines = []
    for package in listed[:MOST_PACKAGES]:
        before = ", ".join(map(_escaped, package.get("before", []))) or "-"
        after = ", ".join(map(_escaped, package.get("after", []))) or "-"
        delta = package.get("size_delta")
        size = f", {change_text(delta)}" if isinstance(delta, int) and delta else ""
        lines.append(f"- {_escaped(package.get('name', ''))}: {before} → {after}{size}")
    if len(listed) > MOST_PACKAGES:
        lines.append(f"- and {len(listed) - MOST_PACKAGES} more")
    return lines


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _code(text: Any) -> str:
    return clean_line(str(text)).replace("`", "'").replace("|", "\\|")


def _escaped(text: Any) -> str:
    """Return the text so that Markdown shows it as it is."""
    shown = " ".join(clean_line(str(text)).split())
    for character in "\\`*_{}[]<>()#+!|~&":
        shown = shown.replace(character, f"\\{character}")
    return shown
