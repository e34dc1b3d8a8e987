# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A login does not get in, or in but not any further: what the user is told."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, LabHost, nix_environment, run
from plays import SWITCH
from project import PlaybookRun, Project, make_project
from ways import CANARY, add_hosts, add_user, files_with_passwords

SUDO = {"ansible_become": True}
WRONG = f"{CANARY}wrong"
RESTART_DAEMON = "systemctl reset-failed nix-daemon.service nix-daemon.socket; systemctl restart nix-daemon"


@dataclass(frozen=True)
class Refusal:
    """``status`` is Ansible's: unreachable or failed. ``message`` and ``remedy`` stand in what it prints."""

    variables: dict[str, Any]
    status: str
    message: str
    remedy: str


REFUSALS = {
    "wrong-password": Refusal(
        {"ansible_user": "admin", "ansible_password": WRONG, "ansible_ssh_private_key_file": None},
        "unreachable",
        "Permission denied (publickey,password)",
        "Check ansible_user with ansible_password",
    ),
    "wrong-key": Refusal(
        {"ansible_ssh_private_key_file": "{{ other_key }}"},
        "unreachable",
        "does not let this user in",
        "ansible_ssh_private_key_file",
    ),
    "wrong-sudo-password": Refusal(
        {**SUDO, "ansible_user": "admin", "ansible_become_password": WRONG},
        "failed",
        "refused the password: Incorrect sudo password",
        "Check ansible_become_password",
    ),
    "no-sudo-password": Refusal(
        {**SUDO, "ansible_user": "admin"},
        "failed",
        "asks for a password: Missing sudo password",
        "--ask-become-pass",
    ),
    "wrong-su-password": Refusal(
        {**SUDO, "ansible_user": "deploy", "ansible_become_method": "su", "ansible_become_password": WRONG},
        "failed",
        "refused the password",
        "su for that of the user to become",
    ),
    "not-in-doas-conf": Refusal(
        {**SUDO, "ansible_user": "outsider", "ansible_become_method": "community.general.doas"},
        "failed",
        "may not become another: doas: Operation not permitted",
        "doas.conf",
    ),
    "no-such-program": Refusal(
        {**SUDO, "ansible_user": "outsider", "ansible_become_exe": "/opt/sudo"},
        "failed",
        "/opt/sudo: not found",
        "ansible_become_exe",
    ),
    "unknown-host-key": Refusal(
        {"ansible_ssh_common_args": "-o UserKnownHostsFile=/dev/null"},
        "unreachable",
        "the host's key is not known here",
        "ssh-keyscan",
    ),
    "unknown-host-key-with-a-password": Refusal(
        {
            "ansible_user": "admin",
            "ansible_password": WRONG,
            "ansible_ssh_private_key_file": None,
            "ansible_ssh_common_args": "-o UserKnownHostsFile=/dev/null",
        },
        "unreachable",
        "the host's key is not known here",
        "ssh-keyscan",
    ),
    "changed-host-key": Refusal(
        {"ansible_ssh_common_args": "-o 'UserKnownHostsFile=\"{{ other_known_hosts }}\"'"},
        "unreachable",
        "the host shows another key than the one that is known",
        "ssh-keygen -R",
    ),
    "no-such-name": Refusal(
        {"ansible_host": "nowhere.invalid"}, "unreachable", "cannot be resolved", "ansible_host"
    ),
    "brackets": Refusal({"ansible_host": "[::1]"}, "unreachable", "cannot be resolved", "without brackets"),
    "closed-port": Refusal({"ansible_port": 1}, "unreachable", "port 1: Connection refused", "ansible_port"),
    "silent-port": Refusal(
        {"ansible_port": "{{ silent_port }}", "ansible_timeout": 2},
        "unreachable",
        "does not answer",
        "ansible_timeout",
    ),
    "jump-host-that-is-closed": Refusal(
        {"ansible_ssh_extra_args": "-o ProxyJump=127.0.0.1:1"},
        "unreachable",
        "the jump host did not let the connection through",
        "Log in to the jump host by hand",
    ),
    "forced-command": Refusal(
        {"ansible_user": "forced"}, "failed", "the host did not answer", "a forced command of sshd"
    ),
    "untrusted-user": Refusal(
        {"ansible_user": "deploy"}, "failed", "does not accept unsigned paths", "become: true"
    ),
}


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    host = lab.hosts["web2"]
    host.make_anew()
    add_user(host, "outsider")
    add_user(host, "forced")
    add_user(host, "keeper")
    host.execute(
        "printf 'Match User forced\\nForceCommand echo for backups only\\n' >/etc/ssh/sshd_config.d/forced.conf\n"
        "echo 'permit nopass deploy as root' >/etc/doas.conf; chmod 600 /etc/doas.conf\n"
        f"systemctl reload ssh; echo 'trusted-users = root keeper' >>/etc/nix/nix.conf; {RESTART_DAEMON}"
    )
    return host


