# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builders registered and checked for real: hosts of the lab build, controllers are their clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from builder_pair import KEY_FILE, Pair, execute, run_module
from guides import guide_blocks
from hosts import CONTROLLERS
from lab import REPOSITORY, Lab, run
from project import Project, make_project

PAGE = REPOSITORY / "docs/docsite/rst/nix_installation.rst"
OTHER_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDbnVCLVTWWnH0zhWQvKs9G9rlYTGdoQw3oXKsoaeLfi"
RESTART = "systemctl reset-failed nix-daemon.service nix-daemon.socket; systemctl restart nix-daemon.service"
FOREIGN = "# The office: leave it alone.\nssh://office aarch64-linux - 2\n"
# A kernel that runs programs for other processors has an emulator for all containers.
BINFMT = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Iterator[Pair]:
    """A client with Nix 2.26 and a builder with the same."""
    lab.hosts["web2"].make_anew()
    made = Pair(lab.controller("trixie"), lab.hosts["web2"])
    clean = f"rm -rf /etc/nix/machines /etc/nix/big_* /etc/ssh/ssh_config.d/100-* {KEY_FILE}*"
    execute(made.client, clean)
    yield made.prepare()
    for release in CONTROLLERS:
        execute(lab.controller(release), clean)


@pytest.fixture
def project(pair: Pair, lab: Lab, tmp_path: Path) -> Project:
    """A user's project whose only host is the client."""
    made = make_project(tmp_path / "project", lab)
    variables = {
        "ansible_connection": "community.docker.docker",
        "ansible_host": pair.client,
        "ansible_python_interpreter": "/usr/bin/python3",
        # Root already, without sudo.
        "ansible_become": False,
    }
    made.write("inventory.yml", json.dumps({"all": {"hosts": {"client": variables}}}))
    configuration = made.directory / "ansible.cfg"
    made.write("ansible.cfg", f"{configuration.read_text()}[connection]\npipelining = True\n")
    return made


def test_a_playbook_registers_checks_and_forgets(pair: Pair, project: Project) -> None:
    execute(pair.client, f"printf '%s' '{FOREIGN}' >/etc/nix/machines")
    everything = "cat /etc/nix/machines; ls /etc/ssh/ssh_config.d"
    before = execute(pair.client, everything)
    tasks = [
        {"nixferry.deploy.nix_builder": {**pair.options, "max_jobs": 4}, "name": "Register"},
        {
            "nixferry.deploy.nix_builder_check": {"name": "big"},
            "when": "not ansible_check_mode",
            "name": "Check",
        },
        {"nixferry.deploy.nix_info": {}, "name": "Look"},
    ]
    play = [{"hosts": "client", "gather_facts": False, "tasks": tasks}]

    told = project.run_playbook(play, "--check", "--diff").assert_ok()
    assert told.result("Register")["changed"]
    assert execute(pair.client, everything) == before
    first = project.run_playbook(play).assert_ok()

    assert (
        execute(pair.client, "cat /etc/nix/machines") + "\n"
        == FOREIGN + first.result("Register")["line"] + "\n"
    )
    checked = first.result("Check")
    assert [step["check"] for step in checked["steps"]] == [
        *("file", "key", "login", "store", "smoke", "trust", "emulation")
    ]
    assert checked["trusted"] is True
    assert checked["systems"]["x86_64-linux"]["host"] == "web2"
    assert checked["systems"]["x86_64-linux"]["sandboxed"] is False
    assert [builder["name"] for builder in first.result("Look")["builders"]] == ["office", "big"]
    assert not project.run_playbook(play).assert_ok().changed("client")
    forget = [{"nixferry.deploy.nix_builder": {"name": "big", "state": "absent"}, "name": "Forget"}]
    project.run_playbook([{**play[0], "tasks": forget}]).assert_ok()
    assert execute(pair.client, everything) == before
    execute(pair.client, "rm /etc/nix/machines")


def test_the_page_works_as_it_stands_there(pair: Pair, project: Project) -> None:
    """The plays of the page, with the lab's address and keys in the place of the page's."""
    settings, builder = (
        block for block in guide_blocks(PAGE) if block.startswith(("# settings.yml", "# builder.yml"))
    )
    done = project.run_playbook(settings).assert_ok()
    assert done.result("Keep them")["effective"]["builders-use-substitutes"] == "true"
    assert not project.run_playbook(settings).assert_ok().changed("client")
    run_module(pair.client, "nix_conf", {"state": "absent"})

    execute(pair.client, f"cp {KEY_FILE} /etc/nix/big_ed25519; cp {KEY_FILE}.pub /etc/nix/big_ed25519.pub")
    for there, here in (
        ("192.0.2.20", pair.builder.container),
        ("[x86_64-linux, aarch64-linux]", "[x86_64-linux]"),
        (OTHER_HOST_KEY, pair.options["host_public_key"]),
    ):
        assert there in builder
        builder = builder.replace(there, here)
    done = project.run_playbook(builder).assert_ok()
    assert done.result("See whether it builds")["trusted"] is True
    assert not project.run_playbook(builder).assert_ok().changed("client")


