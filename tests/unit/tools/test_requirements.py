# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests install is what is locked: pinned, with hashes, and without the address of a registry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).parents[3] / "requirements"
NAMES = sorted(path.name for path in REQUIREMENTS.glob("*.txt"))
ENTRY = re.compile(r"([a-z0-9-]+)==([^ ;]+)(?: ; [a-z_' <>=!A-Z0-9.]+)?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def locked(name: str) -> dict[tuple[str, str], int]:
    """Names and versions in a lock file, with the number of their hashes."""
    text = (REQUIREMENTS / "locked" / name).read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        entry = ENTRY.fullmatch(HASH.sub("", line).strip())
        assert entry is not None, line
        found[entry[1], entry[2]] = len(HASH.findall(line))
    return found


def asked(name: str) -> set[tuple[str, str]]:
    """Names and versions in a requirements file and in those that it includes."""
    found: set[tuple[str, str]] = set()
    for line in (REQUIREMENTS / name).read_text().splitlines():
        if line.startswith("-r "):
            found |= asked(line[3:])
        elif line and not line.startswith("#"):
            package, _equals, version = line.partition(";")[0].strip().partition("==")
            # A lock file names what an extra brings along, not the extra.
            plain = package.partition("[")[0].lower().replace("_", "-")
            found.add((plain, version))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_package_is_locked_with_hashes(name: str) -> None:
    found = locked(name)
    assert asked(name) <= found.keys(), "run `make lock`"
    assert all(found.values())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lock.txt"])
def test_one_environment_satisfies_all(name: str) -> None:
    assert locked(name).keys() <= locked("test.txt").keys()
