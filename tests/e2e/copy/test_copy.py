# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies to real hosts, over every kind of connection, with every Nix that a controller may have."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from copies import copy, make_pair, make_path, refusal
from lab import Lab, LabHost, nix_environment, run
from plays import task_play
from project import Project

LAB_PASSWORD = "lab-password"
PASSWORD_AND_SUDO = {
    "ansible_user": "admin",
    "ansible_password": LAB_PASSWORD,
    "ansible_become": True,
    "ansible_become_password": LAB_PASSWORD,
}
KEY_AND_SUDO = {"ansible_user": "deploy", "ansible_become": True}
DOCKER = {"ansible_connection": "community.docker.docker", "ansible_host": "{{ lab_container }}"}
NO_MULTIPLEXING = {"ansible_ssh_args": "-o ControlMaster=no -o ControlPath=none"}
MIB = 1024 * 1024


@pytest.fixture(params=["web1", "web2"], ids=["to-nix-2.8", "to-nix-2.26"])
def host(request: pytest.FixtureRequest, lab: Lab) -> LabHost:
    """A host with each Nix that targets may have. Every test brings paths of its own, so it need not be new."""
    return lab.hosts[request.param]


@contextmanager
def on_host(host: LabHost, prepare: str, undo: str) -> Iterator[None]:
    """Change something on the host while a test runs."""
    host.execute(prepare)
    try:
        yield
    finally:
        host.execute(undo)


def test_every_nix_copies_to_every_nix(each_controller: Project) -> None:
    below, above = make_pair(each_controller.controller)
    hosts = [each_controller.lab.hosts[name] for name in ("web1", "web2")]

    told = copy(each_controller, "web1:web2", above, "--check", "--diff").assert_ok()
    for host in hosts:
        result = told.result("Copy", host.name)
        assert result["changed"]
        assert [entry["path"] for entry in result["missing"]] == [below, above]
        assert f"+ {below} (" in result["diff"]["prepared"]
        assert not host.has_path(below)

    done = copy(each_controller, "web1:web2", above).assert_ok()
    for host in hosts:
        result = done.result("Copy", host.name)
        assert result["transport"] == "ssh"
        assert result["copied"] == [below, above]
        assert result["nar_size"] == sum(entry["nar_size"] for entry in result["missing"])
        assert result["nar_size"] == int(host.ask(f"nix-store -q --size {below}")) + int(
            host.ask(f"nix-store -q --size {above}")
        )
        assert host.has_path(above)

    again = copy(each_controller, "web1:web2", above).assert_ok()
    for host in hosts:
        assert again.result("Copy", host.name)["transport"] == "none"
        assert again.changed(host.name) == []


@pytest.mark.parametrize(
    ("variables", "transport"),
    [(KEY_AND_SUDO, "ssh"), (PASSWORD_AND_SUDO, "stream"), ({**KEY_AND_SUDO, **NO_MULTIPLEXING}, "ssh")],
    ids=["sudo", "sudo-with-password", "sudo-without-multiplexing"],
)
def test_every_nix_copies_as_another_user(
    each_controller: Project, variables: dict[str, Any], transport: str
) -> None:
    below, above = make_pair(each_controller.controller)
    done = copy(each_controller, "web1:web2", above, variables=variables).assert_ok()
    for name in ("web1", "web2"):
        result = done.result("Copy", name)
        assert (result["transport"], result["copied"]) == (transport, [below, above])
        assert each_controller.lab.hosts[name].has_path(above)


# systemd refuses a service that is restarted several times within seconds, as these tests do.
RESTART_DAEMON = "systemctl reset-failed nix-daemon.service nix-daemon.socket; systemctl restart nix-daemon"


def sign(project: Project, key: str, path: str, *arguments: str) -> int:
    """Sign a closure on the controller; returns how many signatures were added."""
    play = task_play("web1", "nix_sign", {"path": path, "key_file": key})
    result = project.run_playbook(play, *arguments).assert_ok().result("nix_sign")
    assert result["changed"] == (result["signatures_added"] > 0)
    return int(result["signatures_added"])


