# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds with every Nix that a controller may have, and builds on the hosts themselves."""

from __future__ import annotations

import os
import secrets
import subprocess
from typing import Any

from lab import LabHost
from processes import wait_until
from project import PlaybookRun, Project

FLEET = """
let
  derive = name: script: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
    salt = "SALT";
  };
  libbroken = derive "libbroken" "echo compiling; echo 'undefined reference' >&2; exit 3";
in
{ version ? "1" }:
{
  web1 = derive "web1-${version}" "echo hello; echo >$out";
  web2.config.system.build.toplevel = derive "web2" "echo >$out";
  web3 = throw "no such luck";
  needs = derive "needs" "echo ${libbroken} >$out";
  foreign = derivation { name = "foreign-SALT"; system = "riscv64-linux"; builder = "/bin/sh"; };
}
"""
FLAKE = """
{ outputs = { self }: { hosts = import ./fleet.nix { }; nixosConfigurations = import ./fleet.nix { }; }; }
"""


def write_fleet(project: Project) -> None:
    text = FLEET.replace("SALT", secrets.token_hex(8))
    project.write("fleet.nix", text)
    # A flake is evaluated without knowing the system that it is evaluated on.
    project.write("flake/fleet.nix", text.replace("builtins.currentSystem", '"x86_64-linux"'))
    project.write("flake/flake.nix", FLAKE)


def run_tasks(project: Project, tasks: list[dict[str, Any]], *flags: str, host: str = "web1") -> PlaybookRun:
    return project.run_playbook([{"hosts": host, "gather_facts": False, "tasks": tasks}], *flags)


def test_each_nix_on_the_controller_builds(each_controller: Project) -> None:
    write_fleet(each_controller)
    hosts = ["web1", "web2", "web3", "needs", "foreign"]
    fleet = {"file": "fleet.nix", "attr": "{host}", "hosts": hosts, "args": {"version": "7"}, "evaluators": 2}
    ran = run_tasks(
        each_controller,
        [
            {"name": "plan", "nixferry.deploy.nix_build": fleet, "check_mode": True},
            {"name": "file", "nixferry.deploy.nix_build": fleet},
            {"name": "again", "nixferry.deploy.nix_build": fleet},
            {
                "name": "flake",
                "nixferry.deploy.nix_build": {
                    "flake": "./flake#hosts.{host}",
                    "hosts": hosts,
                    "evaluators": 2,
                },
            },
            {"name": "system", "nixferry.deploy.nix_build": {"flake": "./flake#nixosConfigurations.web2"}},
        ],
    ).assert_ok()

    planned = ran.result("plan")["hosts"]
    assert planned["web1"]["would_build"] == [planned["web1"]["drv_path"]]
    assert len(planned["needs"]["would_build"]) == 2
    for task in ("file", "flake"):
        result = ran.result(task)
        assert result["failed_hosts"] == ["web3", "needs", "foreign"]
        parts = result["hosts"]
        assert parts["web1"]["built"]
        assert not parts["web2"]["failed"]
        assert parts["web1"]["toplevel"].endswith("-web1-7" if task == "file" else "-web1-1")
        assert parts["web3"]["msg"].startswith("web3: evaluate failed: no such luck\n")
        assert parts["needs"]["output"] == ["compiling", "undefined reference"]
        assert "libbroken.drv" in parts["needs"]["msg"]
        assert "riscv64-linux" in parts["foreign"]["msg"]
    assert not ran.result("again")["changed"]
    # The same attribute of the same flake, this time found as a system.
    assert ran.result("system")["toplevel"] == ran.result("flake")["hosts"]["web2"]["toplevel"]


def test_the_host_builds_for_itself(project: Project, each_host: LabHost) -> None:
    write_fleet(project)
    task = {
        "name": "build",
        "nixferry.deploy.nix_build": {"file": "fleet.nix", "attr": "web1", "build_on": "target"},
    }

    def once(*flags: str) -> dict[str, Any]:
        return run_tasks(project, [task], *flags, host=each_host.name).assert_ok().result("build")

    planned = once("--check")
    assert planned["changed"]
    assert planned["would_build"] == [planned["drv_path"]]
    assert not each_host.has_path(planned["toplevel"])
    assert not each_host.has_path(planned["drv_path"])
    made = once()
    assert (made["changed"], made["built"]) == (True, True)
    assert made["toplevel"] == planned["toplevel"]
    assert each_host.has_path(made["toplevel"])
    again, planned_again = once(), once("--check")
    assert not again["changed"]
    assert not planned_again["changed"]


def test_a_build_that_fails_on_the_host_is_explained(project: Project, each_host: LabHost) -> None:
    write_fleet(project)
    task = {
        "name": "build",
        "nixferry.deploy.nix_build": {"file": "fleet.nix", "attr": "needs", "build_on": "target"},
    }
    ran = run_tasks(project, [task], host=each_host.name)
    assert ran.return_code == 2
    result = ran.result("build")
    assert result["step"] == "build"
    assert "libbroken.drv" in result["msg"]
    assert result["output"] == ["compiling", "undefined reference"]
    assert result["toplevel"] is None


def test_a_user_with_sudo_builds_on_the_host(project: Project, web2: LabHost) -> None:
    write_fleet(project)
    task = {
        "name": "build",
        "nixferry.deploy.nix_build": {"file": "fleet.nix", "attr": "web1", "build_on": "target"},
    }
    play = {
        "hosts": "web2",
        "gather_facts": False,
        "become": True,
        "vars": {"ansible_user": "deploy"},
        "tasks": [task],
    }
    made = project.run_playbook([play]).assert_ok().result("build")
    assert made["built"]
    assert web2.has_path(made["toplevel"])


def sleepers(host: LabHost) -> str:
    """Command lines of the processes on the host that sleep for ten minutes."""
    lines = "for each in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$each; echo; done 2>/dev/null"
    return host.ask(f"{lines} | grep '[s]leep 600' || :")


def test_a_build_on_the_host_has_a_deadline(project: Project, web2: LabHost) -> None:
    write_fleet(project)
    expression = (
        'derivation { name = "slow"; system = builtins.currentSystem; builder = "/bin/sh"; '
        f'args = [ "-c" "echo begun; sleep 600" ]; PATH = "/bin:/usr/bin"; salt = "{secrets.token_hex(8)}"; }}'
    )
    task = {
        "name": "build",
        "nixferry.deploy.nix_build": {"expr": expression, "build_on": "target", "timeout": 15},
    }
    argv, environment = project.prepare([{"hosts": "web2", "gather_facts": False, "tasks": [task]}])
    playbook = subprocess.Popen(
        argv,
        cwd=project.directory,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: "sleep 600" in sleepers(web2), deadline=30, what="the build begins")
    stdout, stderr = playbook.communicate(timeout=60)
    ran = project.collect(subprocess.CompletedProcess(argv, playbook.returncode, stdout, stderr))
    assert ran.return_code == 2
    assert "the timeout for the build expired" in ran.result("build")["msg"]
    wait_until(lambda: sleepers(web2) == "", deadline=30, what="the build ends")