@pytest.mark.parametrize("protocol", ["ssh-ng", "ssh"])
@pytest.mark.parametrize("release", CONTROLLERS)
def test_every_nix_builds_over_both_protocols(pair: Pair, lab: Lab, release: str, protocol: str) -> None:
    other = Pair(lab.controller(release), pair.builder).prepare()
    other.register(protocol=protocol, speed_factor=2)
    checked = other.check()
    assert not checked.get("failed"), checked
    assert checked["systems"]["x86_64-linux"]["emulated"]
    assert checked["systems"]["x86_64-linux"]["host"] == "web2"


def test_a_nix_that_takes_whole_numbers_gets_no_other(pair: Pair, lab: Lab) -> None:
    options = {**pair.options, "speed_factor": 1.5}
    refused = run_module(lab.controller("bookworm"), "nix_builder", options, check=True)
    assert "whole numbers only" in refused["msg"]
    assert not run_module(lab.controller("trixie"), "nix_builder", options, check=True).get("failed")


class Row(NamedTuple):
    """What is done to the builder and to the client, how the builder is registered, and what puts the builder back."""

    code: str
    step: str
    builder: str = ""
    back: str = ""
    client: str = ""
    options: dict[str, object] = {}  # noqa: RUF012 # never changed
    checks: list[str] | None = None


NIX_CONF = "/etc/nix/nix.conf"
ROWS = [
    Row(
        "host_key_unknown",
        "login",
        client="sed -i 's/ [^ ]*$//' /etc/nix/machines; : >/etc/nix/big_known_hosts",
    ),
    Row("host_key_changed", "login", options={"host_public_key": OTHER_HOST_KEY}),
    Row("key_permissions", "key", client=f"chmod 0644 {KEY_FILE}"),
    Row("key_missing", "key", options={"ssh_key_file": "/etc/nix/none"}),
    Row(
        "key_stale_public",
        "key",
        client=f"rm -f /tmp/o; ssh-keygen -q -t ed25519 -N '' -f /tmp/o; mv /tmp/o.pub {KEY_FILE}.pub; rm /tmp/o",
    ),
    Row("key_refused", "login", builder=": >/home/builder/.ssh/authorized_keys"),
    Row("unresolved", "login", options={"host": "nowhere.invalid"}),
    Row("refused", "login", options={"port": 23}),
    Row("no_program", "store", builder="mv /usr/bin/nix-daemon /root/", back="mv /root/nix-daemon /usr/bin/"),
    Row(
        "no_shell", "login", builder="usermod -s /usr/sbin/nologin builder", back="usermod -s /bin/sh builder"
    ),
    Row(
        "chatty_shell",
        "login",
        builder="echo 'echo hello' >/home/builder/.bashrc; usermod -s /bin/bash builder",
        back="usermod -s /bin/sh builder; rm /home/builder/.bashrc",
    ),
    Row(
        "wrong_protocol",
        "store",
        builder="sed -i 's/^/command=\"nix-store --serve --write\" /' /home/builder/.ssh/authorized_keys",
    ),
    Row(
        "daemon_down",
        "store",
        builder="systemctl stop nix-daemon.socket nix-daemon.service",
        back="systemctl start nix-daemon.socket",
    ),
    Row(
        "socket_group",
        "store",
        builder="gpasswd -d builder nix-users",
        back="gpasswd -a builder nix-users",
    ),
    Row(
        "untrusted",
        "trust",
        builder=f"sed -i /extra-trusted/d {NIX_CONF}; {RESTART}",
        back=f"echo 'extra-trusted-users = builder' >>{NIX_CONF}; {RESTART}",
    ),
    Row("builder_mismatch", "smoke", options={"systems": ["riscv64-linux"]}),
    Row("client_mismatch", "smoke", options={"mandatory_features": ["kvm"]}),
    Row(
        "emulation",
        "emulation",
        builder=f"echo 'extra-platforms = aarch64-linux' >>{NIX_CONF}; {RESTART}",
        back=f"sed -i /extra-platforms/d {NIX_CONF}; {RESTART}",
        options={"systems": ["aarch64-linux"]},
    ),
    Row(
        "sandbox",
        "smoke",
        builder=f"sed -i 's/^sandbox = .*/sandbox = true\\nsandbox-fallback = false/' {NIX_CONF}; {RESTART}",
        back=f"sed -i '/^sandbox-fallback/d; s/^sandbox = .*/sandbox = false/' {NIX_CONF}; {RESTART}",
    ),
    Row("no_sandbox", "sandbox", checks=["smoke", "sandbox"]),
    Row("not_registered", "file", client="rm /etc/nix/machines"),
    Row("machines_syntax", "file", client="echo 'ssh://office - - auto' >>/etc/nix/machines"),
    Row("not_effective", "file", client=f"echo 'builders =' >>{NIX_CONF}"),
]


