# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests of roles share."""

from __future__ import annotations

import pytest
from stage import Stage, make_stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The roles with stand-ins for what touches hosts."""
    return make_stage(tmp_path_factory.mktemp("stage"))