def test_signatures(each_controller: Project) -> None:
    """An unprivileged user copies what a trusted key has signed, and nobody copies anything else with check_sigs."""
    lab, controller = each_controller.lab, each_controller.controller
    below, above = make_pair(each_controller.controller)
    refused = copy(each_controller, "web1:web2", above, check_sigs=True)
    for name in ("web1", "web2"):
        result = refusal(refused, name)
        assert "signature" in result["msg"]
        assert "check_sigs: false" in result["remedy"]
        assert not lab.hosts[name].has_path(below)

    key = f"/tmp/{secrets.token_hex(8)}"
    inside = ["docker", "exec", controller]
    run([*inside, "nix-store", "--generate-binary-cache-key", "test-1", key, f"{key}.pub"])
    assert sign(each_controller, key, above) == 2
    assert sign(each_controller, key, above) == 0
    public = run([*inside, "cat", f"{key}.pub"]).stdout.strip()
    trust = (
        f"cp -a /etc/nix/nix.conf /root/nix.conf; echo 'trusted-public-keys = {public}' >>/etc/nix/nix.conf; "
        f"{RESTART_DAEMON}"
    )
    restore = f"mv /root/nix.conf /etc/nix/nix.conf; {RESTART_DAEMON}"
    with on_host(lab.hosts["web1"], trust, restore), on_host(lab.hosts["web2"], trust, restore):
        unprivileged = {"ansible_user": "deploy"}
        done = copy(each_controller, "web1:web2", above, variables=unprivileged).assert_ok()
        _below, second = make_pair(each_controller.controller)
        assert sign(each_controller, key, second, "--check") == 2
        assert sign(each_controller, key, second) == 2
        assert sign(each_controller, key, second, "--check") == 0
        checked = copy(each_controller, "web1:web2", second, check_sigs=True).assert_ok()
    for name in ("web1", "web2"):
        assert done.result("Copy", name)["copied"] == [below, above]
        assert checked.result("Copy", name)["transport"] == "ssh"
        assert lab.hosts[name].has_path(second)


@pytest.mark.parametrize("connection", [{}, DOCKER], ids=["ssh", "docker"])
def test_an_untrusted_user_is_told_what_to_do(
    project: Project, host: LabHost, connection: dict[str, str]
) -> None:
    _below, above = make_pair()
    done = copy(project, host.name, above, variables={**connection, "ansible_user": "deploy"})
    result = refusal(done, host.name)
    assert f"{host.name}: copy failed" in result["msg"]
    assert "signature" in result["msg"]
    for way_out in ("become: true", "trusted-public-keys", "substituters"):
        assert way_out in result["remedy"]
    assert not host.has_path(above)


def test_a_password_login_uses_the_open_connection(project: Project, host: LabHost) -> None:
    # The name of such a path is the proof of its content, so nobody needs to be trusted.
    (project.directory / "greeting").write_text(secrets.token_hex(8))
    added = run(["nix-store", "--add", str(project.directory / "greeting")], environment=nix_environment())
    path = added.stdout.strip()
    variables = {"ansible_user": "admin", "ansible_password": LAB_PASSWORD}
    result = copy(project, host.name, path, variables=variables).assert_ok().result("Copy", host.name)
    assert (result["transport"], result["copied"]) == ("ssh", [path])


def test_a_password_login_without_multiplexing_streams(project: Project, host: LabHost) -> None:
    below, above = make_pair()
    variables = {**NO_MULTIPLEXING, **PASSWORD_AND_SUDO, "ansible_become_password": LAB_PASSWORD}
    result = copy(project, host.name, above, variables=variables).assert_ok().result("Copy", host.name)
    assert (result["transport"], result["copied"]) == ("stream", [below, above])


def test_a_jump_host(project: Project, lab: Lab) -> None:
    below, above = make_pair()
    target, bastion = lab.hosts["web1"], lab.hosts["web2"]
    jump = shlex.join([*bastion.ssh_command(), "-W", "%h:%p"])
    variables = {
        **KEY_AND_SUDO,
        "ansible_host": target.container,
        "ansible_port": 22,
        "ansible_ssh_extra_args": f"-o HostKeyAlias=[127.0.0.1]:{target.ssh_port} "
        f"-o ProxyCommand={shlex.quote(jump)}",
    }
    result = copy(project, "web1", above, variables=variables).assert_ok().result("Copy", "web1")
    assert (result["transport"], result["copied"]) == ("ssh", [below, above])
    assert target.has_path(above)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("connection", [{}, DOCKER], ids=["ssh", "docker"])
