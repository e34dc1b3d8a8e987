# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of faults: every test with the marker `faults` is one row, printed when all have run.

Rows travel with pytest's reports (`user_properties`), so it does not matter which process ran a test. The last line
is `N passed, M failed`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

import pytest

PROPERTY = "fault_row"
COLUMNS = ("fault", "host", "outcome", "runs", "boots", "login", "verdict")


def title_of(item: pytest.Item) -> str:
    """What a row is called unless its test says otherwise: the name of the test and its parameters but for the host."""
    function = item.originalname if isinstance(item, pytest.Function) else item.name
    title = function.removeprefix("test_").replace("_", " ")
    parameters = item.callspec.id if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ""
    return (
        f"{title}: {parameters}" if parameters and parameters != item.callspec.params.get("host") else title
    )


def row_of(item: pytest.Item) -> dict[str, Any]:
    """The row of a test, to be filled in."""
    row: dict[str, Any] = dict(item.user_properties)[PROPERTY]
    return row


def begin_rows(items: Iterable[pytest.Item]) -> None:
    """Give every test of a fault its row, so that one that fails early is in the table, too."""
    for item in items:
        if item.get_closest_marker("faults") is not None:
            item.user_properties.append((PROPERTY, {"fault": title_of(item)}))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Print the table after everything that pytest itself prints."""
    yield
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or hasattr(session.config, "workerinput"):
        return
    rows = collect_rows(report for reports in terminal.stats.values() for report in reports)
    if rows:
        terminal.write_line("")
        for line in table(rows):
            terminal.write_line(line)
        passed = sum(row["verdict"] == "passed" for row in rows)
        terminal.write_line(f"{passed} passed, {len(rows) - passed} failed")


def collect_rows(reports: Iterable[Any]) -> list[Mapping[str, str]]:
    """One row a test: the test passed if its call did and nothing after that failed."""
    rows: dict[str, dict[str, str]] = {}
    ran = [report for report in reports if isinstance(report, pytest.TestReport)]
    for report in sorted(ran, key=lambda report: report.start):
        row = dict(report.user_properties).get(PROPERTY)
        if row is None or not (report.when == "call" or report.failed):
            continue
        entry = rows.setdefault(report.nodeid, {"verdict": "passed"})
        entry.update({column: str(row.get(column, "-")) for column in COLUMNS[:-1]})
        if not report.passed:
            entry["verdict"] = report.outcome.upper()
    return list(rows.values())


def table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The rows under a heading, in columns."""
    heading = {column: column for column in COLUMNS}
    heading["login"] = "login after"
    widths = {column: max(len(row[column]) for row in [heading, *rows]) for column in COLUMNS}
    lines = [
        "  ".join(row[column].ljust(widths[column]) for column in COLUMNS).rstrip()
        for row in [heading, *rows]
    ]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:], ""]
