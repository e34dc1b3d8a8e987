# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A deploy from the first to the last generation, by the role, as a user runs it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lab import LabHost
from plays import BROKEN_BUILD, BUILD, SWITCH, defaults, deploy_play, file_play, flake_play
from project import Project


@pytest.mark.parametrize("source", ["flake", "file"])
def test_first_second_and_third_deploy(each_host: LabHost, project: Project, source: str) -> None:
    host = each_host
    stock = host.current_system()
    first = project.build(host.name, {"version": "1"})

    play = flake_play(project, host) if source == "flake" else file_play(host)

    run = project.run_playbook(play).assert_ok()
    result = run.result(SWITCH, host.name)
    assert (result["outcome"], result["changed"]) == ("committed", True)
    assert (result["old"], result["new"], result["generation"]) == (stock, first, 2)
    assert host.current_system() == host.boot_default() == host.profile() == first
    assert host.http("/version") == (200, "1")

    before = host.snapshot()
    run = project.run_playbook(play).assert_ok()
    assert run.changed(host.name) == []
    assert run.result(SWITCH, host.name)["outcome"] == "unchanged"
    assert host.snapshot() == before

    second = project.build(host.name, {"version": "2"})
    run = project.run_playbook(play).assert_ok()
    assert run.result(SWITCH, host.name)["generation"] == 3
    assert host.current_system() == host.boot_default() == host.profile() == second
    assert host.http("/version") == (200, "2")
    assert [line.split()[1] for line in host.generations()] == [stock, first, second]


def test_nix_in_an_unusual_directory_of_the_host(web2: LabHost, project: Project) -> None:
    web2.execute("mkdir -p /opt/nix/bin && mv /usr/bin/nix /usr/bin/nix-* /opt/nix/bin/")
    new = project.build("web2", {"version": "2"})
    lost = project.run_playbook(file_play(web2))
    assert "nixferry_nix_directory" in lost.result("nix_copy")["remedy"], str(lost)
    variables = {"nixferry_nix_directory": "/opt/nix/bin"}
    play = file_play(web2, collect_garbage=True, secrets={"token": {"text": "x"}})
    run = project.run_playbook(play, variables=variables).assert_ok()
    assert run.result(SWITCH)["outcome"] == "committed"
    assert web2.boot_default() == new
    assert web2.http("/version") == (200, "2")


def test_boot_makes_the_default_and_activates_nothing(each_host: LabHost, project: Project) -> None:
    host = each_host
    stock = host.current_system()
    new = project.build(host.name, {"version": "2", "kernel": "6.12.2"})
    result = project.run_playbook(file_play(host, action="boot")).assert_ok().result(SWITCH)
    assert result["outcome"] == "committed"
    assert (result["reboot_required"], result["reboot_reasons"]) == (True, ["kernel", "kernel-modules"])
    assert host.current_system() == stock
    assert host.boot_default() == host.profile() == new

    again = project.run_playbook(file_play(host, action="boot")).assert_ok()
    assert again.changed(host.name) == []

    host.power_cut()
    host.power_on()
    assert host.current_system() == host.booted_system() == new
    assert host.http("/version") == (200, "2")


def test_test_activates_and_keeps_the_default(each_host: LabHost, project: Project) -> None:
    host = each_host
    stock = host.current_system()
    new = project.build(host.name, {"version": "2"})
    result = project.run_playbook(file_play(host, action="test")).assert_ok().result(SWITCH)
    assert (result["outcome"], result["changed"]) == ("tested", True)
    assert host.current_system() == new
    assert host.boot_default() == host.profile() == stock

    # What was only tested is committed by a switch, although it runs already.
    result = project.run_playbook(file_play(host)).assert_ok().result(SWITCH)
    assert result["outcome"] == "committed"
    assert host.boot_default() == host.profile() == host.current_system() == new


def test_dry_activate_tells_and_changes_nothing(each_host: LabHost, project: Project) -> None:
    host = each_host
    project.build(host.name, {"version": "2"})
    before = host.snapshot()
    result = project.run_playbook(file_play(host, action="dry-activate")).assert_ok().result(SWITCH)
    assert (result["outcome"], result["changed"]) == ("dry-activated", False)
    assert any("web.service" in line for line in result["log"])
    assert host.snapshot() == before