@pytest.mark.parametrize("row", ROWS, ids=[row.code for row in ROWS])
def test_every_failure_is_told_by_its_cause(pair: Pair, row: Row) -> None:
    """Where the check stops, what it names as the cause, and that it works again once the cause is gone."""
    public = execute(pair.client, f"chmod 0600 {KEY_FILE}; ssh-keygen -y -f {KEY_FILE} | tee {KEY_FILE}.pub")
    pair.authorize(public)
    pair.register(**row.options)
    if row.client:
        execute(pair.client, f"cp {NIX_CONF} /root/; {row.client}")
    if row.builder:
        pair.builder.execute(row.builder)
    try:
        found = pair.check(**({"checks": row.checks} if row.checks else {}))
    finally:
        if row.back:
            pair.builder.execute(row.back)
        if row.client:
            execute(pair.client, f"cat /root/nix.conf >{NIX_CONF}; rm -f /etc/nix/machines")
    if row.code == "emulation" and BINFMT.exists():
        pytest.skip("this machine's kernel runs programs for that processor")
    assert found.get("failed"), found
    assert (found["code"], found["steps"][-1]["check"]) == (row.code, row.step), found
    assert not found["steps"][-1]["ok"]
    assert all(step["ok"] for step in found["steps"][:-1])
    assert found["remedy"] in found["msg"]


def test_a_builder_that_hangs_does_not_hold_up_the_check(pair: Pair) -> None:
    pair.register()
    run(["docker", "pause", pair.builder.container])
    try:
        found = pair.check(connect_timeout=2)
    finally:
        run(["docker", "unpause", pair.builder.container])
    assert (found["code"], found["steps"][-1]["check"]) == ("timeout", "login")


@pytest.mark.parametrize("release", CONTROLLERS)
def test_settings_of_every_nix(lab: Lab, release: str) -> None:
    """Set, seen by Nix, refused without a trace, removed without a trace."""
    client = lab.controller(release)
    before = execute(client, "cat /etc/nix/nix.conf")
    settings = {"max-jobs": 3, "extra-trusted-users": ["alice", "@wheel"], "keep-outputs": True, "frob": 1}

    told = run_module(client, "nix_conf", {"settings": settings}, check=True, diff=True)
    assert (told["changed"], told["in_effect"]) == (True, False)
    done = run_module(client, "nix_conf", {"settings": settings}, diff=True)
    assert done["diff"] == told["diff"]
    assert done["effective"]["trusted-users"] == "root alice @wheel"
    assert (done["unknown_settings"], done["in_effect"]) == (["frob"], True)
    asked = "nix --extra-experimental-features nix-command"
    assert (
        "keep-outputs = true" in execute(client, f"{asked} config show || {asked} show-config").splitlines()
    )
    assert not run_module(client, "nix_conf", {"settings": settings})["changed"]

    refused = run_module(client, "nix_conf", {"settings": {"max-jobs": "many"}})
    assert "Nix refuses" in refused["msg"]
    assert "max-jobs = 3" in execute(client, "cat /etc/nix/nixferry.conf")
    gone = run_module(client, "nix_conf", {"state": "absent"})
    assert gone["changed"]
    assert execute(client, "cat /etc/nix/nix.conf; ls /etc/nix/nixferry.conf 2>/dev/null || true") == before


def test_settings_where_determinate_keeps_nix_conf(lab: Lab) -> None:
    """The include goes to the file that is meant for it; what nix.conf says later wins, and that is an error."""
    client = lab.controller("trixie")
    directory = "/root/determinate"
    execute(
        client,
        f"mkdir -p {directory}; printf '!include nix.custom.conf\\ncores = 7\\n' >{directory}/nix.conf",
    )
    try:
        refused = run_module(client, "nix_conf", {"settings": {"cores": 3}, "config_dir": directory})
        assert "cores would not take effect" in refused["msg"]
        assert execute(client, f"ls {directory}") == "nix.conf"
        done = run_module(client, "nix_conf", {"settings": {"max-jobs": 3}, "config_dir": directory})
        assert done["included_from"] == f"{directory}/nix.custom.conf"
        assert done["effective"] == {"max-jobs": "3"}
        assert execute(client, f"cat {directory}/nix.conf") == "!include nix.custom.conf\ncores = 7"
    finally:
        execute(client, f"rm -r {directory}")


def test_settings_where_the_system_makes_nix_conf(lab: Lab) -> None:
    client = lab.controller("trixie")
    directory = "/root/generated"
    link = f"/nix/store/{'a' * 32}-etc/nix.conf"
    execute(
        client,
        f"mkdir -p {directory} {link.rpartition('/')[0]}; : >{link}; ln -s {link} {directory}/nix.conf",
    )
    try:
        result = run_module(client, "nix_conf", {"settings": {"max-jobs": 3}, "config_dir": directory})
        assert (result["changed"], result["managed_by"], result["in_effect"]) == (False, "nixos", False)
        assert result["snippet"] == '{\n  nix.settings."max-jobs" = 3;\n}\n'
        assert execute(client, f"ls {directory}") == "nix.conf"
    finally:
        execute(client, f"rm -r {directory} {link.rpartition('/')[0]}")
