# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.process import Outcome
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_stream import parse_line
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.result import LogReader
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.warnings import (
    LINES_KEPT,
    WARNINGS_KEPT,
    EvaluationWarnings,
)

MAGENTA, RED, PLAIN = "\x1b[35;1m", "\x1b[1;31m", "\x1b[0m"
INDENT = " " * 20


def message(level: int, text: str) -> str:
    return "@nix " + json.dumps({"action": "msg", "level": level, "msg": text})


def warnings_of(*lines: str) -> list[str]:
    said = EvaluationWarnings()
    for line in lines:
        event = parse_line(line)
        assert event is not None
        said.event(event)
    return said.texts


# As Nix 2.8, 2.26 and 2.34 log them.
@pytest.mark.parametrize(
    ("line", "texts"),
    [
        (message(0, f"trace: {RED}warning: an option is old{PLAIN}"), ["an option is old"]),
        (message(0, f"trace: {MAGENTA}evaluation warning:{PLAIN} one\ntwo"), ["one\ntwo"]),
        (message(1, f"{MAGENTA}evaluation warning:{PLAIN} one\n{INDENT}two\n{INDENT}  three"), ["one\ntwo\n  three"]),
        ("trace: warning: said by a worker of nix-eval-jobs", ["said by a worker of nix-eval-jobs"]),
        (
            message(0, "warning: the flag '--override-input a b' does not match any input"),
            ["the flag '--override-input a b' does not match any input"],
        ),
        (message(0, "trace: a value"), []),
        (message(0, "trace: { warning: 1; }"), []),
        (message(0, "trace: warning: "), []),
        (message(1, "warning: Git tree '/x' is dirty"), []),
        (message(0, "error: evaluation warning: no"), []),
        ("a warning: of a hook", []),
    ],
)  # fmt: skip
def test_what_nix_code_warns_of(line: str, texts: list[str]) -> None:
    assert warnings_of(line) == texts


def test_each_text_comes_once() -> None:
    twice = message(0, "trace: warning: again")
    assert warnings_of(twice, message(0, "trace: warning: other"), twice) == ["again", "other"]


def test_many_and_long_warnings_are_cut() -> None:
    many = warnings_of(*(message(0, f"trace: warning: {number}") for number in range(WARNINGS_KEPT + 3)))
    assert many[WARNINGS_KEPT - 1 :] == [
        str(WARNINGS_KEPT - 1),
        "3 more warnings of the evaluation are left out",
    ]
    (long,) = warnings_of(message(0, "trace: warning: " + "\n".join("x" * 50)))
    assert long.splitlines() == ["x"] * LINES_KEPT + ["..."]


def test_an_error_begins_with_its_cause_and_not_with_traces() -> None:
    reader = LogReader(None, keep_messages=True)
    for text in ("trace: warning: old", "trace: a value", "error: the mistake"):
        reader.line(message(0, text))
    result = reader.result(("nix-instantiate",), Outcome(1, b"", False))
    error = result.error(step="evaluate")
    assert (result.errors, error.cause) == (("error: the mistake",), "the mistake")
    # A trace may be what the author of the code wants to see; a warning is shown apart.
    assert error.output == ["trace: a value", "error: the mistake"]
    assert result.messages == ("trace: a value", "error: the mistake")


def test_a_trace_gives_no_advice() -> None:
    reader = LogReader(None, keep_messages=False)
    for text in ("trace: no space left on device", "error: the mistake"):
        reader.line(message(0, text))
    error = reader.result(("nix-instantiate",), Outcome(1, b"", False)).error(step="evaluate")
    assert error.remedy == ""
