# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""A plan as a page of HTML: what a deploy would do, for a review."""

from __future__ import annotations

import time
from typing import Any

from .pages import differences, page, size_change, tile
from .plan import Plan, PlannedHost
from .text import short_path, short_revision


def plan_page(plan: Plan) -> str:
    """Return the page of a plan."""
    hosts = dict(sorted(plan.hosts.items()))
    changed = {name: host for name, host in hosts.items() if host.changed}
    total = len(hosts) + len(plan.left_out)
    headline = f"{len(changed)} of {total} host{'' if total == 1 else 's'} would change"
    return page(
        "plan.html.j2",
        title="Plan of a deploy",
        headline=headline,
        tone="bad" if plan.left_out else "info" if changed else "good",
        sign="cross" if plan.left_out else "arrow" if changed else "check",
        made=_moment(plan.made),
        expires=_moment(plan.expires),
        tiles=[
            tile(len(changed), "would change", "info", "arrow", total=total),
            tile(len(hosts) - len(changed), "would stay as they are", "same", "equal", total=total),
            tile(len(plan.left_out), "left out", "bad", "cross", total=total),
            tile(sum(host.reboot for host in hosts.values()), "would reboot", "warn", "power"),
            tile(sum(bool(host.secrets) for host in hosts.values()), "get other secrets", "info", "key"),
        ],
        rows=[_row(name, host) for name, host in hosts.items() if host.changed],
        same=[name for name, host in hosts.items() if not host.changed],
        left_out=sorted(plan.left_out.items()),
        differences=differences((name, host.closure) for name, host in changed.items()),
    )


def _row(name: str, host: PlannedHost) -> dict[str, Any]:
    reasons = ", ".join(host.reboot_reasons)
    reboot = (
        ("yes", ("warn", "power"))
        if host.reboot
        else ("due afterwards", ("info", "clock"))
        if reasons
        else None
    )
    return {
        "name": name,
        "host": host,
        "size": size_change(host.closure) or "unknown",
        "reboot": reboot,
        "reasons": reasons,
        "old": short_path(host.current),
        "new": short_path(host.toplevel),
        "revision": short_revision(host.revision),
    }


def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
