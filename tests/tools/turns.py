# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The marker `takes_turns(turns, among=group, whole_file=False)`, for pytest.

Of the cases of a test, or of all that name the same group, a commit runs one in so many. With `whole_file` the files of
the group take turns, for tests that build on each other or share costly hosts.
"""

from __future__ import annotations

import choose
import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `takes_turns` and runs with other commits: cases of a test, or whole files."""
    # What failed had its turn. A run of nothing else collects nothing else, from which there is nothing to choose.
    if config.getoption("lf", False):
        return
    groups: dict[tuple[str, int], dict[object, list[pytest.Item]]] = {}
    for item in items:
        for mark in item.iter_markers("takes_turns"):
            among = mark.kwargs.get("among", item.nodeid.partition("[")[0])
            unit = item.path if mark.kwargs.get("whole_file") else item.nodeid
            groups.setdefault((among, mark.args[0]), {}).setdefault(unit, []).append(item)
    unwanted: set[pytest.Item] = set()
    for (name, turns), units in groups.items():
        wanted = choose.in_turn(name, list(units), turns)
        unwanted.update(item for unit in units.keys() - set(wanted) for item in units[unit])
    config.hook.pytest_deselected(items=[item for item in items if item in unwanted])
    items[:] = [item for item in items if item not in unwanted]
