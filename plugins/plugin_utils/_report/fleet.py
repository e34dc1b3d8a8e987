# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Collect the fleet status from the results of nix_generations, as data and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .facts import message_of, moment, plain
from .run import SCHEMA
from .steps import COLLECTION
from .text import (
    BAD,
    GOOD,
    WARN,
    WIDTH,
    Line,
    cause,
    cut,
    duration,
    short_path,
    short_revision,
)

STATUS = f"{COLLECTION}nix_generations"
PULL = f"{COLLECTION}nix_pull_status"
# The fields of a result to keep; all are None for a host that did not answer.
STATUS_FIELDS = (
    "current",
    "booted",
    "boot_default",
    "generation",
    "generation_time",
    "deployed",
    "drift",
    "reboot_required",
    "reboot_reasons",
    "failed_units",
    "nix_version",
    "lock",
    "notes",
)
NO_ANSWER: dict[str, Any] = dict.fromkeys(STATUS_FIELDS)
# What a record says of a manual rollback.
ROLLBACK = "rollback"
# The states of a host.
OK, DUE, BROKEN = "ok", "due", "broken"
# The number of deploys in the data, and below the table.
DEPLOYS_TOLD = 20
DEPLOYS_SHOWN = 5


@dataclass
class FleetStatus:
    """Collects the status of every host of a fleet."""

    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: bool = False
    """Return True if any host was, or was to be, asked."""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The runs that deployed to these hosts, by their ids, each with the hosts that it changed."""

    def play(self, hosts: Iterable[str]) -> None:
        """Record the hosts of a play that asks them, so that hosts without an answer get a row too."""
        self.asked = True
        for host in hosts:
            self.hosts.setdefault(host, {"reachable": False, "message": "was not asked", **NO_ANSWER})

    def task_ends(self, host: str, action: str, status: str, result: Mapping[str, Any]) -> None:
        """Record the end of a task: ``status`` is ok, failed, ignored or unreachable."""
        if action == STATUS:
            self.asked = True
            answered = status == "ok" and "current" in result
            fields = {name: plain(result.get(name)) for name in STATUS_FIELDS} if answered else NO_ANSWER
            message = "" if answered else message_of(result)
            self.hosts[host] = {"reachable": status != "unreachable", "message": message, **fields}
            self._take_runs(host, plain(result.get("history")) if answered else ())
            self._take_pull(host, plain(result.get("pull")) if answered else None)
        elif action == PULL:
            self._take_pull(host, plain(result.get("pull")) if status == "ok" else None)
        elif status in ("failed", "unreachable") and host in self.hosts:
            told = message_of(result) if status == "unreachable" else "a task before it failed"
            self.hosts[host] = {"reachable": status != "unreachable", "message": told, **NO_ANSWER}

    def _take_pull(self, host: str, pull: Mapping[str, Any] | None) -> None:
        if pull and pull["installed"] and host in self.hosts:
            self.hosts[host]["pull"] = pull

    def _take_runs(self, host: str, history: Iterable[Mapping[str, Any]] | None) -> None:
        for record in history or ():
            if not record["deploy"]:
                continue
            told = {name: record[name] for name in ("deploy", "time", "deployer", "revision", "action")}
            run = self.runs.setdefault(record["deploy"], {**told, "hosts": []})
            if host not in run["hosts"]:
                # Hosts answer in any order.
                run["hosts"] = sorted([*run["hosts"], host])

    @property
    def deploys(self) -> list[dict[str, Any]]:
        """Return the newest runs, the newest first."""
        return [run for _id, run in sorted(self.runs.items(), reverse=True)][:DEPLOYS_TOLD]

    def report(self, now: float) -> dict[str, Any]:
        """Return the status as data; ``now`` is in seconds since the epoch."""
        hosts = list(self.hosts.values())
        told = {name: {**host, "state": state_of(host)} for name, host in self.hosts.items()}
        return {
            "schema": SCHEMA,
            "time": moment(now),
            "result": "ok" if all(host["state"] == OK for host in told.values()) else "attention",
            "totals": {
                "hosts": len(hosts),
                "unreachable": sum(not host["reachable"] for host in hosts),
                "reboot-required": sum(bool(host["reboot_required"]) for host in hosts),
                "failed-units": sum(bool(host["failed_units"]) for host in hosts),
                "drift": sum(bool(host["drift"]) for host in hosts),
            },
            "hosts": told,
            "deploys": self.deploys,
        }


def state_of(host: Mapping[str, Any]) -> str:
    """Return ``broken`` without an answer or with failed units, ``due`` if there is something to do, else ``ok``."""
    if host["current"] is None or host["failed_units"]:
        return BROKEN
    pull = host.get("pull")
    refuses = pull is not None and (bool(pull["quarantined"]) or not pull["pulls"])
    return DUE if host["reboot_required"] or host["drift"] or refuses else OK


_HEAD = ("HOST", "RUNS", "BOOTS", "GEN", "AGE", "DEPLOYED BY", "REVISION", "REBOOT", "FAILED", "DRIFT")
# The columns to shrink if the table is too wide, and their minimum width.
_SHRINKS = ((5, 11), (9, 9), (0, 16), (5, 6), (0, 6))
_GAP = "  "


def status_lines(hosts: Mapping[str, Mapping[str, Any]], now: float, width: int = WIDTH) -> list[Line]:
    """Return one row for each host, followed by remarks."""
    rows = {name: _row(name, host, now) for name, host in hosts.items()}
    cells = [_HEAD, *[row for row in rows.values() if row]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEAD))]
    widths[0] = max([widths[0], *map(len, hosts)])
    for column, least in _SHRINKS:
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
        if excess > 0:
            widths[column] = max(min(least, widths[column]), widths[column] - excess)
    lines = [Line(_joined(_HEAD, widths))]
    remarks = []
    for name, host in hosts.items():
        row = rows[name]
        tone = _status_tone(host)
        if row is None:
            how = "no answer" if host["reachable"] else "unreachable"
            text = f"{cut(name, widths[0]).ljust(widths[0])}{_GAP}{how}: {cause(name, host['message'])}"
            lines.append(Line(cut(text, width), tone))
            continue
        lines.append(Line(_joined(row, widths), tone))
        remarks += [Line(cut(f"  {name}: {remark}", width), tone) for remark in _remarks(host)]
    return [*lines, *([Line("")] if remarks else []), *remarks]


def deploy_lines(deploys: Sequence[Mapping[str, Any]], width: int = WIDTH) -> list[Line]:
    """Return the newest deploys, as targets of a rollback."""
    lines = [Line("")] if deploys else []
    for run in deploys[:DEPLOYS_SHOWN]:
        what = "rollback" if run["action"] == ROLLBACK else short_revision(run["revision"]) or "-"
        cells = (f"deploy:{run['deploy']}", run["deployer"] or "unknown", what, ", ".join(run["hosts"]))
        lines.append(Line(cut(f"  {_GAP.join(cells)}", width)))
    return lines


def _row(name: str, host: Mapping[str, Any], now: float) -> tuple[str, ...] | None:
    if host["current"] is None:
        return None
    deployed = host["deployed"] or {}
    moment = deployed.get("time") or host["generation_time"]
    same = host["current"] == host["boot_default"]
    return (
        name,
        short_path(host["current"]),
        "same" if same and host["current"] else short_path(host["boot_default"]),
        str(host["generation"] or "-"),
        duration(now - datetime.fromisoformat(moment).timestamp()) if moment else "-",
        deployed.get("deployer") or "-",
        short_revision(deployed.get("revision") or "") or "-",
        "yes" if host["reboot_required"] else "no",
        str(len(host["failed_units"] or ())),
        "+".join(host["drift"] or ()) or "no",
    )


def _status_tone(host: Mapping[str, Any]) -> str:
    if host["current"] is None or host["failed_units"]:
        return BAD
    return WARN if host["reboot_required"] or host["drift"] else GOOD


def _remarks(host: Mapping[str, Any]) -> list[str]:
    remarks = []
    if host["failed_units"]:
        remarks.append(f"failed: {', '.join(host['failed_units'])}")
    if host["reboot_required"]:
        remarks.append(f"a reboot brings: {', '.join(host['reboot_reasons'] or ())}")
    remarks += _pull_remarks(host.get("pull"))
    remarks += host["notes"] or ()
    if host["lock"]:
        remarks.append(f"being deployed to by {host['lock']}")
    return remarks


def _pull_remarks(pull: Mapping[str, Any] | None) -> list[str]:
    """Return what the pull agent of a host has done last."""
    if pull is None:
        return []
    age = "" if pull["pointer_age"] is None else f", issued {duration(pull['pointer_age'])} ago"
    serial = f"serial {pull['serial']}{age}" if pull["serial"] is not None else "nothing yet"
    outcome = pull["outcome"] or "no run yet"
    said = f" ({pull['message']})" if pull["message"] else ""
    remarks = [f"pulls{'' if pull['pulls'] else ' no more, its timer is stopped'}: {serial}: {outcome}{said}"]
    if pull["quarantined"]:
        remarks.append(
            f"not activated again before it is cleared: {', '.join(map(short_path, pull['quarantined']))}"
        )
    return remarks


def _joined(row: Sequence[str], widths: Sequence[int]) -> str:
    return _GAP.join(cut(cell, size).ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
