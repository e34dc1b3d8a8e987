# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_stream import (
    ActivityType,
    LogEvent,
    Message,
    Result,
    ResultType,
    Start,
    Stop,
    parse_line,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_tally import BuildLogs, Counts, Tally
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import state_text

LOGS = Path(__file__).parents[3] / "fixtures" / "nix-logs"
VERSIONS = ["2.8.0", "2.26.3", "2.34.8"]


def recorded(version: str, case: str) -> list[LogEvent]:
    lines = (LOGS / f"{version}-{case}.log").read_text(encoding="utf-8").splitlines()
    return [event for line in lines if (event := parse_line(line)) is not None]


def start(number: int, kind: int, *fields: int | str) -> Start:
    return Start(id=number, type=kind, level=3, text="", fields=fields)


def progress(number: int, *numbers: int) -> Result:
    return Result(id=number, type=ResultType.PROGRESS, fields=numbers)


def test_running_and_ended_activities_are_added_up() -> None:
    tally = Tally()
    for event in [
        start(1, ActivityType.BUILDS),
        progress(1, 3, 10, 2, 1),
        start(2, ActivityType.BUILDS),
        progress(2, 4, 4, 0, 0),
        Stop(2),
    ]:
        tally.event(event)
    assert tally.counts(ActivityType.BUILDS) == Counts(done=7, expected=14, running=2, failed=1)


def test_what_is_announced_counts_until_the_announcer_ends() -> None:
    tally = Tally()
    tally.event(start(1, ActivityType.REALISE))
    tally.event(Result(1, ResultType.SET_EXPECTED, (ActivityType.COPY_PATH, 5000)))
    tally.event(Result(1, ResultType.SET_EXPECTED, (ActivityType.COPY_PATH, 7000)))
    assert tally.counts(ActivityType.COPY_PATH).expected == 7000
    tally.event(Stop(1))
    assert tally.counts(ActivityType.COPY_PATH).expected == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_a_recorded_copy_shows_how_far_it_is(version: str) -> None:
    tally, shown = Tally(), []
    for event in recorded(version, "copy"):
        tally.event(event)
        shown.append(state_text(tally).partition(" paths")[0])
    assert "copying 1/1" in shown


def test_what_nix_reports_of_a_copy_counts_more_than_what_it_says() -> None:
    tally = Tally()
    for event in (
        Start(id=1, type=ActivityType.COPY_PATHS, level=3, text="copying 3 paths", fields=()),
        start(2, ActivityType.COPY_PATH),
        Stop(2),
    ):
        tally.event(event)
    assert tally.counts(ActivityType.COPY_PATHS) == Counts(done=1, expected=3)
    for event in (progress(1, 2, 5, 1, 0), start(3, ActivityType.COPY_PATH), Stop(3)):
        tally.event(event)
    assert tally.counts(ActivityType.COPY_PATHS) == Counts(done=2, expected=5, running=1)


def test_evaluated_files_are_counted() -> None:
    tally = Tally()
    tally.event(Message(4, "evaluating file '/a.nix'"))
    tally.event(Message(4, "something else"))
    assert tally.evaluated_files == 1


def test_a_wait_is_told_until_it_ends() -> None:
    tally = Tally()
    exclusive = (
        '@nix {"action":"msg","level":0,"msg":"waiting for exclusive access to the Nix store for ca drvs..."}'
    )
    event = parse_line(exclusive)
    assert event == Message(1, "waiting for exclusive access to the Nix store for ca drvs...")
    tally.event(event)
    assert (
        state_text(tally) == tally.waiting == "waiting for exclusive access to the Nix store for ca drvs..."
    )
    tally.event(Message(4, "evaluating file '/a.nix'"))
    assert tally.waiting == ""
    tally.event(Start(3, ActivityType.BUILD_WAITING, 1, "waiting for lock on '/nix/store/x'"))
    tally.event(Message(4, "something else"))
    assert state_text(tally).startswith("waiting for lock on '/nix/store/x'")
    tally.event(Stop(3))
    assert tally.waiting == ""


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_builds_end_with_the_numbers_of_the_run(version: str) -> None:
    tally = Tally()
    running: set[str] = set()
    last = Counts()
    for event in recorded(version, "realise-failures"):
        tally.event(event)
        running.update(tally.running_derivations())
        now = tally.counts(ActivityType.BUILDS)
        last = now if now != Counts() else last
    # Of good, broken and needs-broken, one is built, one fails, and the last is never begun.
    assert (last.done, last.failed) == (1, 1)
    assert {path.partition("-")[2] for path in running} == {"good.drv", "broken.drv"}
    assert tally.running_derivations() == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_recorded_fetch_counts_its_path(version: str) -> None:
    tally = Tally()
    most = Counts()
    for event in recorded(version, "fetch"):
        tally.event(event)
        most = max(most, tally.counts(ActivityType.COPY_PATHS), key=lambda counts: counts.done)
    assert most == Counts(done=1, expected=1)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_log_of_a_recorded_build_is_kept(version: str) -> None:
    logs = BuildLogs()
    for event in recorded(version, "realise-failures"):
        logs.event(event)
    tails = {path.partition("-")[2]: logs.tail(path) for path in logs.built()}
    assert tails == {"good.drv": ["hello"], "broken.drv": ["going wrong", "second line"]}


def test_only_the_end_of_a_log_is_kept() -> None:
    logs = BuildLogs(tail=2)
    logs.event(start(1, ActivityType.BUILD, "/nix/store/x.drv"))
    for number in range(5):
        logs.event(Result(1, ResultType.BUILD_LOG_LINE, (f"line {number}",)))
    assert logs.tail("/nix/store/x.drv") == ["line 3", "line 4"]


def test_the_oldest_logs_are_forgotten_but_not_of_running_builds() -> None:
    logs = BuildLogs(kept=2)
    logs.event(start(0, ActivityType.BUILD, "running.drv"))
    for number in range(1, 6):
        logs.event(start(number, ActivityType.BUILD, f"{number}.drv"))
        logs.event(Stop(number))
    assert logs.built() == ["running.drv", "5.drv"]
    assert logs.tail("1.drv") == []


EVENTS = st.one_of(
    st.builds(
        Start,
        id=st.integers(0, 4),
        type=st.sampled_from([0, 100, 104, 105]),
        level=st.just(3),
        text=st.text(),
    ),
    st.builds(Stop, id=st.integers(0, 4)),
    st.builds(
        Result,
        id=st.integers(0, 4),
        type=st.sampled_from([101, 105, 106]),
        fields=st.lists(st.integers(0, 200) | st.text(max_size=3), max_size=5).map(tuple),
    ),
)


@given(st.lists(EVENTS, max_size=40))
def test_any_order_of_events_is_survived(events: list[LogEvent]) -> None:
    tally, logs = Tally(), BuildLogs()
    for event in events:
        tally.event(event)
        logs.event(event)
        assert tally.counts(ActivityType.BUILDS).expected >= 0