def test_compression(project: Project, host: LabHost, connection: dict[str, str], compress: bool) -> None:
    below, above = make_pair()
    done = copy(project, host.name, above, variables=connection, compress=compress).assert_ok()
    assert done.result("Copy", host.name)["copied"] == [below, above]
    assert host.ask(f"nix-store --verify-path {below} {above} && echo verified") == "verified"


@pytest.mark.parametrize("connection", [{}, DOCKER], ids=["ssh", "docker"])
def test_another_root(project: Project, host: LabHost, connection: dict[str, str]) -> None:
    below, above = make_pair()
    root = f"/mnt/{secrets.token_hex(4)}"
    options = {"variables": connection, "to_root": root}

    told = copy(project, host.name, above, "--check", **options).assert_ok()
    assert told.result("Copy", host.name)["copied"] == [below, above]
    assert host.execute(f"test -e {root}", check=False).returncode == 1

    done = copy(project, host.name, above, **options).assert_ok()
    assert done.result("Copy", host.name)["copied"] == [below, above]
    assert host.ask(f"cat {root}{above}/dependency") == below
    assert not host.has_path(above)

    again = copy(project, host.name, above, **options).assert_ok()
    assert again.result("Copy", host.name)["changed"] is False


@pytest.mark.parametrize("connection", [{}, DOCKER], ids=["ssh", "docker"])
def test_derivations(project: Project, host: LabHost, connection: dict[str, str]) -> None:
    """A derivation travels with what building it needs, is not built underway, and builds there."""
    below, above = make_pair()
    query = ["nix-store", "--query", "--deriver", above]
    derivation = run(query, environment=nix_environment()).stdout.strip()
    result = copy(project, host.name, derivation, variables=connection).assert_ok().result("Copy", host.name)
    assert result["copied"] == [below, derivation]
    assert not host.has_path(above)
    assert host.ask(f"nix-store --realise {derivation}") == above


def test_the_controller_itself(project: Project) -> None:
    below, above = make_pair()
    local = {"ansible_connection": "local"}
    root = str(project.directory / "new root")

    result = copy(project, "localhost", above, variables=local).assert_ok().result("Copy")
    assert (result["changed"], result["transport"]) == (False, "none")

    told = copy(project, "localhost", above, "--check", variables=local, to_root=root).assert_ok()
    assert told.result("Copy")["copied"] == [below, above]
    assert not Path(root).exists()

    result = copy(project, "localhost", above, variables=local, to_root=root).assert_ok().result("Copy")
    assert (result["transport"], result["copied"]) == ("local", [below, above])
    assert Path(f"{root}{above}/dependency").read_text().strip() == below
    run(["chmod", "-R", "u+w", root])

    unbuilt = f"/nix/store/{'0' * 32}-unbuilt"
    result = refusal(copy(project, "localhost", unbuilt, variables=local), "localhost")
    assert "is not valid" in result["msg"]
    assert "nix_build" in result["remedy"]


def test_from_a_cache_that_the_host_reads(project: Project, host: LabHost, tmp_path: Path) -> None:
    # The controller does not have the paths.
    elsewhere = project.lab.controller("forky")
    below, above = make_pair(elsewhere)
    place = f"/srv/cache-{secrets.token_hex(4)}"
    nix = ["nix", "--extra-experimental-features", "nix-command"]
    run(["docker", "exec", elsewhere, *nix, "copy", "--to", f"file://{place}", above])
    run(["docker", "cp", f"{elsewhere}:{place}", str(tmp_path / "cache")])
    run(["docker", "cp", str(tmp_path / "cache"), f"{host.container}:{place}"])
    options = {"from": f"file://{place}", "variables": KEY_AND_SUDO}

    told = copy(project, host.name, above, "--check", **options).assert_ok().result("Copy", host.name)
    assert {entry["path"] for entry in told["missing"]} == {below, above}
    assert not host.has_path(below)

    result = copy(project, host.name, above, **options).assert_ok().result("Copy", host.name)
    assert (result["transport"], set(result["copied"])) == ("fetch", {below, above})
    assert host.has_path(above)


