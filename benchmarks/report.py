# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables for people, JSON for programs."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.contestants import FLOOR, version_of
from benchmarks.measure import Spread
from benchmarks.race import Record, seconds

MEBIBYTE = 1024 * 1024
COLUMNS = (
    "hosts",
    "what",
    "min s",
    "median s",
    "max s",
    "x floor",
    "cpu s",
    "host cpu s",
    "MiB",
    "logins",
    "commands",
)
LEGEND = """\
x floor: median of the ratios of each repetition's pair. cpu: controller with the ssh masters that it leaves,
median. host cpu: of one host, median. MiB: peak of the controller's processes together (PSS, sampled).
logins, commands: ssh connections and sessions that web01 saw.
MiB, logins and commands come from one further run that is not timed."""


def machine(peers: Iterable[str]) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "processors": os.cpu_count(),
        "memory_mebibytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MEBIBYTE,
        "kernel": platform.release(),
        "nix": version_of("nix"),
        "ansible": version_of("ansible-playbook"),
        "ssh": version_of("ssh", "-V"),
        "peers": {peer: version_of(peer) for peer in peers},
        "load_before": os.getloadavg()[0],
    }


def as_json(record: Record) -> dict[str, Any]:
    """Everything about one contestant in one scenario, each run included."""
    return {
        "contestant": record.contestant.name,
        "what": record.contestant.what,
        "scenario": record.scenario,
        "hosts": record.hosts,
        "failure": record.failure,
        "memory_bytes": record.memory,
        "sessions": asdict(record.sessions) if record.sessions is not None else None,
        "seconds": asdict(Spread.of(seconds(record))) if record.runs else None,
        "runs": [asdict(outcome) for outcome in record.runs],
        "hosts_cpu_seconds": record.hosts_cpu,
    }


def counts(record: Record) -> tuple[str, str]:
    """Logins and commands, for people."""
    return (str(record.sessions.logins), str(record.sessions.commands)) if record.sessions else ("?", "?")


def ratio(record: Record, floor: Record) -> float | None:
    """Median of the ratios between runs of the same repetition; None when there are none."""
    pairs = list(zip(seconds(record), seconds(floor), strict=False))
    return statistics.median(a / b for a, b in pairs) if pairs else None


def table(records: Sequence[Record]) -> str:
    """One scenario with one number of hosts."""
    floor = find(records, FLOOR)
    rows: list[Sequence[str]] = [COLUMNS]
    for record in records:
        name = record.contestant.name
        if record.failure or not record.runs:
            rows.append((str(record.hosts), name, record.failure or "no runs", *[""] * (len(COLUMNS) - 3)))
            continue
        spread = Spread.of(seconds(record))
        times_floor = ratio(record, floor) if floor is not None else None
        cpu = statistics.median(outcome.cpu_seconds for outcome in record.runs)
        cells = [f"{spread.minimum:.2f}", f"{spread.median:.2f}", f"{spread.maximum:.2f}"]
        cells += [f"{times_floor:.2f}" if times_floor is not None else "", f"{cpu:.2f}"]
        cells += [f"{statistics.median(record.hosts_cpu) / record.hosts:.2f}"]
        cells += [f"{record.memory / MEBIBYTE:.0f}"]
        cells += list(counts(record))
        rows.append((str(record.hosts), name, *cells))
    plain = [row for row in rows if all(row[3:])] or rows[:1]
    widths = [max(len(row[column]) for row in plain) for column in range(len(COLUMNS))]
    widths[1] = max(len(row[1]) for row in rows)

    def line(row: Sequence[str]) -> str:
        return "  ".join(
            cell.ljust(width) if column == 1 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()

    return "\n".join(map(line, rows))


def find(records: Sequence[Record], name: str) -> Record | None:
    """The record of the contestant ``name``."""
    return next((record for record in records if record.contestant.name == name), None)
