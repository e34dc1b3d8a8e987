# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the test matrix that a commit runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import choose
import pytest

CHOICES = ["3.9", "3.10", "3.11", "3.12", "3.13"]


@pytest.fixture
def at_commit(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Choose as for a commit."""

    def set_commit(name: str) -> None:
        monkeypatch.setenv(choose.PART, "1")
        monkeypatch.setenv(choose.COMMIT, name)
        choose.commit.cache_clear()

    return set_commit


@pytest.fixture(autouse=True)
def _this_commit_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    # Undone after the change of the environment, which is what counts next time.
    monkeypatch.setattr(choose, "commit", choose.cache(choose.commit.__wrapped__))


def test_a_commit_always_chooses_the_same(at_commit: Callable[[str], None]) -> None:
    at_commit("abc")
    first = choose.chosen("topic", CHOICES)
    assert len(first) == 1
    assert first[0] in CHOICES
    assert choose.chosen("topic", CHOICES) == first


def test_all_choices_get_their_turn(at_commit: Callable[[str], None]) -> None:
    turns = []
    shells = 0
    for number in range(60):
        at_commit(f"commit {number}")
        turns += choose.chosen("topic", CHOICES)
        shells += choose.has_its_turn("a test", 4)
    assert set(turns) == set(CHOICES)
    assert 5 <= shells <= 30


def test_cases_take_turns(at_commit: Callable[[str], None]) -> None:
    """Each commit runs its share of the cases of a test, and after a while all have been run."""
    cases = list(range(8))
    shares = []
    for number in range(30):
        at_commit(f"commit {number}")
        shares.append(choose.in_turn("a test", cases, 3))
    assert {len(share) for share in shares} <= {2, 3}
    assert {case for share in shares for case in share} == set(cases)


@pytest.mark.parametrize("turns", [2, 3, 4])
def test_what_takes_turns_comes_within_ten_commits(at_commit: Callable[[str], None], turns: int) -> None:
    """All but seldom: by chance one in so many waits longer, which is why there are so few turns."""
    items = list(range(6))
    late = 0
    for window in range(50):
        ran: set[int] = set()
        for number in range(10):
            at_commit(f"commit {number} of window {window}")
            ran.update(choose.in_turn("a group", items, turns))
        late += len(set(items) - ran)
    assert late / (50 * len(items)) < 0.1


def test_topics_choose_independently(at_commit: Callable[[str], None]) -> None:
    at_commit("abc")
    assert len({choose.chosen(f"topic {number}", CHOICES)[0] for number in range(60)}) == len(CHOICES)


def test_without_a_part_everything_is_chosen(
    at_commit: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_commit("abc")
    for value in ("", "0"):
        monkeypatch.setenv(choose.PART, value)
        assert choose.chosen("topic", CHOICES) == CHOICES
        assert choose.has_its_turn("a test", 1000)
        assert choose.in_turn("a test", CHOICES, 1000) == CHOICES
    monkeypatch.delenv(choose.PART)
    assert choose.chosen("topic", CHOICES) == CHOICES


def test_the_program_prints_the_choice_of_the_commit_that_is_checked_out() -> None:
    environment = {name: value for name, value in os.environ.items() if name != choose.COMMIT}
    command = [sys.executable, str(Path(choose.__file__))]

    def printed(*options: str, **more: str) -> list[str]:
        argv = [*command, *options, "topic", *CHOICES]
        run = subprocess.run(
            argv, env={**environment, **more}, capture_output=True, text=True, check=True, cwd="/"
        )
        return run.stdout.split()

    assert printed(**{choose.PART: ""}) == CHOICES
    assert printed(**{choose.PART: "1"}) == printed(**{choose.PART: "1"})
    assert len(printed(**{choose.PART: "1"})) == 1
    share = printed("--turns", "2", **{choose.PART: "1"})
    assert share in (CHOICES[::2], CHOICES[1::2])
    assert printed("--turns", "2", **{choose.PART: ""}) == CHOICES
