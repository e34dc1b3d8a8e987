# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the action reads a file on the controller, with Ansible's own loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task

from ansible_collections.nixferry.deploy.plugins.action.nix_secrets import ActionModule

WORD = "canary-of-a-secret"
NO_FILE = {
    WORD: "not found on the controller",
    f"-----BEGIN-----\n{WORD}\n" * 500: "not found on the controller",
    "a directory": "Is a directory",
    "a broken vault": "no vault password of this run decrypts it",
}


@pytest.fixture
def action(tmp_path: Path) -> ActionModule:
    loader = DataLoader()
    loader.set_basedir(str(tmp_path))
    nothing: Any = None
    return ActionModule(
        task=Task(),
        connection=nothing,
        play_context=nothing,
        loader=loader,
        templar=nothing,
        shared_loader_obj=nothing,
    )


@pytest.mark.parametrize("name", NO_FILE)
def test_an_error_does_not_repeat_what_stands_in_the_place_of_a_file(
    action: ActionModule, tmp_path: Path, name: str
) -> None:
    (tmp_path / "a directory").mkdir()
    (tmp_path / "a broken vault").write_text(f"$ANSIBLE_VAULT;1.1;AES256\n{WORD}\n")
    with pytest.raises(OSError, match=NO_FILE[name]) as error:
        action.read_controller_file(name)
    assert error.value.strerror
    assert WORD not in str(error.value)


def test_every_byte_is_read(action: ActionModule, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\0\xff\r\n")
    assert action.read_controller_file("key") == b"\0\xff\r\n"