@pytest.mark.parametrize(
    ("connection", "transport"), [({}, "ssh"), (DOCKER, "stream")], ids=["ssh", "docker"]
)
def test_from_another_host(project: Project, lab: Lab, connection: dict[str, str], transport: str) -> None:
    source, target = lab.hosts["web2"], lab.hosts["web1"]
    below, above = make_pair(source.container)
    *ssh, address = source.ssh_command()
    options: dict[str, Any] = {
        "from": f"ssh://{address}",
        "variables": connection,
        "environment": {"NIX_SSHOPTS": " ".join(ssh[1:])},
    }
    result = copy(project, "web1", above, **options).assert_ok().result("Copy", "web1")
    assert (result["transport"], set(result["copied"])) == (transport, {below, above})
    assert target.has_path(above)


class TestSubstituters:
    """A clean host each: what its nix.conf says is changed."""

    @pytest.mark.parametrize("variables", [{}, PASSWORD_AND_SUDO], ids=["ssh", "stream"])
    def test_the_host_fetches_what_it_can(
        self, project: Project, each_host: LabHost, variables: dict[str, Any]
    ) -> None:
        below, above = make_pair()
        cache = project.directory / "cache"
        argv = [
            "nix",
            "--extra-experimental-features",
            "nix-command",
            "copy",
            "--to",
            f"file://{cache}",
            below,
        ]
        run(argv, environment=nix_environment())
        run(["docker", "cp", str(cache), f"{each_host.container}:/srv/cache"])
        settings = r"substituters = file:///srv/cache\nrequire-sigs = false\n"
        each_host.execute(
            f"sed -i /^substituters/d /etc/nix/nix.conf; printf '{settings}' >>/etc/nix/nix.conf"
        )
        done = copy(project, each_host.name, above, variables=variables).assert_ok()
        result = done.result("Copy", each_host.name)
        assert (result["copied"], result["substituted"]) == ([above], [below])

    def test_substituters_that_do_not_answer_cost_seconds(self, project: Project, web2: LabHost) -> None:
        _below, above = make_pair()
        # Packets to this address vanish.
        web2.execute(
            "ip route add blackhole 198.51.100.0/24; sed -i /^substituters/d /etc/nix/nix.conf; "
            "echo 'substituters = http://198.51.100.1' >>/etc/nix/nix.conf"
        )
        for variables in ({}, PASSWORD_AND_SUDO):
            _below, above = make_pair()
            begin = time.monotonic()
            copy(project, "web2", above, variables=variables).assert_ok()
            assert time.monotonic() - begin < 30
            assert web2.has_path(above)


class TestHostsAsTheyAre:
    """Clean hosts that are then made difficult."""

    def test_a_login_script_that_talks(self, project: Project, each_host: LabHost) -> None:
        talk = "sed -i '1i echo Welcome to this host, said the shell' /root/.bashrc; chsh -s /bin/bash root; "
        each_host.execute(f"touch /root/.bashrc; [ -s /root/.bashrc ] || echo >/root/.bashrc; {talk}")
        assert "Welcome" in each_host.ssh("true").stdout
        below, above = make_pair()
        result = copy(project, each_host.name, above).assert_ok().result("Copy", each_host.name)
        assert (result["transport"], result["copied"]) == ("ssh", [below, above])

    def test_nix_that_is_not_on_the_search_path(self, project: Project, each_host: LabHost) -> None:
        place = "/nix/var/nix/profiles/default/bin"
        each_host.execute(f"mkdir -p {place}; mv /usr/bin/nix* {place}")
        below, above = make_pair()
        for variables in ({}, KEY_AND_SUDO, DOCKER):
            below, above = make_pair()
            result = copy(project, each_host.name, above, variables=variables).assert_ok()
            assert result.result("Copy", each_host.name)["copied"] == [below, above]
        each_host.execute(f"mv {place} /root/hidden")
        result = refusal(copy(project, each_host.name, above), each_host.name)
        assert "nix-store was not found on the host" in result["msg"]
        assert place in result["remedy"]

    def test_a_full_disk(self, project: Project, web2: LabHost) -> None:
        web2.execute("mkdir /small && mount -t tmpfs -o size=4m none /small")
        path = make_path("large", size=8 * MIB)
        for variables in ({}, DOCKER):
            result = refusal(copy(project, "web2", path, variables=variables, to_root="/small"), "web2")
            assert "the disk of the host is full" in result["msg"]
            assert "nix-collect-garbage" in result["remedy"]


