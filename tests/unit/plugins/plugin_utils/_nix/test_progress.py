# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_stream import (
    ActivityType,
    Message,
    Result,
    ResultType,
    Start,
    parse_line,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import (
    LINE_INTERVAL_SECONDS,
    REFRESH_INTERVAL_SECONDS,
    SIGN_OF_LIFE_SECONDS,
    Mode,
    Progress,
    derivation_name,
    duration_text,
    size_text,
)

LOGS = Path(__file__).parents[3] / "fixtures" / "nix-logs"
DRV = "/nix/store/f6vqfipiyb3v81r1g7vrbjp5icm9liy3-hello-1.0.drv"


class Screen:
    """Stands for Ansible's Display, and keeps what it was told to show."""

    def __init__(self, verbosity: int = 0, columns: int = 60) -> None:
        self.verbosity = verbosity
        self.columns = columns
        self.shown: list[str] = []

    def display(
        self, msg: str, *, stderr: bool = False, screen_only: bool = False, newline: bool = True
    ) -> None:
        assert stderr, "standard output belongs to the callback"
        assert screen_only, "the log file must not be filled with progress"
        self.shown.append(msg if newline else f"{msg}(no newline)")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def progress(
    screen: Screen, clock: Clock, *, terminal: bool = False, muted: bool = False, mode: Mode = "auto"
) -> Progress:
    return Progress(screen, prefix="web1", muted=muted, mode=mode, clock=clock, on_terminal=terminal)


def building(reporter: Progress, done: int) -> None:
    reporter.event(Start(1, ActivityType.BUILDS, 0, ""))
    reporter.event(Start(2, ActivityType.BUILD, 3, "", fields=(DRV, "", 1, 1)))
    reporter.event(Result(1, ResultType.PROGRESS, (done, 48, 1, 0)))


def test_a_phase_is_told_at_once() -> None:
    screen = Screen()
    progress(screen, Clock()).phase("evaluating")
    assert screen.shown == ["[web1] evaluating"]


def test_plain_lines_come_now_and_then() -> None:
    screen, clock = Screen(), Clock()
    reporter = progress(screen, clock)
    for number in range(1000):
        clock.now += LINE_INTERVAL_SECONDS / 100
        building(reporter, number)
    assert 9 <= len(screen.shown) <= 11
    assert re.fullmatch(r"\[web1\] building \d+/48 \(hello-1\.0\) · 00:05", screen.shown[0])


def test_a_state_that_does_not_change_is_repeated_as_a_sign_of_life_only() -> None:
    screen, clock = Screen(), Clock()
    reporter = progress(screen, clock)
    clock.now += LINE_INTERVAL_SECONDS
    building(reporter, 3)
    assert len(screen.shown) == 1
    for _second in range(int(SIGN_OF_LIFE_SECONDS) - 1):
        clock.now += 1
        reporter.tick()
    assert len(screen.shown) == 1
    clock.now += 1
    reporter.tick()
    assert screen.shown[1] == "[web1] building 3/48 (hello-1.0) · 01:05"


def test_a_phase_without_events_gives_a_sign_of_life() -> None:
    screen, clock = Screen(), Clock()
    reporter = progress(screen, clock)
    reporter.phase("waiting")
    clock.now += SIGN_OF_LIFE_SECONDS
    reporter.tick()
    assert screen.shown == ["[web1] waiting", "[web1] waiting · 01:00"]


def test_a_terminal_has_one_line_that_refreshes() -> None:
    screen, clock = Screen(columns=60), Clock()
    reporter = progress(screen, clock, terminal=True)
    clock.now += REFRESH_INTERVAL_SECONDS
    building(reporter, 3)
    clock.now += REFRESH_INTERVAL_SECONDS / 2
    building(reporter, 4)
    assert screen.shown == ["\x1b[K[web1] building 3/48 (hello-1.0) · 00:00\r(no newline)"]
    reporter.line("milestone")
    assert screen.shown[1:] == ["\x1b[K\r(no newline)", "[web1] milestone"]
    reporter.close()
    assert len(screen.shown) == 3


def test_a_line_that_would_look_the_same_is_not_drawn_again() -> None:
    screen, clock = Screen(), Clock()
    reporter = progress(screen, clock, terminal=True)
    clock.now += REFRESH_INTERVAL_SECONDS
    building(reporter, 3)
    clock.now += REFRESH_INTERVAL_SECONDS
    reporter.tick()
    assert len(screen.shown) == 1
    clock.now += 1
    reporter.tick()
    assert len(screen.shown) == 2


def test_a_remote_builder_is_named() -> None:
    screen, clock = Screen(), Clock()
    reporter = progress(screen, clock)
    reporter.event(Start(1, ActivityType.BUILDS, 0, ""))
    reporter.event(
        Start(2, ActivityType.BUILD, 3, "", fields=(DRV, "ssh-ng://builder@big?compress=true", 1, 1))
    )
    clock.now += 60
    reporter.event(Result(1, ResultType.PROGRESS, (0, 48, 1, 0)))
    assert "(hello-1.0 on big)" in screen.shown[-1]


