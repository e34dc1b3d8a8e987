# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One host, many ways to log in to it that trip programs up: a copy over each, and an activation over some."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, LabHost, nix_environment, run
from processes import wait_until
from project import PlaybookRun, Project, make_project
from ways import CANARY, add_hosts, add_user

NOISE = "printf 'no end of line'; echo 'and more of it' >&2"
FREE_SUDO = "ALL=(ALL:ALL) NOPASSWD: ALL"
SUDO = {"ansible_become": True}
RESTART_DAEMON = "systemctl reset-failed nix-daemon.service nix-daemon.socket; systemctl restart nix-daemon"

# Which of them also activate something: one at a time, since a host has one guard.
ACTIVATING = ("alias-of-a-configuration-file", "shell-that-talks", "c-shell", "one-session-a-connection")


def odd_logins(project: Project, host: LabHost) -> dict[str, dict[str, Any]]:
    """Inventory variables by name of the login; some names are odd themselves."""
    known = f'UserKnownHostsFile="{project.lab.directory / "known_hosts"}"'
    directory = project.directory / "a place with 'quotes' and spaces"
    directory.mkdir()
    key = directory / "the key"
    shutil.copy(project.lab.directory / "ssh_key", key)
    wrapper = directory / "my ssh"
    wrapper.write_text('#!/bin/sh\nexec ssh "$@"\n')
    wrapper.chmod(0o755)
    config = directory / "the config"
    config.write_text(
        f"Host only-here\n  HostName 127.0.0.1\n  Port {host.ssh_port}\n  User deploy\n  IdentitiesOnly yes\n"
        f'  IdentityFile "{project.lab.directory / "ssh_key"}"\n  {known.replace("=", " ")}\n'
        # Would share one connection with everybody else.
        f"  ControlMaster auto\n  ControlPersist 5\n  ControlPath /tmp/nf-{secrets.token_hex(4)}-%C\n"
    )
    return {
        "alias-of-a-configuration-file": {
            **SUDO,
            "ansible_host": "only-here",
            "ansible_port": None,
            "ansible_user": None,
            "ansible_ssh_private_key_file": None,
            "ansible_ssh_args": "",
            "ansible_ssh_common_args": f"-F {shlex.quote(str(config))}",
        },
        "key-with-a-difficult-name": {"ansible_ssh_private_key_file": str(key)},
        "ssh-with-a-difficult-name": {"ansible_ssh_executable": str(wrapper)},
        "extra-arguments": {
            "ansible_ssh_extra_args": "-o SetEnv='LANG=\"tr_TR.UTF-8\"' -o 'ServerAliveInterval 9'",
            "ansible_ssh_retries": 3,
        },
        "agent": {
            "ansible_ssh_private_key_file": None,
            "ansible_ssh_common_args": f"-F none -o {known} -o IdentityFile=none",
        },
        "wéb_2.example.org": {"ansible_pipelining": False, "ansible_shell_executable": "/bin/bash"},
        "shell-that-talks": {"ansible_user": "talker"},
        "c-shell": {**SUDO, "ansible_user": "csher"},
        "one-session-a-connection": {**SUDO, "ansible_user": "single"},
        "no-connection-sharing": {**SUDO, "ansible_ssh_args": "", "ansible_user": "deploy"},
        "forced-command": {**SUDO, "ansible_user": "forced"},
        "trusted-user": {"ansible_user": "keeper"},
        "become-a-trusted-user": {**SUDO, "ansible_user": "deploy", "ansible_become_user": "keeper"},
        "container-with-a-sudo-password": {
            **SUDO,
            "ansible_connection": "community.docker.docker",
            "ansible_host": host.container,
            "ansible_user": "admin",
            "ansible_become_password": f"{CANARY}admin",
        },
        "password-of-ssh-askpass": {
            "ansible_user": "talker",
            "ansible_password": f"{CANARY}talker",
            "ansible_ssh_private_key_file": None,
        },
    }


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    host = lab.hosts["web2"]
    host.make_anew()
    # Root by another name: talks without sudo, whose own marker would hide the noise.
    add_user(host, "talker", password=f"{CANARY}talker")
    host.execute(f"sed -i '1i {NOISE.replace(chr(39), chr(34))}' ~talker/.bashrc")
    host.execute(f"echo admin:{CANARY}admin | chpasswd")
    add_user(host, "csher", shell="/bin/tcsh", sudo=f"csher {FREE_SUDO}")
    host.execute("echo 'echo -n noise' >~csher/.cshrc")
    assert host.ssh("true", user="talker").stdout == "no end of line"
    assert host.ssh("true", user="csher").stdout == "noise"
    add_user(host, "single", sudo=f"single {FREE_SUDO}")
    add_user(host, "forced", sudo=f"forced {FREE_SUDO}")
    add_user(host, "keeper")
    host.execute(
        "cat >/etc/ssh/sshd_config.d/odd.conf <<'END'\n"
        "Match User single\nMaxSessions 1\n"
        'Match User forced\nForceCommand /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'
        "END\n"
        f"systemctl reload ssh; echo 'trusted-users = root talker keeper' >>/etc/nix/nix.conf; {RESTART_DAEMON}"
    )
    return host


