# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the operator sees: the end of a run, the state of the fleet, and whose work a deploy would undo."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from fault_systems import FAULTS
from lab import REPOSITORY, LabHost, nix_environment
from lab import run as run_program
from plays import SWITCH, deploy_play
from project import PlaybookRun, Project
from schemas import schema_errors

ENABLED = {"ANSIBLE_CALLBACKS_ENABLED": "record,nixferry.deploy.report"}


STATISTICS = ("-e", "nixferry_set_stats=true")


def statistics(run: PlaybookRun) -> dict[str, Any]:
    """What the next job of a workflow of AWX gets."""
    found: dict[str, Any] = run.result("Set the statistics of the run")["ansible_stats"]["data"]["nixferry"]
    return found


def report(project: Project, name: str = "report.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.directory / name).read_text())
    assert schema_errors("status" if "status" in name else "report", found) == []
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
    files = ("-e", "nixferry_report_html=out/report.html", "-e", "nixferry_report_junit=out/report.xml")
    of_status = ("-e", "nixferry_status_html=status.html", "-e", "nixferry_status_prometheus=status.prom")
    try:
        run = project.run_named("nixferry.deploy.deploy", *arguments, *more, *files, *STATISTICS)
        found = report(project, "out/report.json")
        status = project.run_named(
            "nixferry.deploy.status",
            *("--limit", "web1,web2,web3", "-e", "nixferry_status_file=status.json"),
            *of_status,
            *STATISTICS,
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
    # The same for a browser and for CI: what failed, with what its programs said, and when what was under way.
    page = (project.directory / "out/report.html").read_text()
    for part in ("Rolled back", "Log of web2", "broken.service", "roll back", committed["new"]):
        assert part in page, part
    # Compared afterwards, as far as the store of this machine still has what the host ran.
    compared = Path(committed["old"]).exists()
    assert bool(committed["closure"]) == ("Closure differences" in page) == compared
    steps = committed["steps"]
    assert [step["action"] for step in steps] == ["nix_build", "nix_deploy"]
    assert steps[0]["begin"] + steps[0]["seconds"] <= steps[1]["begin"] + 0.1
    assert {phase["name"] for phase in steps[1]["phases"]} >= {"activating", "committed"}
    assert (found["hosts"]["web2"]["log"], committed["log"]) == (found["hosts"]["web2"]["log"] or ["?"], [])
    suites = {
        suite.get("name"): suite
        for suite in ElementTree.parse(project.directory / "out/report.xml").getroot()
    }
    verdicts = {name: (suite.get("failures"), suite.get("errors")) for name, suite in suites.items()}
    assert verdicts == {"web1": ("0", "0"), "web2": ("1", "0"), "web3": ("0", "1")}
    told = {name: found[name] for name in ("result", "totals")}
    assert statistics(run) == {**told, "outcomes": outcomes(found)}
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
    assert "2 of 3 hosts need attention" in (project.directory / "status.html").read_text()
    assert statistics(status)["outcomes"] == {"web1": "due", "web2": "ok", "web3": "broken"}
    metrics = (project.directory / "status.prom").read_text().splitlines()
    assert {'nixferry_host_up{host="web3"} 0', 'nixferry_host_reboot_required{host="web1"} 1'} <= set(metrics)


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

    # Going back is not a deploy of an older revision.
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


AWAY = "ansible_host=127.0.0.1 ansible_port=1 ansible_user=root"


def test_no_host_is_reached(project: Project) -> None:
    inventory = project.write("away.ini", f"gone1 {AWAY}\ngone2 {AWAY}\ngone3 {AWAY}\n")
    play = deploy_play("all", {"serial": [2, 1]}, store_path="/nix/store/" + "0" * 32 + "-system")
    settings = {**ENABLED, "NIXFERRY_REPORT_FILE": "report.json"}
    run = project.run_playbook(play, "-i", str(inventory), environment=settings)
    assert run.return_code == 2
    found = report(project)
    # Builds that fail for all are told apart from hosts that are away.
    assert outcomes(found) == {"gone1": "failed", "gone2": "failed", "gone3": "not-attempted"}, str(run)

    raw = [{"hosts": "all", "gather_facts": False, "any_errors_fatal": True, "tasks": [{"raw": "true"}]}]
    play = [{**raw[0], "tasks": [{"raw": "true"}, {"nixferry.deploy.nix_rollback": {}}]}]
    run = project.run_playbook(play, "-i", str(inventory), "--check", environment=settings)
    found = report(project)
    assert set(outcomes(found).values()) == {"unreachable"}
    assert (found["result"], found["check_mode"], found["totals"]["unreachable"]) == ("unreachable", True, 3)
    assert shown(run, "NIXFERRY")[0].endswith("unreachable (check mode, nothing was changed)")

    # Who would have come next when the run was stopped is not failed.
    here = project.write("here.ini", "a ansible_connection=local\nb ansible_connection=local\n")
    tasks = [
        {"name": "stop", "fail": {"msg": "x"}, "when": "inventory_hostname == 'a'"},
        {"nixferry.deploy.nix_rollback": {}},
    ]
    project.run_playbook([{**raw[0], "tasks": tasks}], "-i", str(here), environment=settings)
    assert outcomes(report(project)) == {"a": "failed", "b": "not-attempted"}
    assert report(project)["hosts"]["a"]["message"] == "the task 'stop' failed"

    # A report that cannot be written is a warning, and an unrelated run leaves the report alone.
    settings["NIXFERRY_REPORT_FILE"] = "away.ini/report.json"
    again = project.run_playbook(play, "-i", str(inventory), environment=settings)
    assert again.return_code == run.return_code
    assert "cannot write" in again.stderr
    unrelated = project.run_playbook(raw, "-i", str(inventory), environment=settings)
    assert "NIXFERRY" not in unrelated.stdout
    assert "FLEET" not in unrelated.stdout


def blocks_of(page: str, language: str) -> list[str]:
    text = (REPOSITORY / f"docs/docsite/rst/{page}.rst").read_text()
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", text, re.M)
    return [textwrap.dedent(block) for block in found]


def test_the_pages_about_operations_and_reports(web1: LabHost, project: Project) -> None:
    """What they tell users to write works as it stands there; a summary is shown once, however it was enabled."""
    project.run_playbook(blocks_of("operations", "yaml")[-1], "--syntax-check").assert_ok()
    project.describe_hosts({"web1": {"version": "2"}})
    lab = yaml.safe_load((project.directory / "inventory.yml").read_text())["lab"]
    away = dict(part.split("=") for part in AWAY.split())
    hosts = {"web1": lab["hosts"]["web1"], "gone1": away}
    variables = {**lab["vars"], "nixos_store_path": project.build("web1")}
    project.write("inventory.yml", json.dumps({"nixos": {"hosts": hosts, "vars": variables}}))
    project.write("ansible.cfg", blocks_of("reports", "ini")[0])
    project.write("deploy.yml", blocks_of("reports", "yaml")[-1])
    project.write("deploy.sh", blocks_of("operations", "shell")[0])
    environment = {
        **nix_environment(),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".build/collections"),
        "ANSIBLE_CONFIG": str(project.directory / "ansible.cfg"),
        "ANSIBLE_SHOW_CUSTOM_STATS": "1",
    }
    done = run_program(["sh", "deploy.sh"], environment=environment, directory=project.directory, timeout=120)
    assert "Some hosts were away; all others are deployed." in done.stdout
    assert done.stdout.count("NIXFERRY ***") == 1
    assert outcomes(report(project)) == {"web1": "committed", "gone1": "unreachable"}
    assert "The deploy ended with unreachable." in done.stdout
    assert '"gone1": "unreachable"' in done.stdout.partition("CUSTOM STATS")[2]
    assert "Hosts unreachable" in (project.directory / "report.html").read_text()
    assert ElementTree.parse(project.directory / "report.xml").getroot().get("errors") == "1"
    assert web1.http("/version") == (200, "2")
