# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole deploys over ways in that are less common, several hosts at a time, and nowhere a password."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, LabHost, run
from plays import SWITCH, deploy_play
from project import PlaybookRun, Project, make_project
from ways import (
    CANARY,
    Lookout,
    add_hosts,
    add_user,
    files_with_passwords,
    on_ipv6_network,
    podman_host,
    traces_on,
)

# The plugin left ansible-core with 2.21.
PARAMIKO = importlib.util.find_spec("ansible.plugins.connection.paramiko_ssh") is not None
# `make` installs it where it can.
PODMAN = shutil.which("podman") is not None


@dataclass(frozen=True)
class Deployed:
    """Three runs over the same hosts: a new system, the same again, and one that fails its health check."""

    hosts: dict[str, LabHost]
    toplevels: dict[str, str]
    first: PlaybookRun
    second: PlaybookRun
    failing: PlaybookRun
    lookout: Lookout
    project: Project


def deploy(project: Project, ways: dict[str, tuple[LabHost, dict[str, Any]]]) -> Deployed:
    """Deploy over each way; passwords stand in the inventory, as they would in a vault."""
    names = {way: host.name for way, (host, _variables) in ways.items()}
    # Without what an earlier group of ways has added.
    project.write("inventory.yml", (project.lab.directory / "inventory.yml").read_text())
    add_hosts(project, {host.name: variables for host, variables in ways.values()})
    project.describe_hosts({name: {"version": "2"} for name in names.values()})
    toplevels = {way: project.build(name) for way, name in names.items()}
    # What paramiko and Ansible itself keep about hosts and connections; sockets have short names.
    home = Path(tempfile.mkdtemp(prefix="nf-"))
    (home / ".ssh").mkdir(mode=0o700)
    shutil.copy(project.lab.directory / "known_hosts", home / ".ssh/known_hosts")

    def play(**variables: Any) -> PlaybookRun:
        pattern = ":".join(names.values())
        source = {"file": "systems/default.nix", "attr": "{host}", "timeout_confirm": 30}
        return project.run_playbook(
            deploy_play(pattern, **source, **variables), "-vvv", environment={"HOME": str(home)}
        )

    try:
        with Lookout() as lookout:
            first = play(health_checks=[{"unit": "web.service"}])
            second = play(health_checks=[{"unit": "web.service"}])
            project.describe_hosts({name: {"version": "3"} for name in names.values()})
            failing = play(health_checks=[{"command": "echo no good; false", "retries": 0}])
        assert files_with_passwords(home) == []
    finally:
        shutil.rmtree(home)
    hosts = {way: host for way, (host, _variables) in ways.items()}
    return Deployed(hosts, toplevels, first, second, failing, lookout, project)


def check(done: Deployed, way: str) -> None:
    host, new = done.hosts[way], done.toplevels[way]
    assert done.first.result(SWITCH, host.name).get("outcome") == "committed", str(done.first)
    assert done.second.result(SWITCH, host.name)["outcome"] == "unchanged"
    assert done.second.changed(host.name) == []
    failed = done.failing.result(SWITCH, host.name)
    assert failed["outcome"] == "rolled-back"
    assert "no good" in failed["msg"]
    assert host.current_system() == host.boot_default() == host.profile() == new
    # What went through files has been removed.
    assert host.ask("ls -d /tmp/nixferry-* /var/tmp/nixferry-* 2>/dev/null || :") == ""


def check_passwords(done: Deployed) -> None:
    assert done.lookout.looks > 20
    assert done.lookout.seen == []
    for run_ in (done.first, done.second, done.failing):
        assert CANARY not in str(run_)
        assert CANARY not in repr(run_.results)
    allowed = ("inventory.yml",)
    assert files_with_passwords(done.project.directory, but=allowed) == []
    for host in done.hosts.values():
        assert traces_on(host) == ""


@pytest.fixture(scope="module")
def project(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("ways") / "project", lab)


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> dict[str, LabHost]:
    for name in ("web1", "web2", "web3"):
        lab.hosts[name].make_anew()
    return dict(lab.hosts)


ESCALATIONS = ("su", "doas", "sudo-that-requires-a-terminal")


@pytest.fixture(scope="module")
def escalated(hosts: dict[str, LabHost], project: Project) -> Deployed:
    """Privilege escalation that wants a terminal, each with a password of its own."""
    hosts["web1"].execute(f"echo root:{CANARY}root | chpasswd")
    add_user(hosts["web2"], "doer", password=f"{CANARY}doer")
    hosts["web2"].execute("echo 'permit doer as root' >/etc/doas.conf; chmod 600 /etc/doas.conf")
    rule = "terminal ALL=(ALL:ALL) ALL\nDefaults:terminal requiretty"
    add_user(hosts["web3"], "terminal", password=f"{CANARY}terminal", sudo=rule)
    become = {"ansible_become": True}
    ways: dict[str, dict[str, Any]] = {
        "su": {
            "ansible_user": "deploy",
            "ansible_become_method": "su",
            "ansible_become_password": f"{CANARY}root",
        },
        "doas": {
            "ansible_user": "doer",
            "ansible_password": f"{CANARY}doer",
            "ansible_ssh_private_key_file": None,
            "ansible_become_method": "community.general.doas",
            "ansible_become_password": f"{CANARY}doer",
        },
        "sudo-that-requires-a-terminal": {
            "ansible_user": "terminal",
            "ansible_become_password": f"{CANARY}terminal",
            "ansible_ssh_transfer_method": "piped",
        },
    }
    on = zip(ways.items(), ("web1", "web2", "web3"), strict=True)
    return deploy(project, {way: (hosts[name], {**become, **variables}) for (way, variables), name in on})


