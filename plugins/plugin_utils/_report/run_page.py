# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The report of a run as a page of HTML. It shows what the JSON report has, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.text import names_text

from .facts import OUTCOMES
from .pages import LOOKS, differences, page, size_change, tile
from .text import cause, outcome_text, short_revision
from .timeline import time_line

_RESULTS = {
    "ok": ("good", "check", "Deployed"),
    "running": ("info", "clock", "Not finished"),
    "incomplete": ("warn", "dash", "Deploy incomplete"),
    "awaiting-confirmation": ("warn", "clock", "Awaiting confirmation"),
    "unreachable": ("bad", "unplugged", "Hosts unreachable"),
    "rolled-back": ("bad", "back", "Rolled back"),
    "failed": ("bad", "cross", "Deploy failed"),
}


def run_page(report: Mapping[str, Any]) -> str:
    """Return the page of a report (``RunReport.report``)."""
    hosts: Mapping[str, Mapping[str, Any]] = report["hosts"]
    check_mode = bool(report["check_mode"])
    tone, sign, headline = _RESULTS[report["result"]]
    if report["result"] == "ok":
        changed = any(host["changed"] for host in hosts.values())
        headline = "Would be deployed" if check_mode else headline if changed else "Nothing to do"
    order = sorted(hosts, key=lambda name: OUTCOMES.index(hosts[name]["outcome"]))
    numbers = {name: number for number, name in enumerate(order, 1)}
    return page(
        "run.html.j2",
        title=f"Deploy report: {headline.lower()}",
        report=report,
        playbook=PurePath(report["playbook"]).name,
        headline=headline,
        tone=tone,
        sign=sign,
        tiles=_tiles(report, check_mode=check_mode),
        causes=_causes(hosts, order),
        rows=[_row(numbers[name], name, hosts[name], check_mode=check_mode) for name in order],
        line=time_line({name: hosts[name] for name in order}),
        differences=differences((name, hosts[name]["closure"]) for name in order),
    )


def _tiles(report: Mapping[str, Any], *, check_mode: bool) -> list[dict[str, Any]]:
    totals = report["totals"]
    tiles = [
        tile(
            totals[outcome],
            outcome_text(outcome, check_mode=check_mode),
            *LOOKS[outcome],
            total=totals["hosts"],
        )
        for outcome in OUTCOMES
        if totals[outcome]
    ]
    if totals["reboot-required"]:
        tiles.append(tile(totals["reboot-required"], "reboot required", "warn", "power"))
    if totals["failed-task"]:
        tiles.append(tile(totals["failed-task"], "failed in a later task", "bad", "cross"))
    return tiles


def _causes(hosts: Mapping[str, Mapping[str, Any]], order: list[str]) -> list[dict[str, Any]]:
    """Return what went wrong, the same of several hosts once, with their logs."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name in order:
        host = hosts[name]
        if host["message"]:
            rest = host["message"].partition("\n")[2]
            key = (host["outcome"], cause(name, host["message"]), rest, "")
            found.setdefault(key, []).append(name)
        if host["failed_task"]:
            task = host["failed_task"]
            how = "lost the host" if task["unreachable"] else "failed"
            first, rest = cause(name, task["message"]), task["message"].partition("\n")[2]
            key = (host["outcome"], first or f"the task {task['task']!r} {how}", rest, task["task"])
            found.setdefault(key, []).append(name)
    return [
        {
            "hosts": names_text(names),
            "outcome": outcome,
            "cause": first,
            "rest": rest,
            "later": task,
            "logs": [{"host": name, "lines": hosts[name]["log"]} for name in names if hosts[name]["log"]],
        }
        for (outcome, first, rest, task), names in found.items()
    ]


def _row(number: int, name: str, host: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    packages = host["closure"].get("packages")
    remarks = [*(f"{unit} failed" for unit in host["failed_units"])]
    if host["rebooted"]:
        remarks.append("would be rebooted" if check_mode else "rebooted")
    if host["reboot_required"]:
        reasons = ", ".join(host["reboot_reasons"])
        remarks.append(f"reboot required{f': {reasons}' if reasons else ''}")
    if host["failed_task"]:
        remarks.append(f"then failed: {host['failed_task']['task']}")
    return {
        "id": f"host-{number}",
        "name": name,
        "host": host,
        "word": outcome_text(host["outcome"], check_mode=check_mode),
        "generation": "" if check_mode else str(host["generation"] or ""),
        "revision": short_revision(host["revision"] or ""),
        "size": size_change(host["closure"]),
        "packages": len(packages) if isinstance(packages, list) else 0,
        "remarks": remarks,
    }
