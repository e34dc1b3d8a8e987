# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings for all unit tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile(
    "nixferry", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("nixferry")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Twice as many as processors: half of the time, tests wait for processes that they have started."""
    return 2 * (os.cpu_count() or 1)


# Rooms of plugin_utils whose code imports ansible-core. For the others the newest one is only another Python version.
KNOW_ANSIBLE = ("_ansible", "_host", "_health")
TURNS = 3


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of rooms that do not know ansible-core take turns in the run under the newest one."""
    if os.environ.get("NIXFERRY_TEST_AGAIN") != "1":
        return
    rooms = Path(__file__).parent / "plugins/plugin_utils"
    for item in items:
        if item.path.is_relative_to(rooms) and item.path.parent.name not in KNOW_ANSIBLE:
            item.add_marker(pytest.mark.takes_turns(TURNS, among="rooms again", whole_file=True))
