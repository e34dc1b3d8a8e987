# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import (
    BEGIN_LINES,
    CUT,
    LAST_MOMENT,
    LINE_CHARACTERS,
    NUMBER_DIGITS,
    TEXT_CHARACTERS,
    TEXT_LINES,
    clean,
    clean_line,
    clean_text,
    moment,
    whole_number,
)

# Characters that a hostile host would choose.
HOSTILE = (
    "\x00\x07\x08\x0b\x0c\r\n\x1b[];m\x7f\x85\x90\x9b\x9c\x9d\xad"
    "\u061c\u200b\u200e\u2028\u202e\u2066\ufeff\ud800²٣5a"
)
hostile_text = st.text(st.sampled_from(HOSTILE)) | st.text(st.characters(codec=None))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b]8;;file:///a\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;title\x07rest", "rest"),
        ("\x1b[2K\x1b[1Gprogress", "progress"),
        ("a\tb\nc", "a\tb\nc"),
        ("bell\x07 and \x1bMreverse", "bell and reverse"),
        ("\x9b31mred\x9b0m", "red"),
        ("\x9d0;title\x9crest", "rest"),
        ("\x1bP+q544e\x1b\\device", "device"),
        ("\x1b(0line drawing", "line drawing"),
        ("\x1bcreset", "reset"),
        ("all well\rFAILED  ", "all well\nFAILED  "),
        ("one\r\ntwo\x85three\u2028four", "one\ntwo\nthree\nfour"),
        ("user\u202egpj.exe\u2066", "usergpj.exe"),
        ("lone \ud800surrogate", "lone surrogate"),
        ("Zürich 東京 ✓", "Zürich 東京 ✓"),
    ],
)
def test_a_terminal_gets_text_alone(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(hostile_text)
def test_nothing_that_a_terminal_obeys_survives(text: str) -> None:
    cleaned = clean(text)
    categories = {unicodedata.category(each) for each in cleaned if each not in "\t\n"}
    assert not categories & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(each) for each in cleaned} & {
        "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
    }  # fmt: skip
    assert cleaned.split("\n") == cleaned.splitlines() or cleaned.endswith("\n") or not cleaned
    cleaned.encode()


@given(hostile_text)
def test_to_clean_again_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(hostile_text, st.integers(len(CUT), 20))
def test_a_line_is_one_line_within_its_bound(text: str, limit: int) -> None:
    line = clean_line(text, limit)
    assert len(line) <= limit
    assert "\n" not in line


def test_what_is_too_long_is_cut_and_says_so() -> None:
    line = clean_line("x" * (LINE_CHARACTERS + 1))
    assert len(line) == LINE_CHARACTERS
    assert line.endswith(CUT)


def test_beginning_and_end_of_a_long_text_are_kept() -> None:
    lines = clean_text("\n".join(f"line {line}" for line in range(2000))).splitlines()
    assert len(lines) == TEXT_LINES
    assert (lines[0], lines[BEGIN_LINES - 1], lines[-1]) == ("line 0", f"line {BEGIN_LINES - 1}", "line 1999")
    assert lines[BEGIN_LINES] == CUT.strip()


def test_beginning_and_end_of_a_text_of_many_characters_are_kept() -> None:
    text = clean_text("\n".join(["first", *["x" * 1000] * 500, "last"]))
    assert text.startswith("first\nx")
    assert text.endswith("x\nlast")
    assert len(text) == TEXT_CHARACTERS


@given(st.lists(st.integers(0, 50_000), max_size=20))
def test_no_text_is_larger_than_its_bound(sizes: list[int]) -> None:
    text = clean_text("\n".join("\x1b[31m" + "ü" * size for size in sizes) + "\n" * sum(sizes))
    assert len(text) <= TEXT_CHARACTERS
    assert len(text.split("\n")) <= TEXT_LINES
    assert max(map(len, text.split("\n"))) <= 2 * LINE_CHARACTERS + len(CUT)


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", " 1", "1_000", "²", "٣", "1\n", "9" * (NUMBER_DIGITS + 1), "9" * 6000]
)
def test_what_is_not_a_plain_number_is_not_read_as_one(text: str) -> None:
    assert whole_number(text) is None
    assert moment(text) is None


@given(st.integers(0, 10**NUMBER_DIGITS - 1))
def test_a_plain_number_is_read(value: int) -> None:
    assert whole_number(str(value)) == value


@given(st.text(st.characters(categories=["Nd", "No", "Nl"])) | st.integers(0).map(str))
def test_every_moment_is_a_date(text: str) -> None:
    seconds = moment(text)
    assert seconds is None or datetime.fromtimestamp(seconds, UTC)


def test_the_last_moment_is_a_date() -> None:
    assert datetime.fromtimestamp(LAST_MOMENT, UTC).year == 9999
    assert moment(str(LAST_MOMENT + 1)) is None
