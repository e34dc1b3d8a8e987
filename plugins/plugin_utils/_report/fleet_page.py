# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The status of a fleet as a page of HTML. It shows what the JSON status has, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .fleet import BROKEN, DUE, OK, ROLLBACK
from .pages import page, tile
from .text import cause, duration, short_path, short_revision

_FINE, _ATTENTION, _BAD = ("good", "check"), ("warn", "clock"), ("bad", "cross")
# Outcomes of a pull that ask for nothing (documented in nix_pull_status).
_GOOD_PULLS = ("committed", "unchanged", "held", "waiting")
_LOOKS = {OK: _FINE, DUE: _ATTENTION, BROKEN: _BAD}


def fleet_page(status: Mapping[str, Any]) -> str:
    """Return the page of a status (``FleetStatus.report``)."""
    hosts: Mapping[str, Mapping[str, Any]] = status["hosts"]
    now = datetime.fromisoformat(status["time"]).timestamp()
    rows = [_row(name, host, now) for name, host in hosts.items()]
    number = {look: sum(row["look"] == look for row in rows) for look in (_FINE, _ATTENTION, _BAD)}
    needy = number[_ATTENTION] + number[_BAD]
    tone, sign = _BAD if number[_BAD] else _ATTENTION if needy else _FINE
    totals, total = status["totals"], len(rows)
    return page(
        "fleet.html.j2",
        title="Fleet status",
        headline=f"{needy} of {total} hosts need attention" if needy else "All hosts are as they should be",
        tone=tone,
        sign=sign,
        status=status,
        rows=rows,
        tiles=[
            tile(number[_BAD], "broken, or no answer", "bad", "cross", total=total),
            tile(number[_ATTENTION], "something is due", "warn", "clock", total=total),
            tile(number[_FINE], "as they should be", "good", "check", total=total),
            tile(totals["unreachable"], "unreachable", "bad", "unplugged"),
            tile(totals["failed-units"], "with failed units", "bad", "cross"),
            tile(totals["reboot-required"], "reboot required", "warn", "power"),
            tile(totals["drift"], "with drift", "warn", "drift"),
        ],
        deploys=[_deploy(run) for run in status["deploys"]],
        pulls=[_pull(name, host["pull"], now) for name, host in hosts.items() if host.get("pull")],
    )


def _row(name: str, host: Mapping[str, Any], now: float) -> dict[str, Any]:
    deployed = host["deployed"] or {}
    answered = host["current"] is not None
    badges = []
    if not answered:
        badges.append(
            ("no answer", "bad", "cross") if host["reachable"] else ("unreachable", "bad", "unplugged")
        )
    if host["failed_units"]:
        badges.append((f"{len(host['failed_units'])} failed", "bad", "cross"))
    if host["reboot_required"]:
        badges.append(("reboot", "warn", "power"))
    badges += [(f"drift: {each}", "warn", "drift") for each in host["drift"] or ()]
    pull = host.get("pull")
    if pull and (pull["quarantined"] or not pull["pulls"]):
        badges.append(("quarantine" if pull["quarantined"] else "pulls no more", "warn", "lock"))
    remarks = [*map(str, host["notes"] or ())]
    if host["failed_units"]:
        remarks.insert(0, f"failed: {', '.join(host['failed_units'])}")
    if host["reboot_required"]:
        remarks.append(f"a reboot brings: {', '.join(host['reboot_reasons'] or ())}")
    if host["lock"]:
        remarks.append(f"being deployed to by {host['lock']}")
    if not answered:
        remarks.append(cause(name, host["message"]))
    same = host["current"] == host["boot_default"]
    return {
        "name": name,
        "host": host,
        "look": _LOOKS[host["state"]],
        "badges": badges or [("fine", "good", "check")],
        "runs": short_path(host["current"]) if answered else "",
        "boots": "" if not answered else "same" if same else short_path(host["boot_default"]),
        "generation": str(host["generation"] or ""),
        "age": _age(deployed.get("time") or host["generation_time"], now),
        "by": deployed.get("deployer") or "",
        "revision": short_revision(deployed.get("revision") or ""),
        "remarks": remarks,
    }


def _deploy(run: Mapping[str, Any]) -> dict[str, Any]:
    what = "rollback" if run["action"] == ROLLBACK else short_revision(run["revision"] or "")
    return {**run, "what": what, "hosts": ", ".join(run["hosts"])}


def _pull(name: str, pull: Mapping[str, Any], now: float) -> dict[str, Any]:
    good = pull["good_time"]
    # The host's own clock, which may be another one than the controller's.
    there = pull["now"] if pull["now"] is not None else now
    refused = bool(pull["quarantined"]) or not pull["pulls"]
    return {
        "name": name,
        "follows": " ".join(filter(None, (pull["channel"], pull["branch"], short_revision(pull["commit"])))),
        "serial": "" if pull["serial"] is None else str(pull["serial"]),
        "issued": "" if pull["pointer_age"] is None else f"{duration(pull['pointer_age'])} ago",
        "good": "" if not good else f"{duration(there - good)} ago",
        "look": _ATTENTION if refused or pull["outcome"] not in _GOOD_PULLS else _FINE,
        "outcome": pull["outcome"] or "no run yet",
        "message": pull["message"] or "",
        "timer": "" if pull["pulls"] else "its timer is stopped",
        "quarantined": [short_path(path) for path in pull["quarantined"]],
    }


def _age(moment: str | None, now: float) -> str:
    return duration(now - datetime.fromisoformat(moment).timestamp()) if moment else ""
