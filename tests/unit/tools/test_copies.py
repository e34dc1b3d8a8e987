# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy is judged by Nix alone, beside what Ansible needs to start and log in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

from benchmarks.copies import ALONE, COMPRESSED, OURS, START, Times, aims, table
from benchmarks.measure import Outcome


def took(seconds: float, memory: float) -> Times:
    return Times([Outcome(0, seconds, 0.0)] if seconds else [], [0], memory)


@pytest.mark.parametrize(
    ("slow", "ours", "verdict"),
    [(False, 14.9, "met"), (False, 15.1, "MISSED"), (True, 21.9, "met"), (True, 22.1, "MISSED")],
)
def test_a_fast_link_is_compared_without_compression_a_slow_one_with_it(
    slow: bool, ours: float, verdict: str
) -> None:
    times = {ALONE: took(10, 20), COMPRESSED: took(20, 20), START: took(2, 60), OURS: took(ours, 80)}
    speed, memory = aims(times, slow=slow)
    assert speed.startswith(f"aim {verdict}")
    assert memory.startswith("aim met")


def test_memory_alone_is_judged_without_timed_runs() -> None:
    [memory] = aims({ALONE: took(0, 20), START: took(0, 60), OURS: took(0, 200)}, slow=False)
    assert memory.startswith("aim MISSED")


def test_a_copy_that_failed_is_not_judged() -> None:
    failed = took(1, 1)
    failed.failure = "exit 1"
    assert "no aim" in aims({ALONE: took(1, 1), START: took(1, 1), OURS: failed}, slow=False)[0]
    assert table({OURS: failed}).endswith("exit 1")


def test_what_did_not_take_part_is_named() -> None:
    [line] = aims({ALONE: took(1, 1), OURS: took(1, 1)}, slow=False)
    assert line.startswith("no aim without")
    assert START in line
