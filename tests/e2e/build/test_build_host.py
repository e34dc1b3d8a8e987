# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One host of the inventory builds, another one gets it."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import Lab, LabHost, nix_environment, run
from plays import SWITCH, deploy_play
from project import Project, make_project


def with_hosts(project: Project, **hosts: dict[str, Any]) -> None:
    """Change hosts of the project's inventory, or add some."""
    inventory = yaml.safe_load((project.directory / "inventory.yml").read_text())
    for name, variables in hosts.items():
        known = inventory["lab"]["hosts"].setdefault(name, {})
        known.update(variables)
    project.write("inventory.yml", yaml.safe_dump(inventory))


def built_here(derivation: str) -> bool:
    """Whether this machine, which is the controller, has the log of a build."""
    argv = ["nix-store", "--read-log", derivation]
    return run(argv, check=False, environment=nix_environment()).returncode == 0


def test_what_one_host_has_built_is_deployed_to_another(
    web2: LabHost, web3: LabHost, project: Project
) -> None:
    """Through sudo on the build host, which builds for itself too; the second run has nothing to do."""
    with_hosts(
        project,
        web2={"nixos_build_on": "web3"},
        web3={"nixos_build_on": "target", "ansible_user": "deploy", "ansible_become": True},
    )
    version = secrets.token_hex(4)
    project.describe_hosts({"web2": {"version": version}, "web3": {"version": version}})
    play = deploy_play("web2,web3", file="systems/default.nix", attr="{host}")

    planned = project.run_playbook(play, "--check", "--limit", "web2").assert_ok()
    told = planned.result("nix_build")["hosts"]["web2"]
    assert told["would_build"] == [told["drv_path"]]
    assert not web3.has_path(told["drv_path"])
    done = project.run_playbook(play).assert_ok()

    for host in (web2, web3):
        assert done.result(SWITCH, host.name)["outcome"] == "committed"
        assert host.http("/version") == (200, version)
    assert "building web2 on web3" in done.stdout + done.stderr
    made = done.result("nix_build", "web2")["hosts"]["web2"]
    assert (made["built"], made["toplevel"]) == (True, web2.current_system())
    # Who has built it has the log of it.
    web3.ask(f"nix-store --read-log {made['drv_path']} >/dev/null")
    assert not built_here(made["drv_path"])
    again = project.run_playbook(play).assert_ok()
    assert (again.changed("web2"), again.changed("web3")) == ([], [])


@pytest.mark.parametrize("release", ["bookworm", "forky"], ids=["nix-2.8", "nix-2.34"])
def test_every_controller_gets_what_any_nix_has_built(
    lab: Lab, web1: LabHost, web3: LabHost, tmp_path: Path, release: str
) -> None:
    """Over ssh, where Nix 2.8 and 2.26 build."""
    project = make_project(tmp_path / "project", lab, lab.controller(release))
    systems = {name: {"version": secrets.token_hex(4)} for name in ("web1", "web3")}
    project.describe_hosts(systems)
    tasks = [
        {
            "name": f"on {name}",
            "nixferry.deploy.nix_build": {
                "file": "systems/default.nix",
                "attr": f"{name}.config.system.build.toplevel",
                "build_on": name,
            },
            "delegate_to": name,
        }
        for name in systems
    ]
    done = project.run_playbook([{"hosts": "web2", "gather_facts": False, "tasks": tasks}]).assert_ok()
    for name, host in (("web1", web1), ("web3", web3)):
        made = done.result(f"on {name}")
        host.ask(f"nix-store --read-log {made['drv_path']} >/dev/null")
        run(["docker", "exec", project.controller, "nix-store", "--check-validity", made["toplevel"]])