def test_a_specialisation_runs_while_the_profile_keeps_its_parent(
    each_host: LabHost, project: Project
) -> None:
    host = each_host
    system = {"version": "2", "specialisation": {"night": {"version": "2-night"}}}
    parent = project.build(host.name, system)
    play = file_play(host, play=defaults(SWITCH, specialisation="night"))
    result = project.run_playbook(play).assert_ok().result(SWITCH)
    child = host.ask(f"readlink -e {parent}/specialisation/night")
    assert (result["outcome"], result["new"]) == ("committed", child)
    assert (host.current_system(), host.boot_default(), host.profile()) == (child, child, parent)
    assert host.http("/version") == (200, "2-night")
    assert project.run_playbook(play).assert_ok().changed(host.name) == []


def test_rollback_by_hand_to_previous_to_a_number_and_to_a_path(each_host: LabHost, project: Project) -> None:
    host = each_host
    stock = host.current_system()
    systems = []
    for version in ("1", "2"):
        systems.append(project.build(host.name, {"version": version}))
        project.run_playbook(file_play(host)).assert_ok()

    def roll_back(to: str) -> dict[str, Any]:
        tasks = [{"nixferry.deploy.nix_rollback": {"to": to}}]
        play = [{"hosts": host.name, "gather_facts": False, "tasks": tasks}]
        return project.run_playbook(play).assert_ok().result("nix_rollback")

    result = roll_back("previous")
    assert (result["outcome"], result["target_generation"]) == ("committed", 2)
    assert host.current_system() == host.boot_default() == host.profile() == systems[0]
    assert host.http("/version") == (200, "1")

    result = roll_back("1")
    assert (result["outcome"], result["new"]) == ("committed", stock)
    assert host.current_system() == host.boot_default() == host.profile() == stock
    assert roll_back("1")["outcome"] == "unchanged"

    assert roll_back(systems[1])["outcome"] == "committed"
    assert host.http("/version") == (200, "2")


def test_generations_tells_what_runs_and_what_boots(each_host: LabHost, project: Project) -> None:
    host = each_host
    stock = host.current_system()
    new = project.build(host.name, {"version": "2", "initrd": "2"})
    project.run_playbook(file_play(host)).assert_ok()
    play = [{"hosts": host.name, "gather_facts": False, "tasks": [{"nixferry.deploy.nix_generations": {}}]}]
    run = project.run_playbook(play).assert_ok()
    result = run.result("nix_generations")
    assert (result["current"], result["boot_default"], result["booted"]) == (new, new, stock)
    assert [(entry["number"], entry["path"], entry["current"]) for entry in result["generations"]] == [
        (1, stock, False),
        (2, new, True),
    ]
    assert (result["reboot_required"], result["reboot_reasons"]) == (True, ["initrd"])
    assert result["nix_version"].startswith({"bookworm": "2.8.", "trixie": "2.26."}[host.release])
    assert (result["system"], result["failed_units"], result["lock"]) == ("x86_64-linux", [], "")
    assert run.changed(host.name) == []


def test_the_reboot_playbook_boots_what_runs_and_waits_for_it(web2: LabHost, project: Project) -> None:
    arguments = [
        "--limit",
        "web2",
        "--extra-vars",
        json.dumps({"nixos_health_checks": [{"unit": "web.service"}]}),
    ]
    boot, before = web2.boot(), web2.snapshot()
    foretold = (
        project.run_named("nixferry.deploy.reboot", *arguments, "--check").assert_ok().result("nix_reboot")
    )
    assert (foretold["changed"], foretold["rebooted"]) == (True, True)
    assert web2.boot() == boot
    done = project.run_named("nixferry.deploy.reboot", *arguments).assert_ok().result("nix_reboot")
    assert (done["outcome"], done["rebooted"]) == ("committed", True)
    assert done["health_checks"][0]["healthy"]
    assert web2.boot() != boot
    after = web2.snapshot()
    assert after.current_system == before.current_system == web2.booted_system()
    assert (after.boot_default, after.generations) == (before.boot_default, before.generations)


