# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the web server gives to every client has no secret in it. tests/vm boots releases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
from plays import task_play
from project import Project

CANARY = "canary-77aa03d1-of-a-secret"
FSTAB = {"fstab": "../nix-store.squashfs /nix/.ro-store squashfs loop 0 0\n"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(directory=tmp_path / "project", lab=cast(Any, None))
    made.systems.mkdir(parents=True)
    made.describe_hosts({})
    made.write("inventory.yml", json.dumps({"all": {"hosts": {"web1": {"ansible_host": "192.0.2.1"}}}}))
    made.write("ansible.cfg", "[defaults]\ninventory = inventory.yml\n")
    return made


@pytest.mark.parametrize(
    ("etc", "words"),
    [
        ({"app/token": f"token = {CANARY}\n"}, "the secret token is in the system: /nix/store/"),
        ({"ssh/ssh_host_ed25519_key": "a key"}, "a secret key of sshd in it (/etc/ssh/ssh_host_ed25519_key)"),
    ],
)
def test_a_release_with_a_secret_is_refused(project: Project, etc: dict[str, str], words: str) -> None:
    secrets = {"token": {"text": f"{CANARY}\n"}}
    for mode in ("--check", "--diff"):
        options = {"toplevel": project.build("web1", {"etc": {**FSTAB, **etc}}), "work": "work"}
        done = project.run_playbook(
            task_play("web1", "nix_netboot_release", {**options, "secrets": secrets}), mode
        )
        failure = done.result("nix_netboot_release")
        assert done.return_code == 2, str(done)
        assert words in failure["cause"]
        assert CANARY not in str(done)
        assert not (project.directory / "work").exists()
    options = {"toplevel": project.build("web1", {"etc": FSTAB}), "work": "work", "secrets": secrets}
    made = project.run_playbook(task_play("web1", "nix_netboot_release", options)).assert_ok()
    assert (Path(made.result("nix_netboot_release")["directory"]) / "store").exists()