@pytest.mark.parametrize("way", ESCALATIONS)
def test_escalation(escalated: Deployed, way: str) -> None:
    check(escalated, way)


def test_passwords_of_escalation_are_nowhere(escalated: Deployed) -> None:
    check_passwords(escalated)


ROADS = ("jump-host", "ipv6", *(["podman"] if PODMAN else []), *(["paramiko"] if PARAMIKO else []))


@pytest.fixture(scope="module")
def roads(hosts: dict[str, LabHost], project: Project, lab: Lab) -> Iterator[Deployed]:
    """Other roads to a host. On three of them sudo asks for a password, another one on each host."""
    for name in ("web1", "web2", "web3"):
        hosts[name].make_anew()
        password = f"{CANARY}{name}"
        hosts[name].execute(f"echo admin:{password} | chpasswd")
    sudo = {name: {"ansible_become": True, "ansible_become_password": f"{CANARY}{name}"} for name in hosts}
    with ExitStack() as stack:
        (six,) = stack.enter_context(on_ipv6_network(lab, hosts["web3"]))
        ways: dict[str, tuple[LabHost, dict[str, Any]]] = {
            "jump-host": (hosts["web1"], {**sudo["web1"], **behind_a_jump_host(hosts, project)}),
            "ipv6": (
                hosts["web3"],
                {
                    **sudo["web3"],
                    "ansible_host": six,
                    "ansible_port": 22,
                    "ansible_user": "admin",
                    "ansible_password": f"{CANARY}web3",
                    "ansible_ssh_private_key_file": None,
                    "ansible_ssh_extra_args": f"-o HostKeyAlias={hosts['web3'].container}",
                },
            ),
        }
        if PODMAN:
            pod = stack.enter_context(podman_host(lab, hosts["web3"], "pod1"))
            podman = {
                "ansible_connection": "containers.podman.podman",
                "ansible_host": pod.container,
                "ansible_user": "deploy",
            }
            ways["podman"] = (pod, {**podman, "ansible_become": True})
        if PARAMIKO:
            paramiko = {
                "ansible_connection": "paramiko",
                "ansible_user": "admin",
                "ansible_password": f"{CANARY}web2",
                "ansible_ssh_private_key_file": None,
            }
            ways["paramiko"] = (hosts["web2"], {**sudo["web2"], **paramiko})
        yield deploy(project, ways)


def greets(host: LabHost) -> bool:
    """Whether sshd of the host answers this machine."""
    try:
        with socket.create_connection(("127.0.0.1", host.ssh_port), timeout=2) as direct:
            return bool(direct.recv(1))
    except OSError:
        return False


def behind_a_jump_host(hosts: dict[str, LabHost], project: Project) -> dict[str, Any]:
    """Let web1 answer the lab's hosts only; web2 lets another user with another key jump there."""
    target, jump = hosts["web1"], hosts["web2"]
    key = project.directory / "jump key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)])
    add_user(jump, "hopper")
    jump.execute(
        "mkdir -m 700 ~hopper/.ssh; cat >~hopper/.ssh/authorized_keys <<'END'\n"
        f"{Path(f'{key}.pub').read_text()}END\nchown -R hopper: ~hopper/.ssh"
    )
    target.execute('ip route add blackhole "$(ip route show default | cut -d " " -f 3)/32"')
    assert not greets(target), "the host answers without the jump host"
    known = project.lab.directory / "known_hosts"
    config = project.write(
        "ssh_config",
        f"Host jump\n  HostName 127.0.0.1\n  Port {jump.ssh_port}\n  User hopper\n"
        f'  IdentityFile "{key}"\n  IdentitiesOnly yes\n  UserKnownHostsFile "{known}"\n'
        f"Host web1-behind-it\n  HostName web1\n  HostKeyAlias {target.container}\n  ProxyJump jump\n",
    )
    return {
        "ansible_host": "web1-behind-it",
        "ansible_port": 22,
        "ansible_user": "admin",
        "ansible_ssh_extra_args": f"-F {shlex.quote(str(config))}",
    }


@pytest.mark.parametrize("way", ROADS)
def test_road(roads: Deployed, way: str) -> None:
    check(roads, way)


@pytest.mark.skipif(not PARAMIKO, reason="this ansible-core has no paramiko connection")
def test_paramiko_logs_in_anew_for_the_confirmation(roads: Deployed) -> None:
    """It keeps connections for any task with the same user and host."""
    # By the program's name: by the time the journal looks, the process may have moved from sshd's unit to its session.
    program = "--identifier=sshd --identifier=sshd-session"
    asked = f"journalctl --sync; journalctl --no-pager {program} | grep --count 'Accepted password for admin'"
    # One task in each of three runs, and two new logins in each of the two that activate something.
    assert int(roads.hosts["paramiko"].ask(asked)) >= 3 + 2 * 2


def test_passwords_of_roads_are_nowhere(roads: Deployed) -> None:
    check_passwords(roads)
