# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pytest finds every file with tests: it leaves out directories of some names without a word."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]


def test_no_directory_of_tests_has_a_name_that_pytest_leaves_out(request: pytest.FixtureRequest) -> None:
    left_out = request.config.getini("norecursedirs")
    hidden = {
        str(file.relative_to(TESTS))
        for file in TESTS.rglob("test_*.py")
        for part in file.relative_to(TESTS).parts[:-1]
        if any(fnmatch(part, pattern) for pattern in left_out)
    }
    assert not {name for name in hidden if not name.startswith("output/")}
