# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a benchmark says of its aims follows from its figures, and an aim is silent about other runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

from benchmarks import aims
from benchmarks.contestants import FLOOR, NIXFERRY, NIXFERRY_BUILT, START_UP, STATUS, Contestant, Deployment
from benchmarks.fleet import Sessions
from benchmarks.measure import Command, Outcome
from benchmarks.race import NO_OP, ONE_CHANGE, Record

MEBIBYTE = 1024 * 1024


def nothing(_deployment: Deployment) -> Command:
    return Command(["true"])


def took(name: str, scenario: str, hosts: int, seconds: float, **more: object) -> Record:
    record = Record(Contestant(name, "", nothing), scenario, hosts)
    # The median counts, which one slow run does not move.
    record.runs = [Outcome(0, each, seconds) for each in (seconds, 10 * seconds, seconds)]
    for key, value in more.items():
        setattr(record, key, value)
    return record


@pytest.mark.parametrize(("ours", "verdict"), [(3.0, "met"), (3.1, "MISSED")])
def test_a_no_op_is_judged_by_floor_and_start(ours: float, verdict: str) -> None:
    times = {FLOOR: 1.0, START_UP: 1.0, NIXFERRY_BUILT: ours}
    records = [took(name, NO_OP, 20, seconds) for name, seconds in times.items()]
    [line] = aims.lines(records, NO_OP, 20, 0)
    assert line.startswith(f"aim {verdict}")
    assert "no aim" in aims.lines(records, NO_OP, 20, 30)[0]
    assert "no aim" in aims.lines(records, NO_OP, 5, 0)[0]


@pytest.mark.parametrize(("ours", "verdict"), [(5.0, "met"), (5.1, "MISSED")])
def test_one_change_to_one_host_pays_the_start_once(ours: float, verdict: str) -> None:
    times = {FLOOR: 2.0, START_UP: 1.0, NIXFERRY_BUILT: ours}
    [line] = aims.lines([took(name, ONE_CHANGE, 1, each) for name, each in times.items()], ONE_CHANGE, 1, 0)
    assert line.startswith(f"aim {verdict}")


@pytest.mark.parametrize(("latency", "verdict"), [(0, "met"), (30, "MISSED")])
def test_colmena_has_to_be_further_behind_when_hosts_are_far_away(latency: int, verdict: str) -> None:
    records = [took(NIXFERRY, ONE_CHANGE, 20, 9.0), took(aims.COLMENA, ONE_CHANGE, 20, 10.0)]
    [line] = aims.lines(records, ONE_CHANGE, 20, latency)
    assert line.startswith(f"aim {verdict}")


def test_evaluation_is_left_aside_on_both_sides() -> None:
    times = {NIXFERRY: 12.0, NIXFERRY_BUILT: 9.0, aims.COLMENA: 12.0, f"{aims.COLMENA} evaluation": 4.0}
    records = [took(name, ONE_CHANGE, 20, seconds) for name, seconds in times.items()]
    whole, aside = aims.lines(records, ONE_CHANGE, 20, 0)
    assert whole.startswith("aim met")
    assert aside.startswith("aim MISSED")


@pytest.mark.parametrize(("ours", "verdict"), [(25.0, "met"), (27.0, "MISSED")])
def test_growth_needs_both_numbers_of_hosts(ours: float, verdict: str) -> None:
    few = [took(NIXFERRY, NO_OP, 5, 5.0), took(aims.COLMENA, NO_OP, 5, 9.0)]
    many = [took(NIXFERRY, NO_OP, 50, ours), took(aims.COLMENA, NO_OP, 50, 30.0)]
    assert "no aim" in aims.lines(many, NO_OP, 50, 0)[0]
    [line] = aims.lines([*few, *many], NO_OP, 50, 0)
    assert line.startswith(f"aim {verdict}")


def test_many_hosts_are_judged_by_memory_and_processor_time() -> None:
    status = took(STATUS, NO_OP, 200, 21.0, memory=1023 * MEBIBYTE)
    memory, controller = aims.lines([status], NO_OP, 200, 0)
    assert memory.startswith("aim met")
    assert controller.startswith("aim MISSED")


def test_round_trips_are_those_of_the_scenario() -> None:
    for scenario, verdicts in ((NO_OP, ["MISSED", "MISSED"]), (ONE_CHANGE, ["met", "met"])):
        ours = took(NIXFERRY_BUILT, scenario, 5, 1.0, sessions=Sessions(logins=2, commands=4))
        lines = aims.lines([ours], scenario, 5, 0)
        assert [line.split()[1].rstrip(":") for line in lines] == verdicts


def test_a_contestant_that_failed_proves_nothing() -> None:
    records = [
        took(NIXFERRY, ONE_CHANGE, 20, 1.0, failure="exit 2"),
        took(aims.COLMENA, ONE_CHANGE, 20, 10.0),
    ]
    assert "no aim" in aims.lines(records, ONE_CHANGE, 20, 0)[0]
