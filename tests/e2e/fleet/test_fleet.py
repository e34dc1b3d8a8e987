# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several hosts at once, several controllers, and hosts that fail in the middle of others that do not."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from lab import LabHost
from plays import BROKEN_BUILD, BUILD, SWITCH, defaults, deploy_play
from project import Project


@pytest.mark.parametrize("source", ["flake", "file"])
def test_every_controller_deploys_to_every_host(
    each_controller: Project, web1: LabHost, web2: LabHost, source: str
) -> None:
    project = each_controller
    project.describe_hosts({"web1": {"version": "2"}, "web2": {"version": "2"}})
    variables: dict[str, Any] = (
        {"flake": f"path:{project.root}/systems"}
        if source == "flake"
        else {"file": "systems/default.nix", "attr": "{host}"}
    )
    play = deploy_play("web1,web2", **variables)
    run = project.run_playbook(play).assert_ok()
    for host in (web1, web2):
        assert run.result(SWITCH, host.name)["outcome"] == "committed"
        assert host.current_system() == host.boot_default() == host.profile()
        assert host.http("/version") == (200, "2")
    again = project.run_playbook(play).assert_ok()
    assert again.changed("web1") == again.changed("web2") == []


def test_a_host_that_fails_to_build_and_one_that_is_gone_leave_the_third_alone(
    web1: LabHost, web2: LabHost, web3: LabHost, project: Project
) -> None:
    stock = web1.current_system()
    project.describe_hosts({"web1": BROKEN_BUILD, "web2": {"version": "2"}, "web3": {"version": "2"}})
    web2.power_cut()
    try:
        run = project.run_playbook(deploy_play("web1,web2,web3", file="systems/default.nix", attr="{host}"))
    finally:
        web2.power_on()
    assert run.return_code != 0
    assert {entry.status for entry in run.results if entry.host == "web2"} >= {"unreachable"}
    failure = next(entry for entry in run.results if entry.host == "web1" and entry.status == "failed")
    assert "web1" in failure.result["msg"]
    assert "build" in failure.result["msg"]
    assert web3.http("/version") == (200, "2")
    assert web3.current_system() == web3.boot_default() == web3.profile()
    assert web1.current_system() == web2.current_system() == stock
    recap = run.stdout[run.stdout.index("PLAY RECAP") :]
    assert [line.split()[0] for line in recap.splitlines() if "unreachable=1" in line] == ["web2"]
    assert [line.split()[0] for line in recap.splitlines() if "failed=1" in line] == ["web1"]


@pytest.mark.usefixtures("web1")
def test_a_host_that_fails_to_evaluate_fails_alone(web2: LabHost, project: Project) -> None:
    project.describe_hosts({"web1": {"no_such_option": 1}, "web2": {"version": "2"}})
    run = project.run_playbook(deploy_play("web1,web2", flake=f"path:{project.root}/systems"))
    assert run.return_code != 0
    failure = next(entry for entry in run.results if entry.host == "web1" and entry.status == "failed")
    assert "host 'web1' has no option 'no_such_option'" in failure.result["msg"]
    assert "evaluate" in failure.result["msg"]
    assert web2.http("/version") == (200, "2")
    assert len(run.find(BUILD)) >= 1


def test_a_template_in_the_play_names_each_host_its_own_system(
    web1: LabHost, web2: LabHost, project: Project
) -> None:
    """The build runs once, for all hosts; it must not see the first host's variables only."""
    project.describe_hosts({"web1": {"version": "one"}, "web2": {"version": "two"}})
    play = deploy_play("web1,web2", file="systems/default.nix", attr="{{ inventory_hostname }}")
    project.run_playbook(play).assert_ok()
    assert web1.http("/version") == (200, "one")
    assert web2.http("/version") == (200, "two")


def test_serial_limit_and_the_free_strategy(web1: LabHost, web2: LabHost, project: Project) -> None:
    hosts = (web1, web2)
    for version, keywords, arguments in (
        ("serial", {"serial": 1}, []),
        ("free", {"strategy": "ansible.builtin.free"}, []),
    ):
        project.describe_hosts({host.name: {"version": version} for host in hosts})
        play = deploy_play("web1,web2", keywords, file="systems/default.nix", attr="{host}")
        project.run_playbook(play, *arguments).assert_ok()
        assert [host.http("/version") for host in hosts] == [(200, version)] * 2
    project.describe_hosts({host.name: {"version": "limited"} for host in hosts})
    play = deploy_play("web1,web2", file="systems/default.nix", attr="{host}")
    project.run_playbook(play, "--limit", "web2").assert_ok()
    assert [host.http("/version") for host in hosts] == [(200, "free"), (200, "limited")]