def test_garbage_is_collected_only_when_asked(web2: LabHost, project: Project) -> None:
    stock = web2.current_system()
    first = project.build("web2", {"version": "1"})
    project.run_playbook(file_play(web2)).assert_ok()
    web2.ask("touch -h -d '9 days ago' /nix/var/nix/profiles/system-1-link")
    web2.ask("touch -h -d '8 days ago' /nix/var/nix/profiles/system-2-link")

    second = project.build("web2", {"version": "2"})
    project.run_playbook(file_play(web2)).assert_ok()
    assert len(web2.generations()) == 3

    # Nix keeps the generation that was current at that time.
    play = file_play(web2, collect_garbage=True, collect_garbage_older_than="7d")
    project.run_playbook(play).assert_ok()
    assert web2.generations() == (f"2 {first}", f"3 {second}")
    # The booted system is in use, so it stays in the store.
    assert web2.has_path(stock)


def test_a_deploy_with_secrets_deletes_nothing_unless_asked(web2: LabHost, project: Project) -> None:
    secrets = {"token": {"text": "a secret"}}
    stock = web2.current_system()
    first = project.build("web2", {"version": "1"})
    project.run_playbook(file_play(web2, secrets=secrets)).assert_ok()
    web2.ask("touch -h -d '41 days ago' /nix/var/nix/profiles/system-1-link")
    web2.ask("touch -h -d '40 days ago' /nix/var/nix/profiles/system-2-link")
    dead = web2.ask("echo 'no root leads here' >/root/dead && nix-store --add /root/dead")

    second = project.build("web2", {"version": "2"})
    play = file_play(web2, secrets=secrets, collect_garbage=False)
    for _deploy in range(2):
        project.run_playbook(play).assert_ok()
        assert web2.generations() == (f"1 {stock}", f"2 {first}", f"3 {second}")
        assert web2.has_path(dead)

    project.run_playbook(file_play(web2, secrets=secrets, collect_garbage=True)).assert_ok()
    assert web2.generations() == (f"2 {first}", f"3 {second}")
    assert not web2.has_path(dead)
    assert web2.current_system() == web2.boot_default() == second


def test_tags_run_one_part_with_what_it_needs(web2: LabHost, project: Project) -> None:
    new = project.build("web2", {"version": "2"})
    before = web2.snapshot()
    project.run_playbook(file_play(web2), "--tags", "build").assert_ok()
    assert not web2.has_path(new)
    project.run_playbook(file_play(web2), "--tags", "copy").assert_ok()
    assert web2.has_path(new)
    assert web2.snapshot() == before
    project.run_playbook(file_play(web2), "--tags", "activate").assert_ok()
    assert web2.current_system() == web2.boot_default() == new


def test_a_gate_fails_with_what_it_is_to_guard(
    web1: LabHost, web2: LabHost, web3: LabHost, project: Project
) -> None:
    new = project.build("web1", {"version": "2"})
    project.describe_hosts({"web1": {"version": "2"}, "web2": BROKEN_BUILD, "web3": {"version": "2"}})
    attribute = "{{ 'nonesuch' if inventory_hostname == 'web3' else '{host}' }}"
    play = deploy_play("web1,web2,web3", file="systems/default.nix", attr=attribute)
    before = {host.name: host.snapshot() for host in (web1, web2, web3)}

    for arguments in (("--tags", "build"), ("--tags", "copy"), ("--skip-tags", "activate"), ()):
        run = project.run_playbook(play, *arguments)
        assert run.return_code != 0, str(run)
        failed = {entry.host for entry in run.results if entry.status == "failed"}
        assert failed == {"web2", "web3"}, str(run)
        assert run.result(BUILD)["hosts"]["web1"]["toplevel"] == new
        assert web1.has_path(new) is (arguments != ("--tags", "build"))
        assert web2.snapshot() == before["web2"]
        assert web3.snapshot() == before["web3"]
        if arguments:
            assert web1.snapshot() == before["web1"]
    assert web1.current_system() == web1.boot_default() == new
