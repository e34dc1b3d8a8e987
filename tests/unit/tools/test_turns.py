# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the marker `takes_turns` leaves out of a run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import choose
import turns

# Every file is one of three in turn, and its cases are one of two in turn.
FILE = """
import os, pytest
pytestmark = pytest.mark.takes_turns(3, among="files", whole_file=True)

def test_first():
    pass

@pytest.mark.takes_turns(2, among="cases of " + __name__)
@pytest.mark.parametrize("case", ["one", "two"])
def test_case(case):
    assert not os.environ.get("FAILS")
"""
FILES = ("test_a", "test_b", "test_c")


def outcomes(directory: Path, *arguments: str, commit: str = "", **environment: str) -> dict[str, str]:
    """Run the tests of a directory; the outcome of each that was chosen."""
    settings = {
        choose.PART: "1" if commit else "",
        choose.COMMIT: commit,
        "PYTHONPATH": str(Path(turns.__file__).parent),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        **environment,
    }
    argv = [sys.executable, "-m", "pytest", "-v", "-p", "turns", "--rootdir=.", *arguments]
    done = subprocess.run(
        argv, cwd=directory, env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    return dict(re.findall(r"^(test_\S+) (PASSED|FAILED)", done.stdout, re.MULTILINE))


def make_files(directory: Path) -> None:
    for name in FILES:
        (directory / f"{name}.py").write_text(FILE)


def test_a_file_runs_whole_or_not_at_all_but_for_cases_that_take_turns_too(tmp_path: Path) -> None:
    make_files(tmp_path)
    seen = set()
    for number in range(5):
        ran = outcomes(tmp_path, commit=f"commit {number}")
        (file,) = {name.partition("::")[0] for name in ran}
        assert f"{file}::test_first" in ran
        assert len(ran) == 2
        seen |= ran.keys()
    assert {name.partition(".")[0] for name in seen} == set(FILES)
    assert {name.partition("[")[2] for name in seen} == {"", "one]", "two]"}


def test_all_of_it_runs_without_a_part(tmp_path: Path) -> None:
    make_files(tmp_path)
    assert len(outcomes(tmp_path)) == 9


def test_what_failed_is_run_again_although_nothing_else_is_collected(tmp_path: Path) -> None:
    """Else a case that fails would count as one that passes when it is alone."""
    make_files(tmp_path)
    for number in range(3):
        given = {"commit": f"commit {number}", "FAILS": "1"}
        cache = f"cache_dir=cache{number}"
        ran = outcomes(tmp_path, "-o", cache, **given)
        failed = {name: outcome for name, outcome in ran.items() if outcome == "FAILED"}
        assert len(failed) == 1
        assert outcomes(tmp_path, "-o", cache, "--last-failed", **given) == failed
