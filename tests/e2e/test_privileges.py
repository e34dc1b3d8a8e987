# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deploys by a user who is not root and whom the Nix daemon does not trust."""

from __future__ import annotations

import secrets
from typing import Any

from lab import LabHost, run
from plays import task_play
from project import Project
from test_copy import copy, make_pair, make_path, refusal

NIX = ["nix", "--extra-experimental-features", "nix-command"]
# A user who may log in and use Nix, and nothing else.
MAKE_USER = """
id ferry >/dev/null 2>&1 || useradd --create-home --shell /bin/sh --groups nix-users ferry
usermod --password '*' ferry
mkdir -p /home/ferry/.ssh
cp /root/.ssh/authorized_keys /home/ferry/.ssh/
chown -R ferry /home/ferry/.ssh
chmod 700 /home/ferry/.ssh
"""
# More than what travels in one piece.
LARGE = 33 * 1024 * 1024
USER = {"ansible_user": "ferry"}
DOCKER_USER = {
    "ansible_connection": "community.docker.docker",
    "ansible_host": "{{ lab_container }}",
    "ansible_user": "ferry",
}
PASSWORD_AND_SUDO = {
    "ansible_user": "admin",
    "ansible_password": "lab-password",
    "ansible_become": True,
    "ansible_become_password": "lab-password",
    "ansible_ssh_private_key_file": None,
}


def make_key(project: Project, name: str = "deploy.key") -> str:
    """A secret key beside the playbook, made as the documentation says; returns its public half."""
    made = run([*NIX, "key", "generate-secret", "--key-name", f"lab-{secrets.token_hex(4)}"]).stdout
    file = project.write(name, made)
    file.chmod(0o600)
    return run([*NIX, "key", "convert-secret-to-public"], input=made).stdout.strip()


def act(project: Project, host: LabHost, action: str, *arguments: str, **options: Any) -> dict[str, Any]:
    """The result of one task as root."""
    run = project.run_playbook(task_play(host.name, action, options), *arguments)
    return run.result(action)


def test_a_key_signs_and_is_trusted(each_host: LabHost, project: Project) -> None:
    """The whole way of a deploy key: made, installed once, and then copies without any privilege."""
    host = each_host
    host.execute(MAKE_USER)
    below, above = make_pair()
    public = make_key(project)
    key = f"{project.root}/deploy.key"

    told = act(project, host, "nix_trusted_key", "--check", "--diff", key_file=key)
    assert told["changed"]
    assert told["diff"]["after"] == f"{public}\n"
    assert public not in host.ask("cat /etc/nix/nix.conf")
    assert act(project, host, "nix_trusted_key", public_key=public)["changed"]
    assert not act(project, host, "nix_trusted_key", public_key=public)["changed"]

    # Not signed yet: no road is open, and each says why.
    for variables, check in ((USER, True), (DOCKER_USER, True), (DOCKER_USER, False)):
        refused = copy(project, host.name, above, variables=variables, check_sigs=check, retries=0)
        assert "signature" in refusal(refused, host.name)["msg"]
        assert not host.has_path(below)

    told = act(project, host, "nix_sign", "--check", "--diff", paths=[above], key_file=key)
    assert (told["changed"], told["signatures_added"]) == (True, 2)
    assert below in told["diff"]["prepared"]
    signed = act(project, host, "nix_sign", paths=[above], key_file="deploy.key")
    assert (signed["changed"], signed["signatures_added"], signed["public_key"]) == (True, 2, public)
    assert not act(project, host, "nix_sign", paths=[above], key_file=key)["changed"]
    assert not act(project, host, "nix_sign", "--check", paths=[above], key_file=key)["changed"]

    done = copy(project, host.name, above, variables=USER, check_sigs=True).assert_ok().result("Copy")
    assert (done["transport"], done["copied"]) == ("ssh", [below, above])
    # Over any other connection the paths travel with their signatures; root can ask for them as well.
    for variables, size in ((DOCKER_USER, 100), (PASSWORD_AND_SUDO, LARGE)):
        lower = make_path("lower", size=size)
        upper = make_path("upper", dependency=lower)
        act(project, host, "nix_sign", paths=[upper], key_file=key)
        done = (
            copy(project, host.name, upper, variables=variables, check_sigs=True).assert_ok().result("Copy")
        )
        assert (done["transport"], done["copied"]) == ("stream", [lower, upper])
        assert host.has_path(upper)
        refused = copy(project, host.name, make_path("unsigned"), variables=variables, check_sigs=True)
        assert "signature" in refusal(refused, host.name)["msg"]

    assert act(project, host, "nix_trusted_key", public_key=public, state="absent")["changed"]
    assert not act(project, host, "nix_trusted_key", public_key=public, state="absent")["changed"]
    assert "nixferry" not in host.ask("cat /etc/nix/nix.conf")
