# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The development guide names every function of the guard that decides to roll back."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[4]
GUARD = REPOSITORY / "plugins/plugin_utils/target/guard"
PAGE = REPOSITORY / "docs/docsite/rst/development.rst"
FUNCTION = re.compile(r"^(\w+)\(\) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
# With a reason, which tells it from a word in a comment or of another command.
DECIDES = re.compile(r"(?:^|[;&|]|then|else) *roll_back (?:\"\$|[a-z_]+ \")", re.MULTILINE)


def functions(file: Path) -> dict[str, str]:
    return dict(FUNCTION.findall(file.read_text()))


def test_the_table_of_decisions_is_complete() -> None:
    section = PAGE.read_text().partition("Where a roll back is decided\n")[2].partition("\nTests\n-----")[0]
    told = set(re.findall(r"^``(\w+\.sh)`` +``(\w+)``", section, re.MULTILINE))
    found = {
        (file.name, name)
        for file in GUARD.glob("*.sh")
        for name, body in functions(file).items()
        if DECIDES.search(body)
    }
    assert ("engine.sh", "run_activation") in found
    assert found <= told
    for file, function in told:
        assert function in functions(GUARD / file)
