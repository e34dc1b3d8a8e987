# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain English in all that users read: a sentence names its actor, such as the guard or the login user."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
# What users and readers of the code see: pages, specifications, messages and comments.
READ = (
    "*.md",
    "docs/docsite/rst/*.rst",
    "changelogs/fragments/*.yml",
    "roles/**/*.md",
    "roles/**/*.yml",
    "playbooks/**/*.yml",
    "meta/*.yml",
    "plugins/**/*.py",
    "plugins/**/*.sh",
    "plugins/**/*.nix",
    "examples/**/*",
    "demo/*",
    "benchmarks/*.md",
)
# `somebody` hides the actor. `is no directory` is not English for `is not a directory`.
HIDES_THE_ACTOR = re.compile(
    r"\b(?:who(?:m|so)?ever|somebody|nobody|anybody|everybody|someone|anyone|everyone)\b", re.IGNORECASE
)
NEGATES_THE_NOUN = re.compile(r"(?<!\bthere )\b(?:is|are|was|were) no (?!longer\b|more\b)", re.IGNORECASE)


def faults(text: str) -> list[str]:
    """Each unclear passage of a text, with the words around it."""
    return [
        f"line {text.count(chr(10), 0, found.start()) + 1}: {text[found.start() : found.end() + 20]!r}"
        for pattern in (HIDES_THE_ACTOR, NEGATES_THE_NOUN)
        for found in pattern.finditer(text)
    ]


@pytest.mark.parametrize("pattern", READ)
def test_pages_specifications_and_messages_name_the_actor(pattern: str) -> None:
    files = [file for file in REPOSITORY.glob(pattern) if file.is_file()]
    assert files
    found = {str(file.relative_to(REPOSITORY)): faults(file.read_text(encoding="utf-8")) for file in files}
    assert not {name: told for name, told in found.items() if told}


@pytest.mark.parametrize(
    "text", ["Whoever logs in", "locks everybody out", "it is no file", "they were no links"]
)
def test_an_unclear_sentence_is_found(text: str) -> None:
    assert faults(text)


@pytest.mark.parametrize(
    "text", ["There is no file", "it is no longer there", "is not a valid file", "a body"]
)
def test_a_clear_sentence_is_not(text: str) -> None:
    assert not faults(text)
