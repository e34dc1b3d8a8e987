# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The same deploy over every way to log in."""

from __future__ import annotations

from typing import Any

import pytest
from lab import LabHost
from plays import SWITCH, deploy_play
from project import Project

LOGINS: dict[str, dict[str, Any]] = {
    "root-key": {},
    "sudo-without-password": {"ansible_user": "deploy", "ansible_become": True},
    "sudo-with-password": {
        "ansible_user": "admin",
        "ansible_password": "lab-password",
        "ansible_become": True,
        "ansible_become_password": "lab-password",
        "ansible_ssh_private_key_file": None,
    },
    "docker": {
        "ansible_connection": "community.docker.docker",
        "ansible_host": "{{ lab_container }}",
    },
    "docker-become": {
        "ansible_connection": "community.docker.docker",
        "ansible_host": "{{ lab_container }}",
        "ansible_user": "deploy",
        "ansible_become": True,
    },
}


@pytest.mark.parametrize("login", list(LOGINS))
def test_deploy_and_second_run(each_host: LabHost, project: Project, login: str) -> None:
    host = each_host
    new = project.build(host.name, {"version": login, "payload": {"paths": 3, "kibibytes": 64}})
    play = deploy_play(
        host.name,
        {"vars": LOGINS[login]},
        file="systems/default.nix",
        attr="{host}",
        health_checks=[{"unit": "web.service"}],
    )
    run = project.run_playbook(play).assert_ok()
    assert run.result(SWITCH)["outcome"] == "committed"
    assert host.current_system() == host.boot_default() == host.profile() == new
    assert host.http("/version") == (200, login)
    assert project.run_playbook(play).assert_ok().changed(host.name) == []
    # The state directory is root's alone, however root was reached.
    assert host.ask("stat -c '%U %a' /var/lib/nixferry") == "root 700"


def test_an_untrusted_user_without_become_is_told_what_to_do(each_host: LabHost, project: Project) -> None:
    before = each_host.current_system()
    project.build(each_host.name, {"version": "2"})
    variables = {"ansible_user": "deploy"}
    run = project.run_playbook(
        deploy_play(each_host.name, {"vars": variables}, file="systems/default.nix", attr="{host}")
    )
    assert run.return_code != 0
    message = next(entry for entry in run.results if entry.status == "failed").result["msg"]
    assert each_host.name in message
    assert "become" in message
    assert each_host.current_system() == before