@pytest.fixture(scope="module")
def agent(lab: Lab) -> Iterator[str]:
    """The socket of an ssh agent that has the lab's key."""
    directory = Path(tempfile.mkdtemp(prefix="nf-"))
    socket = directory / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(socket.exists, deadline=10, what="the socket of the ssh agent")
            run(["ssh-add", "-q", str(lab.directory / "ssh_key")], environment={"SSH_AUTH_SOCK": str(socket)})
            yield str(socket)
        finally:
            os.kill(process.pid, signal.SIGTERM)
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def project(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("odd") / "project", lab)


def make_paths(names: list[str]) -> dict[str, str]:
    """A path for each name that is nowhere else, in one build."""
    salt = secrets.token_hex(8)
    command = "PATH=/usr/bin:/bin; mkdir $out; echo $name $salt >$out/data"
    wanted = " ".join(f'"{name}"' for name in names)
    expression = (
        f'map (name: derivation {{ inherit name; salt = "{salt}"; system = builtins.currentSystem; '
        f'builder = "/bin/sh"; args = [ "-c" "{command}" ]; }}) [ {wanted} ]'
    )
    built = run(["nix-build", "--no-out-link", "--expr", expression], environment=nix_environment())
    return dict(zip(names, built.stdout.split(), strict=True))


@pytest.fixture(scope="module")
def crowd(project: Project, host: LabHost, agent: str) -> tuple[PlaybookRun, dict[str, str]]:
    logins = odd_logins(project, host)
    numbered = {name: f"path-{number}" for number, name in enumerate(logins)}
    paths = make_paths(list(numbered.values()))
    base = {"ansible_port": host.ssh_port}
    add_hosts(
        project,
        {
            name: {
                **base,
                # Ansible names its sockets after address, port and user: these logins must not share them.
                "ansible_control_path": f"%(directory)s/{number}",
                "the_path": paths[numbered[name]],
                **variables,
            }
            for number, (name, variables) in enumerate(logins.items())
        },
    )
    copy = {"name": "Copy", "nixferry.deploy.nix_copy": {"path": "{{ the_path }}", "retries": 0}}
    activate = {
        "name": "Activate",
        "when": f"inventory_hostname in {list(ACTIVATING)}",
        "throttle": 1,
        "nixferry.deploy.nix_switch": {
            "kind": "profile",
            "toplevel": "{{ the_path }}",
            "profile": "{{ '~/' if inventory_hostname == 'shell-that-talks' else '/nix/var/nix/profiles/' }}odd",
            "health_checks": [{"command": "true"}],
            "timeout_confirm": 30,
        },
    }
    play = [{"hosts": ":".join(logins), "gather_facts": False, "tasks": [copy, activate]}]
    home = Path(tempfile.mkdtemp(prefix="nf-"))
    try:
        done = project.run_playbook(play, environment={"SSH_AUTH_SOCK": agent, "HOME": str(home)})
    finally:
        shutil.rmtree(home)
    return done, {name: paths[number] for name, number in numbered.items()}


NAMES = (
    "alias-of-a-configuration-file",
    "key-with-a-difficult-name",
    "ssh-with-a-difficult-name",
    "extra-arguments",
    "agent",
    "wéb_2.example.org",
    "shell-that-talks",
    "c-shell",
    "one-session-a-connection",
    "no-connection-sharing",
    "forced-command",
    "trusted-user",
    "become-a-trusted-user",
    "container-with-a-sudo-password",
    "password-of-ssh-askpass",
)
STREAMING = ("container-with-a-sudo-password",)


@pytest.mark.parametrize("name", NAMES)
def test_copy(crowd: tuple[PlaybookRun, dict[str, str]], host: LabHost, name: str) -> None:
    done, paths = crowd
    result = done.result("Copy", name)
    assert not result.get("failed"), str(done)
    assert result.get("copied") == [paths[name]], str(done)
    assert result["transport"] == ("stream" if name in STREAMING else "ssh")
    assert host.has_path(paths[name])


@pytest.mark.parametrize("name", ACTIVATING)
def test_activation(crowd: tuple[PlaybookRun, dict[str, str]], name: str) -> None:
    done, _paths = crowd
    assert done.result("Activate", name).get("outcome") == "committed", str(done)
