# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell what the pytest runs of all steps did: report_tests.py DIRECTORY

Every run has added its tests to the file ``tests`` of the directory, one a line: outcome, seconds, step and name
(``tests/conftest.py``). The slowest are printed, and kept in the file ``slowest``; the last line counts all tests. A
test that one step has run twice counts as it ended the last time.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

SLOWEST = 30


def table_of_slowest(lines: Iterable[str]) -> list[str]:
    """The slowest tests, a line each."""
    tests = sorted((line.split("\t") for line in lines), key=lambda test: -float(test[1]))
    return [
        f"{float(seconds):7.1f} s  {step:<18} {name}" for _outcome, seconds, step, name in tests[:SLOWEST]
    ]


def closing_line(lines: Iterable[str]) -> str:
    """How many tests passed, failed and were skipped."""
    last = {tuple(rest): outcome for outcome, _seconds, *rest in (line.split("\t") for line in lines)}
    count = Counter(last.values())
    return f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped"


def main(directory: Path) -> None:
    """Print and keep the report."""
    record = directory / "tests"
    lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    slowest = table_of_slowest(lines)
    (directory / "slowest").write_text("".join(f"{line}\n" for line in slowest), encoding="utf-8")
    print("\n=== Slowest tests", *slowest, "", closing_line(lines), sep="\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: report_tests.py DIRECTORY")
    main(Path(sys.argv[1]))
