# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Choose the part of a test matrix that runs for this commit: choose.py [--turns N] TOPIC CHOICE...

With NIXFERRY_TEST_PART=1, as in ``make test``, the commit's hash chooses one of the choices, or with --turns one in N,
so that commit after commit all of them get their turn, and one commit always runs the same. Changes that are not
committed do not count; NIXFERRY_TEST_COMMIT=... chooses as for another commit. Without it, as in ``make test-full`` and
when pytest is run by hand, all of them are chosen.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

PART = "NIXFERRY_TEST_PART"
COMMIT = "NIXFERRY_TEST_COMMIT"
T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parents[2]


@cache
def commit() -> str:
    """Return the hash of the commit that is checked out, or a fixed word without a repository."""
    if os.environ.get(COMMIT):
        return os.environ[COMMIT]
    asked = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "none"


def everything() -> bool:
    """Whether the whole matrix is to run."""
    return os.environ.get(PART) != "1"


def has_its_turn(topic: str, turns: int) -> bool:
    """Whether this is among the commits, one of so many, that run a topic."""
    return everything() or _number(topic) % turns == 0


def in_turn(topic: str, items: Sequence[T], turns: int) -> list[T]:
    """Return every so manieth of the items, or all of them: so many turns in a row give each item once."""
    if everything():
        return list(items)
    return [item for number, item in enumerate(items) if number % turns == _number(topic) % turns]


def chosen(topic: str, choices: Sequence[str]) -> list[str]:
    """One of the choices, or all of them; topics choose independently of each other."""
    if everything() or not choices:
        return list(choices)
    return [choices[_number(topic) % len(choices)]]


def _number(topic: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{commit()} {topic}".encode()).digest()[:8], "big")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(usage="choose.py [--turns N] TOPIC CHOICE...")
    parser.add_argument("--turns", type=int)
    parser.add_argument("topic")
    parser.add_argument("choices", nargs="*")
    asked = parser.parse_args()
    if asked.turns:
        print(*in_turn(asked.topic, asked.choices, asked.turns), sep="\n")
    else:
        print(*chosen(asked.topic, asked.choices), sep="\n")
