# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets on real hosts: every content, every way in, every storage, and nowhere a trace of one."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, LabHost, run
from plays import task_play
from project import PlaybookRun, Project, make_project
from ways import CANARY, Lookout, add_hosts, add_user, files_with_passwords, traces_on

SECRETS = "nix_secrets"
WORD = f"{CANARY}secret"
ODD = {
    "binary": bytes(range(256)) + WORD.encode(),
    "no-newline": WORD.encode(),
    "windows": f"{WORD}\r\n{WORD}\r\n".encode(),
    "empty": b"",
    "large": random.Random(5).randbytes(20 * 2**20),
}
# In every result, log and file: none of a content, and no hash that could be guessed at.
DIGEST = hashlib.sha256(WORD.encode()).hexdigest()


@pytest.fixture(scope="module")
def project(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("secrets") / "project", lab)


@pytest.fixture(scope="module")
def hosts(lab: Lab, project: Project) -> dict[str, LabHost]:
    """web1 is reached with a sudo password, web2 through the container, web3 with a sudo that wants a terminal."""
    for name in ("web1", "web2", "web3"):
        lab.hosts[name].make_anew()
    lab.hosts["web1"].execute(f"echo admin:{CANARY}sudo | chpasswd")
    rule = "terminal ALL=(ALL:ALL) ALL\nDefaults:terminal requiretty"
    add_user(lab.hosts["web3"], "terminal", password=f"{CANARY}sudo", sudo=rule)
    become = {"ansible_become": True, "ansible_become_password": f"{CANARY}sudo"}
    add_hosts(
        project,
        {
            "web1": {"ansible_user": "admin", **become},
            "web2": {
                "ansible_connection": "community.docker.docker",
                "ansible_host": lab.hosts["web2"].container,
                "ansible_user": "root",
            },
            "web3": {"ansible_user": "terminal", **become},
        },
    )
    return dict(lab.hosts)


def place(project: Project, hosts: str, secrets: Mapping[str, Any], *arguments: str, **options: Any) -> PlaybookRun:
    return project.run_playbook(task_play(hosts, SECRETS, {"secrets": secrets, **options}), *arguments)


def test_every_content_over_every_way_in(project: Project, hosts: dict[str, LabHost], tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    for name, content in ODD.items():
        (sources / name).write_bytes(content)
    declared: dict[str, Any] = {name: {"file": str(sources / name)} for name in ODD}
    declared["binary"] |= {"user": "daemon", "group": "adm", "permissions": "0440"}
    declared["told"] = {"text": "{{ lookup('file', '" + str(sources / "no-newline") + "') }}", "storage": "persistent"}
    declared["asked"] = {"command": ["printf", "%s\\n", "asked"]}
    with Lookout() as lookout:
        placed = place(project, "web1:web2:web3", declared, "-vvvv")
        again = place(project, "web1:web2:web3", declared, "--diff")
    placed.assert_ok()
    again.assert_ok()
    for name in ("web1", "web2", "web3"):
        assert again.changed(name) == []
        digests = hosts[name].ask("cd /run/keys && sha256sum *; stat -c %U:%G:%a binary large . .nixferry")
        expected = {**ODD, "asked": b"asked\n"}
        assert digests.splitlines() == [
            *(f"{hashlib.sha256(expected[name]).hexdigest()}  {name}" for name in sorted(expected)),
            "daemon:adm:440",
            "root:root:600",
            "root:root:711",
            "root:root:700",
        ]
        assert hosts[name].ask("cat /var/lib/nixferry-keys/told") == WORD
    assert lookout.looks > 10
    assert lookout.seen == []
