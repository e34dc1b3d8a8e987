# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fleet goes back to a deploy as a whole, by what its hosts remember."""

from __future__ import annotations

import json
import re

from lab import LabHost
from plays import SWITCH, deploy_play
from project import Project

FILE = {"file": "systems/default.nix", "attr": "{host}"}


def versions(*hosts: LabHost) -> list[str]:
    return [host.http("/version")[1] for host in hosts]


def test_every_host_goes_back_to_what_it_ran_at_a_deploy(
    web1: LabHost, web2: LabHost, project: Project
) -> None:
    def deploy(version: str, hosts: str, **play: str) -> str:
        project.describe_hosts({"web1": {"version": version}, "web2": {"version": version}})
        run = project.run_playbook(deploy_play(hosts, play, **FILE)).assert_ok()
        ids = {entry.result["deploy"] for entry in run.find(SWITCH)}
        assert len(ids) == 1, "all hosts of one run have the same id"
        return ids.pop()

    first = deploy("1", "web1,web2", strategy="free")
    second = deploy("2", "web1")
    third = deploy("3", "web1,web2")
    assert len({first, second, third}) == 3
    assert versions(web1, web2) == ["3", "3"]

    status = project.run_named(
        "nixferry.deploy.status", "--limit", "web1,web2", "-e", "nixferry_status_file=status.json"
    ).assert_ok()
    shown = re.findall(r"deploy:(\S+) .*? (web.*)$", status.stdout, re.M)
    assert shown == [(third, "web1, web2"), (second, "web1"), (first, "web1, web2")]
    told = json.loads((project.directory / "status.json").read_text())["deploys"]
    assert [run["hosts"] for run in told] == [["web1", "web2"], ["web1"], ["web1", "web2"]]

    def roll_back(to: str, *arguments: str) -> dict[str, dict[str, object]]:
        run = project.run_named(
            "nixferry.deploy.rollback", "--limit", "web1,web2", "-e", f"to={to}", *arguments
        )
        return {host: run.result("nix_rollback", host) for host in ("web1", "web2")}

    # Nobody knows the id, although its time is one at which both hosts have held something.
    mistyped = f"{second[:-1]}{'0' if second[-1] != '0' else '1'}"
    refused = roll_back(f"deploy:{mistyped}")
    for host in (web1, web2):
        message = str(refused[host.name]["msg"])
        assert "no host that was asked knows" in message
        assert second in message
    assert versions(web1, web2) == ["3", "3"]

    # The second deploy left web2 out, which ran the first one's system then.
    checked = roll_back(f"deploy:{second}", "--check")
    assert versions(web1, web2) == ["3", "3"]
    # One by one, and the first of them does not know it: the playbook has asked the other one.
    done = roll_back(f"deploy:{second}", "-e", "nixferry_serial=1")
    assert versions(web1, web2) == ["2", "1"]
    for host in (web1, web2):
        result = done[host.name]
        assert (result["outcome"], result["new"]) == ("committed", host.current_system())
        assert result["new"] == checked[host.name]["new"] == host.boot_default()
    assert "brought it" in str(done["web1"]["target_reason"])
    assert "did not change this host" in str(done["web2"]["target_reason"])

    # What the third deploy brought to web2 is collected; web1 still has it.
    web2.execute("rm /nix/var/nix/profiles/system-3-link")
    failed = roll_back(f"deploy:{third}")
    assert "generation 3, which was deployed on" in str(failed["web2"]["msg"])
    assert "was deleted since" in str(failed["web2"]["msg"])
    assert versions(web1, web2) == ["3", "1"]