def test_a_connection_that_carries_text_and_what_goes_wrong(web3: LabHost, project: Project) -> None:
    container = {"ansible_connection": "community.docker.docker", "ansible_host": web3.container}
    with_hosts(project, boxed=container, gone={"ansible_host": "127.0.0.1", "ansible_port": 1})
    salt = secrets.token_hex(8)
    expression = (
        'derivation { name = "NAME"; system = builtins.currentSystem; builder = "/bin/sh"; PATH = "/bin:/usr/bin"; '
        f'args = [ "-c" "COMMAND" ]; salt = "{salt}"; }}'
    )

    def task(name: str, command: str, place: str, **keywords: Any) -> dict[str, Any]:
        expr = expression.replace("NAME", name).replace("COMMAND", command)
        return {
            "name": name,
            "nixferry.deploy.nix_build": {"expr": expr, "build_on": place},
            "ignore_errors": True,
            "delegate_to": place,
            **keywords,
        }

    # Every byte, and more than one piece of text.
    large = "head -c 3000000 /dev/urandom >$out"
    tasks = [
        task("large", large, "boxed"),
        task("broken", "echo undefined reference; exit 3", "boxed"),
        task("nowhere", "echo >$out", "gone"),
        task("elsewhere", "echo >$out", "boxed", delegate_to="localhost"),
    ]
    done = project.run_playbook([{"hosts": "web2", "gather_facts": False, "tasks": tasks}]).assert_ok()

    path = done.result("large")["toplevel"]
    digest = run(["nix-store", "--query", "--hash", path], environment=nix_environment()).stdout
    assert digest == web3.ask(f"nix-store --query --hash {path}") + "\n"
    broken = done.result("broken")
    assert "web2: build on boxed failed: " in broken["msg"]
    assert broken["output"] == ["undefined reference"]
    nowhere = done.find("nowhere")[0]
    assert nowhere.status == "ignored"
    assert "the build host gone cannot be reached" in nowhere.result["msg"]
    assert nowhere.result["remedy"]
    assert "Add `delegate_to: boxed`" in done.result("elsewhere")["remedy"]
    # Nothing is left of what was handed over.
    assert web3.ask("ls /var/tmp | grep nixferry || true") == ""


# What a build host in the hands of an attacker would run as nix-store.
HOSTILE = """#!/bin/sh
case $* in
    --query*-lists*) %(real)s "$@" && echo %(evil)s ;;
    --export*-sends*) exec %(real)s "$@" %(evil)s ;;
    *) exec %(real)s "$@" ;;
esac
"""


def test_a_build_host_cannot_add_what_was_not_asked_for(web3: LabHost, project: Project) -> None:
    """Neither by a closure that it invents nor by more data than was asked for, over both ways."""
    boxed = {"ansible_connection": "community.docker.docker", "ansible_host": web3.container}
    with_hosts(project, boxed=boxed)
    salt = secrets.token_hex(8)
    evil = web3.ask(f"echo {salt} >/tmp/evil && nix-store --add /tmp/evil")
    real = web3.ask("command -v nix-store")
    assert real != "/usr/local/bin/nix-store"

    def task(name: str, place: str) -> dict[str, Any]:
        expression = (
            f'derivation {{ name = "{name}"; system = builtins.currentSystem; builder = "/bin/sh"; '
            f'args = [ "-c" "echo {name} >$out" ]; salt = "{salt}"; }}'
        )
        build = {"expr": expression, "build_on": place}
        return {"name": name, "nixferry.deploy.nix_build": build, "ignore_errors": True, "delegate_to": place}

    tasks = [task("text-lists", "boxed"), task("text-sends", "boxed"), task("ssh-lists", "web3")]
    script = HOSTILE % {"real": real, "evil": evil}
    web3.ask(f"cat >/usr/local/bin/nix-store <<'END'\n{script}END\nchmod 755 /usr/local/bin/nix-store")
    try:
        done = project.run_playbook([{"hosts": "web2", "gather_facts": False, "tasks": tasks}]).assert_ok()
    finally:
        web3.ask("rm /usr/local/bin/nix-store")

    for name in ("text-lists", "ssh-lists"):
        assert f"wants to add {evil}, which the build does not make" in done.result(name)["msg"]
    assert f"the export contains {evil}, which was not asked for" in done.result("text-sends")["msg"]
    for name in (task["name"] for task in tasks):
        assert done.result(name)["toplevel"] is None
    check = ["nix-store", "--check-validity", evil]
    assert run(check, check=False, environment=nix_environment()).returncode != 0
