# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of the tests of all steps, and how one run of steps ends."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import report_tests

TOOLS = Path(report_tests.__file__).parent
REPOSITORY = TOOLS.parents[1]
LINES = [
    "passed\t0.50\ttest-unit\ttests/unit/test_a.py::test_one",
    "failed\t2.00\ttest-e2e\ttests/e2e/test_b.py::test_two[x y]",
    "skipped\t0.00\ttest-e2e\ttests/e2e/test_b.py::test_three",
]


def test_the_last_outcome_of_a_test_in_a_step_counts() -> None:
    again = "passed\t1.00\ttest-e2e\ttests/e2e/test_b.py::test_two[x y]"
    elsewhere = "failed\t1.00\ttest-unit-newest\ttests/unit/test_a.py::test_one"
    assert report_tests.closing_line(LINES) == "1 passed, 1 failed, 1 skipped"
    assert report_tests.closing_line([*LINES, again]) == "2 passed, 0 failed, 1 skipped"
    assert report_tests.closing_line([*LINES, elsewhere]) == "1 passed, 2 failed, 1 skipped"
    assert report_tests.closing_line([]) == "0 passed, 0 failed, 0 skipped"


def test_the_slowest_come_first() -> None:
    many = [f"passed\t{number}.25\tstep\ttest {number}" for number in range(100)]
    table = report_tests.table_of_slowest([*LINES, *many])
    assert len(table) == report_tests.SLOWEST
    assert table[0].split(maxsplit=3) == ["99.2", "s", "step", "test 99"]


MAKEFILE = """
.PHONY: setup good bad tests
setup: ; @echo set up
good: ; @echo good
bad: ; @echo bad >&2; false
tests: ; @"{python}" -m pytest -q -p no:cacheprovider {test} || [ -n "$(TOLERANT)" ]
"""
TESTS = """
import pytest
def test_good(): pass
def test_bad(): assert not {fails}
def test_skipped(): pytest.skip("why not")
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the tools and with steps of its own."""
    for name in ("run-steps.sh", "report_tests.py", "choose.py", "turns.py"):
        target = tmp_path / "tests/tools" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TOOLS / name, target)
    shutil.copy2(REPOSITORY / "tests/conftest.py", tmp_path / "tests/conftest.py")
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = tests/tools\n")
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    text = MAKEFILE.format(python=sys.executable, test="tests/test_it.py")
    (tmp_path / "Makefile").write_text(text)
    return tmp_path


def run_steps(checkout: Path, *steps: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
    (checkout / "tests/test_it.py").write_text(TESTS.format(fails=fails))
    kept = ("PATH", "HOME", "LANG")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    return subprocess.run(
        ["tests/tools/run-steps.sh", *steps],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_steps_side_by_side_and_one_after_the_other(checkout: Path) -> None:
    run = run_steps(checkout, "setup", "good+tests,bad", "good")
    assert run.returncode == 1
    lines = run.stdout.splitlines()
    assert lines[-1] == "2 passed, 0 failed, 1 skipped"
    assert "Failed: bad" in lines
    summary = (checkout / ".build/steps/summary").read_text().splitlines()
    if Path("/proc/stat").exists():
        assert re.fullmatch(r"\(processors\) +\d+ s", summary.pop())
    outcomes = sorted((line.split()[0], line.split()[1], line.split()[3]) for line in summary)
    assert outcomes == [
        ("bad", "FAILED", "s"),
        ("good", "ok", "s"),
        ("good", "ok", "s"),
        ("setup", "ok", "s"),
        ("tests", "ok", "s"),
    ]
    slowest = (checkout / ".build/steps/slowest").read_text()
    assert "tests" in slowest
    assert "test_it.py::test_good" in slowest


def test_all_is_well(checkout: Path) -> None:
    run = run_steps(checkout, "setup", "tests")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[-1] == "2 passed, 0 failed, 1 skipped"


def test_a_test_that_fails(checkout: Path) -> None:
    run = run_steps(checkout, "setup", "tests,good", fails=True)
    assert run.returncode == 1
    assert run.stdout.splitlines()[-1] == "1 passed, 1 failed, 1 skipped"
    assert "Failed: tests" in run.stdout


def test_nothing_runs_after_a_set_up_that_failed(checkout: Path) -> None:
    makefile = checkout / "Makefile"
    makefile.write_text(makefile.read_text().replace("setup: ; @echo set up", "setup: ; @false"))
    run = run_steps(checkout, "setup", "good")
    assert run.returncode == 1
    assert "=== make good" not in run.stdout
