# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was aimed at, and whether the figures of a run meet it.

An aim holds for a number of hosts and a latency, and is silent about others. What it needs is looked up among all
records so far, so that an aim can compare two numbers of hosts.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.contestants import (
    FLOOR,
    NIXFERRY,
    NIXFERRY_BUILT,
    NIXFERRY_UNWATCHED,
    START_UP,
    STATUS,
)
from benchmarks.race import NO_OP, ONE_CHANGE, Record, seconds

COLMENA = "colmena"
OURS = (NIXFERRY, NIXFERRY_BUILT, NIXFERRY_UNWATCHED, STATUS)

NO_OP_HOSTS, NO_OP_FACTOR = 20, 1.5  # times the floor and Ansible's start
ONE_HOST_FACTOR = 2.0  # times the floor, plus Ansible's start
PEER_HOSTS, PEER_FACTOR = 20, 1.0  # times colmena
FAR_LATENCY, FAR_FACTOR = 30, 0.8  # milliseconds; times colmena
GROWTH_FROM, GROWTH_TO = 5, 50  # hosts
MANY_HOSTS, MANY_MEBIBYTES, MANY_STATUS_CPU = 200, 1024, 20.0
COMMANDS = {NO_OP: 1, ONE_CHANGE: 4}
LOGINS = {NO_OP: 1, ONE_CHANGE: 2}

MEBIBYTE = 1024 * 1024


class Figures:
    """The records of a run, by scenario, number of hosts and contestant."""

    def __init__(self, records: Sequence[Record], latency: float) -> None:
        self.latency = latency
        self._records = {
            (record.scenario, record.hosts, record.contestant.name): record
            for record in records
            if record.runs and not record.failure
        }

    def record(self, scenario: str, hosts: int, name: str) -> Record | None:
        """Return what a contestant took; None if it did not take part or failed."""
        return self._records.get((scenario, hosts, name))

    def wall(self, scenario: str, hosts: int, *names: str) -> list[float]:
        """Return the medians of all of these contestants; empty if one is missing."""
        found = [self.record(scenario, hosts, name) for name in names]
        return [statistics.median(seconds(record)) for record in found if record] if all(found) else []


def lines(records: Sequence[Record], scenario: str, hosts: int, latency: float) -> list[str]:
    """Return the aims that the part with this scenario and number of hosts can be judged by."""
    figures = Figures(records, latency)
    told = [
        *_against_the_floor(figures, scenario, hosts),
        *_against_colmena(figures, scenario, hosts),
        *_growth(figures, scenario, hosts),
        *_round_trips(figures, scenario, hosts),
        *_many(figures, scenario, hosts),
    ]
    return told or [f"no aim for {scenario} with {hosts} hosts among who took part"]


def _line(what: str, value: float, allowed: float, unit: str, how: str = "") -> str:
    verdict = "met" if value <= allowed else "MISSED"
    return f"aim {verdict}: {what}: {value:.2f} {unit}, at most {allowed:.2f}{how and f' = {how}'}"


def _against_the_floor(figures: Figures, scenario: str, hosts: int) -> list[str]:
    found = figures.wall(scenario, hosts, NIXFERRY_BUILT, FLOOR, START_UP)
    if not found or figures.latency:
        return []
    ours, floor, start = found
    what = f"{scenario}, {hosts} hosts, evaluation aside"
    if (scenario, hosts) == (NO_OP, NO_OP_HOSTS):
        return [_line(what, ours, NO_OP_FACTOR * (floor + start), "s", f"{NO_OP_FACTOR} x (floor + start)")]
    if (scenario, hosts) == (ONE_CHANGE, 1):
        return [_line(what, ours, ONE_HOST_FACTOR * floor + start, "s", f"{ONE_HOST_FACTOR} x floor + start")]
    return []


def _against_colmena(figures: Figures, scenario: str, hosts: int) -> list[str]:
    if (scenario, hosts) != (ONE_CHANGE, PEER_HOSTS) or figures.latency not in (0, FAR_LATENCY):
        return []
    factor = FAR_FACTOR if figures.latency else PEER_FACTOR
    way = f" and {FAR_LATENCY} ms" if figures.latency else ""
    what = f"{scenario}, {hosts} hosts{way}, both with evaluation"
    told = []
    if found := figures.wall(scenario, hosts, NIXFERRY, COLMENA):
        told.append(_line(what, found[0], factor * found[1], "s", f"{factor} x colmena"))
    what = f"{scenario}, {hosts} hosts{way}, evaluation aside"
    if found := figures.wall(scenario, hosts, NIXFERRY_BUILT, COLMENA, f"{COLMENA} evaluation"):
        allowed = factor * (found[1] - found[2])
        told.append(_line(what, found[0], allowed, "s", f"{factor} x (colmena - its evaluation)"))
    return told


def _growth(figures: Figures, scenario: str, hosts: int) -> list[str]:
    if hosts != GROWTH_TO:
        return []
    few = figures.wall(scenario, GROWTH_FROM, NIXFERRY, COLMENA)
    many = figures.wall(scenario, GROWTH_TO, NIXFERRY, COLMENA)
    if not (few and many):
        return []
    grown = [after - before for before, after in zip(few, many, strict=True)]
    times = [after / before for before, after in zip(few, many, strict=True)]
    what = f"{scenario}, growth from {GROWTH_FROM} to {GROWTH_TO} hosts"
    return [
        _line(what, grown[0], grown[1], "s", "colmena's") + f" ({times[0]:.1f} times, colmena {times[1]:.1f})"
    ]


def _round_trips(figures: Figures, scenario: str, hosts: int) -> list[str]:
    ours = figures.record(scenario, hosts, NIXFERRY_BUILT)
    if ours is None or ours.sessions is None:
        return []
    what = f"{scenario}, a host"
    return [
        _line(f"{what}, logins", ours.sessions.logins, LOGINS[scenario], ""),
        _line(f"{what}, commands", ours.sessions.commands, COMMANDS[scenario], ""),
    ]


def _many(figures: Figures, scenario: str, hosts: int) -> list[str]:
    if hosts < MANY_HOSTS:
        return []
    told = []
    for name in OURS:
        record = figures.record(scenario, hosts, name)
        if record is not None:
            memory = record.memory / MEBIBYTE
            told.append(_line(f"{name}, {hosts} hosts, memory", memory, MANY_MEBIBYTES, "MiB"))
    status = figures.record(scenario, hosts, STATUS)
    if status is not None:
        cpu = statistics.median(outcome.cpu_seconds for outcome in status.runs)
        told.append(_line(f"{STATUS}, {hosts} hosts, controller", cpu, MANY_STATUS_CPU, "CPU seconds"))
    return told
