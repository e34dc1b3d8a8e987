# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_stream import (
    ActivityType,
    Message,
    PlainLine,
    Result,
    ResultType,
    Start,
    Stop,
    parse_line,
)

RECORDINGS = sorted((Path(__file__).parents[3] / "fixtures" / "nix-logs").glob("*.log"))

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def nix_line(**entry: object) -> str:
    return "@nix " + json.dumps(entry)


def test_a_message_loses_its_colours() -> None:
    line = nix_line(
        action="msg", level=0, msg="\x1b[31;1merror:\x1b[0m builder for '\x1b[35;1mx\x1b[0m' failed"
    )
    assert parse_line(line) == Message(level=0, text="error: builder for 'x' failed")


def test_a_message_that_has_only_its_raw_form_is_shown() -> None:
    assert parse_line(nix_line(action="msg", level=1, raw_msg="careful")) == Message(level=1, text="careful")


def test_a_build_begins_prints_and_ends() -> None:
    drv = "/nix/store/f6vqfipiyb3v81r1g7vrbjp5icm9liy3-broken.drv"
    start = nix_line(
        action="start", id=7, level=3, type=105, text="building", fields=[drv, "", 1, 1], parent=2
    )
    assert parse_line(start) == Start(
        id=7, type=ActivityType.BUILD, level=3, text="building", fields=(drv, "", 1, 1), parent=2
    )
    assert parse_line(nix_line(action="result", id=7, type=101, fields=["going wrong"])) == Result(
        id=7, type=ResultType.BUILD_LOG_LINE, fields=("going wrong",)
    )
    assert parse_line(nix_line(action="stop", id=7)) == Stop(id=7)


def test_what_a_later_nix_adds_is_tolerated() -> None:
    assert parse_line(nix_line(action="applaud", id=7)) is None
    assert parse_line(nix_line(action="start", id=7, type=9000, level=3, text="t", mood="good")) == Start(
        id=7, type=9000, level=3, text="t"
    )


def test_lines_of_other_programs_are_kept() -> None:
    assert parse_line("Host key verification failed.") == PlainLine("Host key verification failed.")
    assert parse_line("") is None
    assert parse_line("   ") is None


@pytest.mark.parametrize("rest", ["{", "[1]", "3", '{"action":"msg"', "{" * 100_000, "1" * 5000])
def test_a_line_that_only_looks_like_nix_is_plain(rest: str) -> None:
    assert isinstance(parse_line("@nix " + rest), PlainLine)


@pytest.mark.parametrize("sequence", ["\x1b[31m", "\x9b31m", "\x1b]0;title\x07", "\r", "\u202e", "\ud800"])
def test_no_event_moves_the_cursor_or_hides_text(sequence: str) -> None:
    text = f"building{sequence} it"
    plain = parse_line(text)
    message = parse_line(nix_line(action="msg", level=1, msg=text))
    start = parse_line(nix_line(action="start", id=1, type=105, text=text, fields=[text]))
    result = parse_line(nix_line(action="result", id=1, type=101, fields=[text]))
    assert isinstance(plain, PlainLine)
    assert isinstance(message, Message)
    assert isinstance(start, Start)
    assert isinstance(result, Result)
    for told in (plain.text, message.text, start.text, start.fields[0], result.fields[0]):
        assert sequence not in str(told)
        assert str(told).split() in (["building", "it"], ["building it"])


@pytest.mark.parametrize("number", [2**64, -(10**4000), 10**308 * 10**10])
def test_a_number_that_nix_could_not_count_is_not_kept(number: int) -> None:
    assert parse_line(nix_line(action="result", id=1, type=105, fields=[number, 1, 1, 0])) == Result(
        id=1, type=105, fields=(0, 1, 1, 0)
    )


@given(st.text())
def test_any_line_can_be_parsed(line: str) -> None:
    parse_line(line)
    parse_line("@nix " + line)


@given(
    st.dictionaries(
        st.sampled_from(["action", "id", "type", "level", "msg", "raw_msg", "text", "fields", "parent"]),
        JSON_VALUES | st.sampled_from(["msg", "start", "stop", "result"]),
    )
)
def test_any_entry_can_be_parsed(entry: dict[str, object]) -> None:
    event = parse_line("@nix " + json.dumps(entry))
    if isinstance(event, Start | Result):
        assert all(isinstance(field, int | str) for field in event.fields)


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_every_recorded_line_is_understood(recording: Path) -> None:
    lines = [line for line in recording.read_text(encoding="utf-8").splitlines() if line.startswith("@nix ")]
    assert lines
    events = [parse_line(line) for line in lines]
    assert not [
        line
        for line, event in zip(lines, events, strict=True)
        if event is None or isinstance(event, PlainLine)
    ]
    begun = [event.id for event in events if isinstance(event, Start)]
    assert len(begun) == len(set(begun))
    assert {event.id for event in events if isinstance(event, Stop)} <= set(begun)


def test_there_are_recordings_of_three_versions() -> None:
    assert {path.name.split("-")[0] for path in RECORDINGS} == {"2.8.0", "2.26.3", "2.34.8"}
