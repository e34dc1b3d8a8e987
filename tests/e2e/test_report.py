# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the operator sees: the end of a run, the state of the fleet, and whose work a deploy would undo."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lab import LabHost
from lab import run as run_program
from plays import SWITCH, deploy_play
from project import FAULTS, PlaybookRun, Project

ENABLED = {"ANSIBLE_CALLBACKS_ENABLED": "record,nixferry.deploy.report"}


def report(project: Project, name: str = "report.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.directory / name).read_text())
    return found


def outcomes(found: dict[str, Any]) -> dict[str, str]:
    return {name: host["outcome"] for name, host in found["hosts"].items()}


def shown(run: PlaybookRun, title: str) -> list[str]:
    """The lines below a banner of ours."""
    lines = run.stdout.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"{title} "))
    found = lines[begin + 1 :]
    return found[: found.index("")] if "" in found else found


@pytest.mark.usefixtures("web2")
def test_one_run_with_every_outcome(web1: LabHost, web3: LabHost, project: Project) -> None:
    """By the collection's own playbook, which needs no configuration."""
    project.describe_hosts(
        {"web1": {"version": "2", **FAULTS["new_kernel"]}, "web2": dict(FAULTS["unit_fails"]), "web3": {}}
    )
    web3.power_cut()
    arguments = ("--limit", "web1,web2,web3", "-e", f"nixos_file={project.systems}/default.nix")
    more = ("-e", "nixos_attr={host}", "-e", "nixferry_report_file=out/report.json")
    try:
        run = project.run_named("nixferry.deploy.deploy", *arguments, *more)
        found = report(project, "out/report.json")
        status = project.run_named(
            "nixferry.deploy.status", "--limit", "web1,web2,web3", "-e", "nixferry_status_file=status.json"
        )
    finally:
        web3.power_on()
    assert run.return_code != 0
    assert outcomes(found) == {"web1": "committed", "web2": "rolled-back", "web3": "unreachable"}
    assert found["result"] == "rolled-back"
    committed = found["hosts"]["web1"]
    assert committed["new"] == web1.current_system()
    assert (committed["reboot_required"], committed["reboot_reasons"]) == (
        True,
        ["kernel", "kernel-modules"],
    )
    assert found["hosts"]["web2"]["failed_units"] == ["broken.service"]
    assert found["totals"]["hosts"] == 3
    assert 0 < committed["seconds"] <= found["seconds"]
    text = "\n".join(shown(run, "NIXFERRY"))
    for part in (
        "committed (1)",
        "rolled-back (1)",
        "unreachable (1)",
        "reboot required (1)",
        "web1 (kernel, kernel-modules)",
    ):
        assert part in text, text
    # The same three hosts in the table, which Ansible's recap follows all the same.
    assert status.return_code == 4
    table = shown(status, "FLEET")
    assert [line.split()[0] for line in table[:4]] == ["HOST", "web1", "web2", "web3"]
    assert max(map(len, table)) <= 100
    assert "unreachable" in table[3]
    fleet = report(project, "status.json")
    assert fleet["totals"] == {
        "hosts": 3,
        "unreachable": 1,
        "reboot-required": 1,
        "failed-units": 0,
        "drift": 0,
    }
    assert fleet["hosts"]["web1"]["current"] == web1.current_system()
    assert fleet["hosts"]["web1"]["deployed"]["toplevel"] == web1.current_system()
    assert fleet["hosts"]["web2"]["deployed"] == {}


def commit(project: Project, *arguments: str) -> str:
    """Commit the systems as they are; returns the revision."""
    git = ["git", "-C", str(project.systems), "-c", "user.name=ann", "-c", "user.email=ann@example.org"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=x", *arguments]):
        run_program([*git, *command])
    return run_program([*git, "rev-parse", "HEAD"]).stdout.strip()


def test_two_deployers(web1: LabHost, project: Project) -> None:
    play = deploy_play("web1", flake=str(project.systems))
    extra = {"environment": ENABLED}

    def deploy(version: str, *arguments: str) -> PlaybookRun:
        hosts = {"web1": {"version": version}}
        if version:
            project.describe_hosts(hosts)
        return project.run_playbook(play, *arguments, **extra)  # type: ignore[arg-type]

    project.describe_hosts({"web1": {"version": "1"}})
    first = commit(project)
    assert deploy("").assert_ok().result(SWITCH)["revision"] == first
    # A colleague deploys what is not in the first one's checkout.
    project.describe_hosts({"web1": {"version": "2"}})
    second = commit(project)
    run = deploy("")
    assert run.assert_ok().result(SWITCH)["outcome"] == "committed"
    run_program(["git", "-C", str(project.systems), "reset", "--quiet", "--hard", first])
    theirs = web1.current_system()

    for arguments in (("--check",), ()):
        run = deploy("3", *arguments)
        message = run.result(SWITCH)["msg"]
        for part in (
            "web1",
            "generation 3",
            second[:12],
            f"{first[:12]}-dirty does not contain",
            "nixos_force",
        ):
            assert part in message, message
        assert web1.current_system() == web1.boot_default() == theirs
    assert any("failed (1)" in line for line in shown(run, "NIXFERRY"))

    done = deploy("", "-e", "nixos_force=true").assert_ok().result(SWITCH)
    assert (done["outcome"], done["revision"]) == ("committed", f"{first}-dirty")
    assert second in " ".join(done["notes"])
    # The second run has nothing to do, forced or not.
    assert deploy("").assert_ok().result(SWITCH)["outcome"] == "unchanged"

    # Going back is no deploy of an older revision.
    back = project.run_named("nixferry.deploy.rollback", "--limit", "web1").assert_ok()
    assert back.result("nix_rollback")["outcome"] == "committed"
    assert web1.current_system() == theirs
    web1.ask("nix-env -p /nix/var/nix/profiles/system --switch-generation 1")
    status = project.run_named(
        "nixferry.deploy.status",
        *("--limit", "web1", "-e", "nixferry_status_file=status.json"),
        *("-e", "nixferry_compare=true", "-e", f"nixos_flake={project.systems}"),
    ).assert_ok()
    host = report(project, "status.json")["hosts"]["web1"]
    assert host["drift"] == ["running", "profile", "build"]
    assert status.changed("web1") == []