@pytest.fixture(scope="module")
def project(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("errors") / "project", lab)


@contextmanager
def silent_port() -> Iterator[int]:
    """A port where connections are taken and nothing is said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.fixture(scope="module")
def refused(project: Project, host: LabHost) -> PlaybookRun:
    """All of them in one run; every login with a connection of its own."""
    key = project.directory / "other_key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)])
    public = " ".join(Path(f"{key}.pub").read_text().split()[:2])
    known = project.write("other_known_hosts", f"[127.0.0.1]:{host.ssh_port} {public}\n")
    path = run(
        [
            "nix-build",
            "--no-out-link",
            "--expr",
            f'derivation {{ name = "refused"; system = builtins.currentSystem; builder = "/bin/sh"; '
            f'args = [ "-c" "echo {project.directory} >$out" ]; }}',
        ],
        environment=nix_environment(),
    ).stdout.strip()
    task = {"name": "Copy", "nixferry.deploy.nix_copy": {"path": path, "retries": 0}}
    home = Path(tempfile.mkdtemp(prefix="nf-"))
    try:
        with silent_port() as port:
            common = {"other_key": str(key), "other_known_hosts": str(known), "silent_port": port}
            add_hosts(
                project,
                {
                    name: {
                        "ansible_port": host.ssh_port,
                        "ansible_control_path": f"%(directory)s/{number}",
                        **common,
                        **refusal.variables,
                    }
                    for number, (name, refusal) in enumerate(REFUSALS.items())
                },
            )
            play = [{"hosts": ":".join(REFUSALS), "gather_facts": False, "tasks": [task]}]
            done = project.run_playbook(play, "-vvv", environment={"HOME": str(home)})
        assert files_with_passwords(home) == []
    finally:
        shutil.rmtree(home)
    return done


@pytest.mark.parametrize("name", list(REFUSALS))
def test_a_refusal_names_host_cause_and_remedy(refused: PlaybookRun, name: str) -> None:
    refusal = REFUSALS[name]
    (found,) = refused.find("Copy", name)
    message = found.result["msg"]
    assert found.status == refusal.status, message
    assert f"{name}: copy failed: " in message
    assert refusal.message in message
    assert refusal.remedy in message.partition("What to do: ")[2]


def test_wrong_passwords_are_not_shown_either(refused: PlaybookRun) -> None:
    assert CANARY not in str(refused)
    assert CANARY not in repr(refused.results)


def test_a_trusted_user_copies_but_does_not_switch(project: Project, host: LabHost) -> None:
    """Copying needs a user whom Nix trusts, switching needs root: a play may say so task by task."""
    before = host.snapshot()
    toplevel = project.build(host.name, {"version": "2"})
    variables = {"ansible_user": "deploy", "ansible_become": True, "ansible_become_user": "keeper"}
    copy = {"nixferry.deploy.nix_copy": {"path": toplevel}}
    switch = {"nixferry.deploy.nix_switch": {"toplevel": toplevel, "timeout_confirm": 30}}
    play = {"hosts": host.name, "gather_facts": False}
    done = project.run_playbook([{**play, "vars": variables, "tasks": [copy, switch]}])
    assert done.result("nix_copy")["transport"] == "ssh"
    (refused,) = done.find(SWITCH)
    assert refused.status == "failed"
    assert "keeper may not change the profile" in refused.result["msg"], str(done)
    assert "become: true" in refused.result["remedy"]
    assert host.snapshot() == before

    variables = {"ansible_user": "deploy"}
    copy = {**copy, "become": True, "become_user": "keeper"}
    switch = {**switch, "become": True}
    project.run_playbook([{**play, "vars": variables, "tasks": [copy, switch]}]).assert_ok()
    assert host.current_system() == toplevel
