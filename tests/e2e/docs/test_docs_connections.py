# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventories of the page about connections, with the lab's addresses in the place of the examples'."""

from __future__ import annotations

import json
import re
import textwrap
from typing import Any

import pytest
import yaml
from lab import REPOSITORY, Lab, LabHost, run
from project import PlaybookRun, Project, make_project
from ways import CANARY, add_user, on_ipv6_network

PAGE = REPOSITORY / "docs/docsite/rst/connections.rst"
CONTAINERS = ("web8", "web9")
# web9 is what tests/e2e/connect/test_ways_in.py deploys to: podman takes its time to start a host.
LEFT_OUT = ("web9",)


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", PAGE.read_text(), re.M)
    return [textwrap.dedent(block).strip() + "\n" for block in found]


def documented_hosts() -> dict[str, dict[str, Any]]:
    hosts: dict[str, dict[str, Any]] = {}
    for block in blocks("yaml"):
        content = yaml.safe_load(block)
        if isinstance(content, dict):
            hosts |= content["nixos"]["hosts"]
    return hosts


def playbook() -> str:
    return next(block for block in blocks("yaml") if isinstance(yaml.safe_load(block), list))


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    host = lab.hosts["web3"]
    host.make_anew()
    host.execute(f"echo admin:{CANARY}admin | chpasswd; echo root:{CANARY}root | chpasswd")
    add_user(host, "doer", password=f"{CANARY}doer")
    host.execute("echo 'permit doer as root' >/etc/doas.conf; chmod 600 /etc/doas.conf")
    add_user(host, "hopper")
    add_user(host, "keeper")
    host.execute(
        "echo 'trusted-users = root keeper' >>/etc/nix/nix.conf\n"
        "systemctl reset-failed nix-daemon.service nix-daemon.socket; systemctl restart nix-daemon"
    )
    return host


@pytest.fixture(scope="module")
def project(lab: Lab, host: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The inventory as it stands in the documentation; files beside it say where the lab is."""
    project = make_project(tmp_path_factory.mktemp("docs") / "project", lab)
    hosts = documented_hosts()
    assert len(hosts) >= 9
    project.write("inventory.yml", json.dumps({"nixos": {"hosts": hosts}}))
    passwords = {
        "vault_sudo_of_web2": f"{CANARY}admin",
        "vault_login_of_web3": f"{CANARY}admin",
        "vault_sudo_of_web3": f"{CANARY}admin",
        "vault_root_of_web4": f"{CANARY}root",
        "vault_login_of_web5": f"{CANARY}doer",
    }
    project.write("group_vars/all.yml", json.dumps(passwords))
    key = {"ansible_ssh_private_key_file": str(lab.directory / "ssh_key")}
    known = f"-o 'UserKnownHostsFile=\"{lab.directory / 'known_hosts'}\"' -o IdentitiesOnly=yes"
    here = {"ansible_host": "127.0.0.1", "ansible_port": host.ssh_port}
    for name in hosts:
        lab_has = {**here, **key, "ansible_ssh_common_args": known}
        if name == "web3":
            del lab_has["ansible_ssh_private_key_file"]
        if name == "web6":
            # The documented configuration file, with the lab's addresses and keys.
            config = project.directory / "ssh_config"
            text = re.sub("198.51.100.1", "127.0.0.1", blocks("text")[0])
            text = re.sub("Port 2222", f"Port {host.ssh_port}", text)
            text = re.sub("10.0.0.6", f"localhost\n  HostKeyAlias {host.container}", text)
            text = re.sub("~/.ssh/jump_key", f'"{lab.directory / "ssh_key"}"', text)
            config.write_text(f'{text}Host *\n  UserKnownHostsFile "{lab.directory / "known_hosts"}"\n')
            lab_has = {**key, "ansible_ssh_common_args": f"-F {config}"}
        if name in CONTAINERS:
            lab_has = {"ansible_host": host.container}
        project.write(f"host_vars/{name}.yml", json.dumps(lab_has))
    return project


@pytest.fixture(scope="module")
def reached(lab: Lab, project: Project, host: LabHost) -> PlaybookRun:
    task = {"name": "Look", "nixferry.deploy.nix_generations": {}}
    play = [{"hosts": f"nixos:!{':!'.join(LEFT_OUT)}", "gather_facts": False, "tasks": [task]}]
    with on_ipv6_network(lab, host) as (six,):
        settings = json.loads((project.directory / "host_vars/web7.yml").read_text())
        settings |= {"ansible_host": six, "ansible_port": 22}
        settings["ansible_ssh_common_args"] += f" -o HostKeyAlias={host.container}"
        project.write("host_vars/web7.yml", json.dumps(settings))
        return project.run_playbook(play)


@pytest.mark.parametrize("name", [name for name in documented_hosts() if name not in LEFT_OUT])
def test_every_documented_host_is_reached(reached: PlaybookRun, host: LabHost, name: str) -> None:
    assert reached.result("Look", name).get("current") == host.current_system(), str(reached)


def test_two_users(project: Project, host: LabHost) -> None:
    """The play that copies as one user and switches as another."""
    project.describe_hosts({"web1": {"version": "two-users"}})
    run(["cp", "-r", f"{project.systems}/.", str(project.directory)])
    project.write("systems.nix", "import ./default.nix\n")
    content = yaml.safe_load(playbook())
    content[0]["hosts"] = "web1"
    content[0]["vars"] = {"ansible_user": "deploy"}
    project.run_playbook(content).assert_ok()
    assert host.http("/version") == (200, "two-users")


def test_passwords_that_the_command_line_names_files_of(project: Project, host: LabHost) -> None:
    """The same for all hosts, as with --ask-pass and --ask-become-pass."""
    file = project.write("password", f"{CANARY}admin\n")
    variables = {
        "ansible_host": "127.0.0.1",
        "ansible_port": host.ssh_port,
        "ansible_user": "admin",
        "ansible_become": True,
        "ansible_ssh_common_args": f"-o 'UserKnownHostsFile=\"{project.lab.directory / 'known_hosts'}\"'",
    }
    project.write("inventory.yml", json.dumps({"nixos": {"hosts": {"web10": variables}}}))
    play = [{"hosts": "web10", "gather_facts": False, "tasks": [{"nixferry.deploy.nix_generations": {}}]}]
    options = ("--connection-password-file", str(file), "--become-password-file", str(file))
    done = project.run_playbook(play, *options).assert_ok()
    assert CANARY not in str(done)