# Goes before the real program on the search path. Ends every login of the user in the midst of the large path, once.
CUTTER = """#!/bin/sh
case "$*" in
*--serve* | *--import*)
    (
        until ls /var/tmp/nixferry-*/large.nar; do sleep 0.02; done
        mkdir /run/cut 2>/dev/null || exit 0
        pkill -KILL -u admin -x sshd
        pkill -KILL -u admin -x sshd-session
        pkill -KILL -f 'sshd.*: admin'
    ) </dev/null >/dev/null 2>&1 &
    ;;
esac
exec /usr/bin/nix-store "$@"
"""


def test_a_cut_connection_goes_on_where_it_was(project: Project, each_host: LabHost) -> None:
    """The stream through Ansible's own connection; with Nix' own ssh this is a row of the faults."""
    variables = PASSWORD_AND_SUDO
    first = make_path("first")
    large = make_path("large", size=120 * MIB, dependency=first)
    last = make_path("last", dependency=large)
    each_host.execute(
        f"cat >/usr/local/bin/nix-store <<'END'\n{CUTTER}END\nchmod 755 /usr/local/bin/nix-store"
    )
    done = copy(project, each_host.name, last, variables=variables).assert_ok()
    result = done.result("Copy", each_host.name)
    assert result["attempts"] == 2
    assert set(result["copied"]) == {first, large, last}
    assert "attempt 1 failed" in done.stderr + done.stdout
    assert each_host.ask(f"nix-store --verify-path {first} {large} {last} && echo verified") == "verified"
    assert each_host.ask("ls -d /tmp/nixferry* /var/tmp/nixferry* 2>/dev/null || true") == ""


def test_a_host_that_is_down(project: Project) -> None:
    _below, above = make_pair()
    begin = time.monotonic()
    done = copy(project, "web1", above, variables={"ansible_port": 1})
    assert [entry.status for entry in done.find("Copy")] == ["unreachable"]
    result = done.result("Copy")
    assert "Connection refused" in result["msg"]
    assert time.monotonic() - begin < 20


MEASURE = """
import json, resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode
print(json.dumps([code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""


@pytest.mark.parametrize("compress", [True, False])
def test_a_large_path_needs_no_memory(project: Project, lab: Lab, compress: bool) -> None:
    size = 256 * MIB
    path = make_path("large", size=size)
    play = [
        {
            "hosts": "web2",
            "gather_facts": False,
            "tasks": [{"nixferry.deploy.nix_copy": {"path": path, "compress": compress}}],
        }
    ]
    argv, settings = project.prepare(play, variables=DOCKER)
    measured = run([sys.executable, "-c", MEASURE, *argv], environment=settings, directory=project.directory)
    code, kibibytes = json.loads(measured.stdout)
    assert code == 0
    assert lab.hosts["web2"].has_path(path)
    assert kibibytes * 1024 < size * 3 / 4


def test_secrets_stay_off_the_process_list(project: Project, lab: Lab) -> None:
    """Neither of the passwords shows in an argument or an environment variable of any process meanwhile."""
    path = make_path("large", size=40 * MIB)
    play = [{"hosts": "web2", "gather_facts": False, "tasks": [{"nixferry.deploy.nix_copy": {"path": path}}]}]
    login, become = secrets.token_hex(16), secrets.token_hex(16)
    host = lab.hosts["web2"]
    prepare = f"printf 'admin:{login}\\n' | chpasswd"
    with on_host(host, prepare, f"printf 'admin:{LAB_PASSWORD}\\n' | chpasswd"):
        project.write(
            "group_vars/all.yml",
            json.dumps({**PASSWORD_AND_SUDO, "ansible_password": login, "ansible_become_password": login}),
        )
        argv, settings = project.prepare(play)
        seen: set[str] = set()
        with subprocess.Popen(
            argv,
            cwd=project.directory,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as running:
            while running.poll() is None:
                seen.update(_process_texts())
        assert running.returncode == 0
    assert host.has_path(path)
    assert any("ssh" in text for text in seen)
    assert not [text for text in seen if login in text or become in text]


def _process_texts() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                yield (process / name).read_text(errors="replace")
            except OSError:
                continue
