# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""--check and --diff: they tell the truth and change nothing."""

from __future__ import annotations

from lab import LabHost
from plays import BUILD, SWITCH, file_play, task_play
from project import Project

NEW_WEB = {"version": "2", "payload": {"paths": 2, "kibibytes": 512, "salt": "check"}}


def valid_paths(host: LabHost) -> list[str]:
    return host.ask("ls /nix/store | sort").split()


def test_check_before_anything_is_built(each_host: LabHost, project: Project) -> None:
    # A version that nothing else builds, else the controller would have it.
    version = f"never-{project.directory.parent.name}"
    project.describe_hosts({each_host.name: {"version": version}})
    before, paths = each_host.snapshot(), valid_paths(each_host)
    run = project.run_playbook(file_play(each_host), "--check", "--diff").assert_ok()
    built = run.find(BUILD)[0].result["hosts"][each_host.name]
    assert any(version in path for path in built["would_build"])
    result = run.result(SWITCH)
    assert (result["outcome"], result["changed"]) == ("committed", True)
    assert "not built yet" in run.stdout
    assert each_host.snapshot() == before
    assert valid_paths(each_host) == paths


def test_diff_shows_the_closures_once_it_is_built(each_host: LabHost, project: Project) -> None:
    project.describe_hosts({each_host.name: NEW_WEB})
    before, paths = each_host.snapshot(), valid_paths(each_host)
    variables = {"build_in_check_mode": True}
    run = project.run_playbook(file_play(each_host, **variables), "--check", "--diff").assert_ok()
    copied = run.result("nix_copy")
    assert (copied["changed"], copied["nar_size"] > 1024 * 1024) == (True, True)
    packages = {entry["name"]: entry for entry in run.result(SWITCH)["closure"]["packages"]}
    assert packages["payload"]["change"] == "added"
    assert packages["payload"]["size_delta"] > 1024 * 1024
    assert packages[f"nixos-system-{each_host.name}"]["after"] == ["2"]
    assert "payload" in run.stdout
    assert each_host.snapshot() == before
    assert valid_paths(each_host) == paths


def test_diff_shows_the_dry_activation_once_it_is_copied(each_host: LabHost, project: Project) -> None:
    toplevel = project.build(each_host.name, {"version": "2"})
    each_host.copy_closure(toplevel)
    before = each_host.snapshot()
    run = project.run_playbook(file_play(each_host), "--check", "--diff").assert_ok()
    assert not run.result("nix_copy")["changed"]
    assert "web.service" in run.stdout[run.stdout.index("dry activation:") :]
    assert each_host.snapshot() == before


def test_check_of_what_runs_already(each_host: LabHost, project: Project) -> None:
    project.describe_hosts({each_host.name: {"version": "2"}})
    project.run_playbook(file_play(each_host)).assert_ok()
    before = each_host.snapshot()
    run = project.run_playbook(file_play(each_host), "--check", "--diff").assert_ok()
    assert run.changed(each_host.name) == []
    assert run.result(SWITCH)["outcome"] == "unchanged"
    assert each_host.snapshot() == before


def test_check_foretells_what_the_run_then_does(web2: LabHost, project: Project) -> None:
    new = project.build("web2", {"version": "2", "kernel": "6.12.2"})
    web2.copy_closure(new)
    foretold = project.run_playbook(file_play(web2), "--check").assert_ok().result(SWITCH)
    done = project.run_playbook(file_play(web2), "--diff").assert_ok().result(SWITCH)
    for key in ("outcome", "changed", "old", "new", "reboot_required", "reboot_reasons"):
        assert foretold[key] == done[key], key


def test_check_of_a_rollback(web2: LabHost, project: Project) -> None:
    stock = web2.current_system()
    project.build("web2", {"version": "2"})
    project.run_playbook(file_play(web2)).assert_ok()
    before = web2.snapshot()
    run = project.run_playbook(task_play("web2", "nix_rollback", {}), "--check", "--diff").assert_ok()
    result = run.result("nix_rollback")
    assert (result["outcome"], result["changed"], result["new"]) == ("committed", True, stock)
    assert web2.snapshot() == before


def test_generations_in_check_mode(web2: LabHost, project: Project) -> None:
    run = project.run_playbook(task_play("web2", "nix_generations", {}), "--check").assert_ok()
    assert run.result("nix_generations")["current"] == web2.current_system()
