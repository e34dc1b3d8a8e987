# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a review saw is what is deployed, by the collection's own playbooks."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

from lab import LabHost, nix_environment
from project import PlaybookRun, Project
from schemas import schema_errors

PLAN = ("-e", "nixferry_plan=plan.json")
SUMMARIES = ("-e", "nixferry_plan_summary=plan.md", "-e", "nixferry_plan_html=plan.html")


def planned(project: Project, *arguments: str) -> tuple[PlaybookRun, dict[str, Any], str]:
    """Make a plan; return the run, the plan and its summary."""
    source = ("-e", f"nixos_file={project.systems}/default.nix", "-e", "nixos_attr={host}")
    run = project.run_named("nixferry.deploy.plan", *PLAN, *SUMMARIES, *source, *arguments)
    assert (project.directory / "plan.json").exists(), run.stdout + run.stderr
    plan: dict[str, Any] = json.loads((project.directory / "plan.json").read_text())
    assert schema_errors("plan", plan) == []
    return run, plan, (project.directory / "plan.md").read_text()


def test_a_plan_is_deployed_as_it_was_reviewed(web1: LabHost, web2: LabHost, project: Project) -> None:
    hosts = ("--limit", "web1,web2")
    project.describe_hosts({"web1": {"version": "2"}, "web2": {"version": "2"}})
    before = {host.name: host.snapshot() for host in (web1, web2)}
    run, plan, summary = planned(project, *hosts)
    assert run.return_code == 0, run.stdout + run.stderr
    # A plan changes nothing but what the guard writes about itself.
    for host in (web1, web2):
        after = host.snapshot()
        assert (after.current_system, after.boot_default, after.generations) == (
            before[host.name].current_system,
            before[host.name].boot_default,
            before[host.name].generations,
        )
    assert {name: host["changed"] for name, host in plan["hosts"].items()} == {"web1": True, "web2": True}
    assert plan["hosts"]["web1"]["current"] == before["web1"].current_system
    assert "2 hosts would change" in summary
    assert "| web1 |" in summary
    assert "- units changed: web.service" in summary
    page = (project.directory / "plan.html").read_text()
    for part in ("2 of 2 hosts would change", plan["hosts"]["web1"]["toplevel"], "Closure differences"):
        assert part in page, part

    # The source moves on, and so does one of the hosts: by another deployer.
    other = Path(f"{project.directory}/other")
    shutil.copytree(project.systems, other)
    project.describe_hosts({"web1": {"version": "3"}, "web2": {"version": "3"}})
    moved = project.run_named(
        "nixferry.deploy.deploy",
        *("--limit", "web2", "-e", f"nixos_file={project.systems}/default.nix", "-e", "nixos_attr={host}"),
    )
    assert moved.return_code == 0, moved.stdout + moved.stderr
    theirs = web2.current_system()

    # All or none: one host that is no longer what the plan saw keeps the others as they are.
    together = project.run_named("nixferry.deploy.deploy", *PLAN, *hosts, "-e", "nixos_transaction=true")
    assert together.return_code != 0
    assert (web1.current_system(), web1.profile()) == (before["web1"].current_system,) * 2
    assert web2.current_system() == theirs

    run = project.run_named("nixferry.deploy.deploy", *PLAN, *hosts)
    assert run.return_code != 0
    assert web1.current_system() == web1.profile() == plan["hosts"]["web1"]["toplevel"]
    assert web2.current_system() == web2.profile() == theirs
    refused = run.result("nix_deploy", "web2")
    assert "as planned" in refused["msg"]

    # In check mode, too; with force it is deployed.
    checked = project.run_named("nixferry.deploy.deploy", *PLAN, "--limit", "web2", "--check")
    assert "as planned" in checked.result("nix_deploy", "web2")["msg"]
    forced = project.run_named("nixferry.deploy.deploy", *PLAN, *hosts, "-e", "nixos_force=true")
    assert forced.return_code == 0, forced.stdout + forced.stderr
    assert web2.current_system() == plan["hosts"]["web2"]["toplevel"]
    # Again: nothing to do, although the hosts are no longer what the plan saw.
    again = project.run_named("nixferry.deploy.deploy", *PLAN, *hosts)
    assert [again.result("nix_deploy", name)["outcome"] for name in ("web1", "web2")] == ["unchanged"] * 2