def test_the_free_strategy_keeps_what_hosts_have_built_that_ended_sooner(
    web1: LabHost, web2: LabHost, project: Project
) -> None:
    """web1 begins to build when it knows of no other host, and ends after web2, which has built for both."""

    def after(mark: str, *marks: str, checked: bool = True) -> str:
        """A template that is empty; its use leaves a mark and waits for others.

        With `checked` its first use does not count: that is when the role checks its arguments.
        """
        first = f"if mkdir {mark}-checked 2>/dev/null; then exit; fi; " if checked else ""
        waiting = "".join(f"until [ -e {other} ]; do sleep 0.05; done; " for other in marks)
        command = f"cd {project.root}; {first}: >{mark}; {waiting}"
        return f"{{{{ lookup('ansible.builtin.pipe', {command!r}) }}}}"

    project.describe_hosts({"web1": {"version": "free"}, "web2": {"version": "free"}})
    project.write(
        "host_vars/web1.yml",
        # Templated after `sources`, in the process that builds.
        yaml.safe_dump(
            {
                "building": after("web1-builds", "web2-copies"),
                "copying": after("web1-copies", checked=False),
            }
        ),
    )
    project.write(
        "host_vars/web2.yml",
        yaml.safe_dump(
            {
                "noting": after("web2-notes", "web1-builds"),
                "copying": after("web2-copies", "web1-copies", checked=False),
            }
        ),
    )
    play = deploy_play(
        "web1,web2",
        {
            "strategy": "ansible.builtin.free",
            **defaults("nix_copy", retries="{{ 3 if copying == '' else 0 }}"),
        },
        file="systems/default.nix",
        attr="{host}{{ noting | default('') }}",
        options="{{ {} if building | default('') == '' else {} }}",
    )
    project.run_playbook(play).assert_ok()
    assert web1.http("/version") == web2.http("/version") == (200, "free")


@pytest.mark.usefixtures("web1")
def test_a_failing_batch_stops_the_ones_after_it(web2: LabHost, project: Project) -> None:
    stock = web2.current_system()
    systems = {"web1": {"version": "2", "web": {"healthy": False}}, "web2": {"version": "2"}}
    project.describe_hosts(systems)
    check = {"url": "http://127.0.0.1:{{ lab_http_port }}/health", "retries": 0}
    play = deploy_play(
        "web1,web2",
        {"serial": 1, "max_fail_percentage": 0},
        file="systems/default.nix",
        attr="{host}",
        health_checks=[check],
    )
    run = project.run_playbook(play)
    assert run.return_code != 0
    assert run.result(SWITCH, "web1")["outcome"] == "rolled-back"
    assert not run.find(SWITCH, "web2")
    assert web2.current_system() == stock


def test_hosts_that_build_for_themselves_do_not_lose_sight_of_their_own(
    web1: LabHost, web2: LabHost, project: Project
) -> None:
    """One that is not reached, one that cannot be built, and one that is deployed."""
    project.describe_hosts({"web1": {"version": "own"}, "web2": BROKEN_BUILD, "web3": {}})
    gone = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    inventory = yaml.safe_load((project.directory / "inventory.yml").read_text())
    inventory["lab"]["hosts"]["web3"] = gone
    project.write("inventory.yml", yaml.safe_dump(inventory))
    play = deploy_play("web1,web2,web3", file="systems/default.nix", attr="{host}", build_on="target")
    run = project.run_playbook(play)
    assert run.return_code != 0
    assert run.result(SWITCH, "web1")["outcome"] == "committed"
    assert web1.http("/version") == (200, "own")
    assert {entry.status for entry in run.results if entry.host == "web3"} >= {"unreachable"}
    assert "web2: build failed" in run.result("nix_build", "web2")["msg"]
    assert not run.find(SWITCH, "web2")
    assert web2.http("/version") == (200, "stock")


def test_the_system_is_built_on_the_host_when_asked(each_host: LabHost, project: Project) -> None:
    system = project.build(each_host.name, {"version": "unheard-of"})
    play = deploy_play(each_host.name, file="systems/default.nix", attr="{host}", build_on="target")
    run = project.run_playbook(play).assert_ok()
    assert run.result(SWITCH)["new"] == system
    assert not [entry for entry in run.find("nix_copy") if entry.status != "skipped"]
    assert each_host.http("/version") == (200, "unheard-of")
    # The host has the derivation and the builder's log: it was built there.
    assert each_host.ask(f"nix-store --query --deriver {system}").endswith(".drv")
    assert project.run_playbook(play).assert_ok().changed(each_host.name) == []
