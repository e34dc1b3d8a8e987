# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files are configurations of the inventory plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.inventory.fleet import InventoryModule
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.inventory_options import (
    HEAD_OF_A_CONFIGURATION,
)

OURS = "plugin: nixferry.deploy.fleet\n"


@pytest.mark.parametrize(
    ("name", "text", "accepted"),
    [
        ("hive.yml", OURS + "fleet: .\n", True),
        ("hive.yaml", "---\n# the hive\nfleet: .\nplugin: 'nixferry.deploy.fleet'  # ours\n", True),
        ("hive.yml", '"plugin": "nixferry.deploy.fleet"\n', True),
        ("fleet.yml", "", True),
        ("hive.yml", "plugin: nixferry.deploy.fleets\n", False),
        ("hive.yml", "plugin: amazon.aws.aws_ec2\n", False),
        ("hive.yml", "all:\n  vars:\n    plugin: nixferry.deploy.fleet\n", False),
        ("hive.ini", OURS, False),
        ("hive.yml", "#" * HEAD_OF_A_CONFIGURATION + "\n" + OURS, False),
    ],
)
def test_a_configuration_is_known_by_its_name_or_by_what_it_says(
    tmp_path: Path, name: str, text: str, accepted: bool
) -> None:
    (tmp_path / name).write_text(text)
    assert InventoryModule().verify_file(str(tmp_path / name)) is accepted


def test_what_cannot_be_read_is_not_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "bytes.yml").write_bytes(b"\xff\xfe" + OURS.encode())
    assert not InventoryModule().verify_file(str(tmp_path / "bytes.yml"))
    (tmp_path / "directory.yml").mkdir()
    assert not InventoryModule().verify_file(str(tmp_path / "directory.yml"))