def test_what_a_plan_lacks_is_not_deployed(web1: LabHost, web2: LabHost, project: Project) -> None:
    project.describe_hosts({"web1": {"version": "2"}, "web2": {"version": "2"}})
    before = web2.snapshot()
    run, plan, _summary = planned(project, "--limit", "web1")
    assert run.return_code == 0, run.stdout + run.stderr
    assert list(plan["hosts"]) == ["web1"]
    run = project.run_named("nixferry.deploy.deploy", *PLAN, "--limit", "web2")
    assert run.return_code != 0
    assert "the plan has no host web2" in run.stdout + run.stderr
    assert web2.snapshot() == before
    # With keys in the inventory, only a plan that one of them has signed is deployed.
    key = project.directory / "plan.key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    trusted = json.dumps({"nixos_plan_keys": [Path(f"{key}.pub").read_text()]})
    run = project.run_named("nixferry.deploy.deploy", *PLAN, "--limit", "web1", "-e", trusted)
    assert run.return_code != 0
    assert "plan.json.sig cannot be read" in run.stdout + run.stderr
    run, plan, _summary = planned(project, "--limit", "web1", "-e", f"nixferry_plan_sign_key={key}")
    assert run.return_code == 0, run.stdout + run.stderr
    run = project.run_named("nixferry.deploy.deploy", *PLAN, "--limit", "web1", "-e", trusted, "--check")
    assert run.return_code == 0, run.stdout + run.stderr
    assert run.result("nix_deploy", "web1")["outcome"] == "committed"
    # A plan has an end.
    plan["expires"] = plan["made"]
    (project.directory / "plan.json").write_text(json.dumps(plan))
    run = project.run_named("nixferry.deploy.deploy", *PLAN, "--limit", "web1")
    assert run.return_code != 0
    assert "the plan has expired" in run.stdout + run.stderr
    assert web1.current_system() != plan["hosts"]["web1"]["toplevel"]


def test_one_controller_plans_and_another_deploys(web1: LabHost, project: Project) -> None:
    """What is left of the first one is the plan, and the closure in a binary cache."""
    project.describe_hosts({"web1": {"version": secrets.token_hex(8)}})
    run, plan, _summary = planned(project, "--limit", "web1")
    assert run.return_code == 0, run.stdout + run.stderr
    toplevel = plan["hosts"]["web1"]["toplevel"]
    cache = f"file://{project.directory}/cache"
    nix = ["nix", "--extra-experimental-features", "nix-command"]
    subprocess.run(
        [*nix, "copy", "--to", cache, toplevel], check=True, env={**os.environ, **nix_environment()}
    )
    # Its roots belong to the play that has ended.
    subprocess.run(["nix-store", "--delete", "--ignore-liveness", toplevel], check=True)
    before = web1.snapshot()

    run = project.run_named("nixferry.deploy.deploy", *PLAN, "--limit", "web1")
    assert run.return_code != 0
    assert toplevel in run.stdout + run.stderr
    assert web1.snapshot() == before

    settings = nix_environment()["NIX_CONFIG"].replace("substituters =", f"substituters = {cache}")
    variables = {"nixos_plan": f"{project.directory}/plan.json"}
    play = [{"hosts": "web1", "gather_facts": False, "roles": ["nixferry.deploy.nixos"]}]
    project.run_playbook(
        play, variables=variables, environment={"NIX_CONFIG": f"{settings}\nrequire-sigs = false"}
    ).assert_ok()
    assert web1.current_system() == web1.profile() == toplevel