def test_closing_removes_the_line() -> None:
    screen, clock = Screen(), Clock()
    reporter = progress(screen, clock, terminal=True)
    clock.now += 1
    building(reporter, 3)
    reporter.close()
    reporter.close()
    assert screen.shown[1:] == ["\x1b[K\r(no newline)"]


def test_the_line_never_wraps() -> None:
    screen, clock = Screen(columns=20), Clock()
    reporter = progress(screen, clock, terminal=True)
    clock.now += 1
    building(reporter, 3)
    text = screen.shown[0].removeprefix("\x1b[K").removesuffix("\r(no newline)")
    assert len(text) == 19


@pytest.mark.parametrize(("muted", "mode"), [(True, "auto"), (True, "lines"), (False, "none")])
def test_silence(muted: bool, mode: Mode) -> None:
    screen, clock = Screen(verbosity=3), Clock()
    reporter = progress(screen, clock, terminal=True, muted=muted, mode=mode)
    reporter.phase("evaluating")
    clock.now += 100
    building(reporter, 3)
    reporter.event(Result(2, ResultType.BUILD_LOG_LINE, ("secret",)))
    reporter.event(Message(0, "error: secret"))
    reporter.tick()
    reporter.line("secret")
    reporter.close()
    assert screen.shown == []


@pytest.mark.parametrize(
    ("verbosity", "shown"), [(0, []), (1, ["[web1] hello-1.0> checking", "[web1] warning: careful"])]
)
def test_more_verbosity_shows_what_builds_print(verbosity: int, shown: list[str]) -> None:
    screen = Screen(verbosity=verbosity)
    reporter = progress(screen, Clock())
    reporter.event(Start(2, ActivityType.BUILD, 3, "", fields=(DRV, "", 1, 1)))
    reporter.event(Result(2, ResultType.BUILD_LOG_LINE, ("checking",)))
    reporter.event(Message(1, "warning: careful"))
    # The task shows these once, at its end.
    reporter.event(Message(1, "trace: warning: an option is old"))
    reporter.event(Message(4, "evaluating file '/a.nix'"))
    assert screen.shown == shown


def test_copies_are_shown_with_their_size() -> None:
    screen, clock = Screen(), Clock()
    reporter = progress(screen, clock)
    reporter.event(Start(1, ActivityType.COPY_PATHS, 0, ""))
    reporter.event(Result(1, ResultType.PROGRESS, (3, 210, 1, 0)))
    reporter.event(Start(2, ActivityType.COPY_PATH, 0, ""))
    clock.now += LINE_INTERVAL_SECONDS
    reporter.event(Result(2, ResultType.PROGRESS, (1_288_490_189, 2_000_000_000, 0, 0)))
    assert screen.shown == ["[web1] copying 3/210 paths (1.2 GiB) · 00:05"]


def test_an_evaluation_is_shown_with_the_files_that_were_read() -> None:
    screen, clock = Screen(), Clock()
    reporter = progress(screen, clock)
    for _number in range(3):
        reporter.event(Message(4, "evaluating file '/a.nix'"))
    clock.now += LINE_INTERVAL_SECONDS
    reporter.tick()
    assert screen.shown == ["[web1] evaluating, 3 files read · 00:05"]


def test_a_recorded_build_is_told() -> None:
    screen, clock = Screen(), Clock()
    reporter = progress(screen, clock)
    for line in (LOGS / "2.34.8-realise-failures.log").read_text(encoding="utf-8").splitlines():
        event = parse_line(line)
        if event is not None:
            clock.now += LINE_INTERVAL_SECONDS
            reporter.event(event)
    states = [line.removeprefix("[web1] ").rpartition(" · ")[0] for line in screen.shown]
    assert "building 0/3 (broken)" in states
    assert "building 0/3 (good), 1 failed" in states


def test_a_new_name_is_used_for_what_follows() -> None:
    screen = Screen()
    reporter = progress(screen, Clock())
    reporter.rename("12 hosts")
    reporter.line("evaluating")
    assert screen.shown == ["[12 hosts] evaluating"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 1024**3, "5.0 GiB"), (3 * 1024**5, "3072.0 TiB")],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00"), (61.9, "01:01"), (3600, "1:00:00"), (90061, "25:01:01")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(("path", "name"), [(DRV, "hello-1.0"), ("short.drv", "short.drv"), ("", "")])
def test_names_of_derivations(path: str, name: str) -> None:
    assert derivation_name(path) == name


@given(st.integers(0, 2**70))
def test_any_size_is_short(size: int) -> None:
    assert len(size_text(size)) < 20
