# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests of roles share."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.release import __version__
from stage import Stage, make_stage

# Each test runs several playbooks for many hosts. Of so many commits one runs a file, with each ansible-core.
TURNS = 3


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the files take turns."""
    among = f"roles under {__version__}"
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.takes_turns(TURNS, among=among, whole_file=True))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The roles with stand-ins for what touches hosts."""
    return make_stage(tmp_path_factory.mktemp("stage"))
