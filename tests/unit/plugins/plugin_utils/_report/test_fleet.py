# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet as a table and as data."""

from __future__ import annotations

from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.probe import read_probe
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import parse_answer
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.fleet import (
    PULL,
    STATUS,
    FleetStatus,
    deploy_lines,
    status_lines,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.text import WIDTH, json_text
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.drift import deploy_facts

NOW = 1_790_000_000.0
OLD, NEW = (f"/nix/store/{letter * 32}-nixos-system-web1-25.11" for letter in "ab")
DEPLOYED = {"time": "2026-09-18T14:13:20+00:00", "deployer": "ann@laptop", "revision": "1" * 40 + "-dirty"}
ANSWER = {
    "current": NEW,
    "booted": NEW,
    "boot_default": NEW,
    "generation": 12,
    "generation_time": "2026-09-18T14:13:20+00:00",
    "deployed": DEPLOYED,
    "drift": [],
    "reboot_required": False,
    "reboot_reasons": [],
    "failed_units": [],
    "nix_version": "2.28.3",
    "lock": "",
    "notes": [],
    "summary": ["not for the table"],
}


def fleet_of(**answers: dict[str, Any]) -> FleetStatus:
    fleet = FleetStatus()
    fleet.play(answers)
    for name, answer in answers.items():
        fleet.task_ends(name, STATUS, "ok", {**ANSWER, **answer})
    return fleet


def lines(fleet: FleetStatus) -> list[str]:
    found = [line.text for line in status_lines(fleet.hosts, NOW)]
    assert all(len(line) <= WIDTH for line in found)
    return found


def test_one_row_a_host() -> None:
    fleet = fleet_of(web1={}, web2={"current": OLD, "drift": ["running"], "notes": ["what runs is not"]})
    fleet.task_ends("web3", "ansible.builtin.raw", "unreachable", {"msg": "ignored: not of this play"})
    head, first, second, blank, remark = lines(fleet)
    assert head.split("  ")[0] == "HOST"
    assert first.split() == [
        *("web1", "b" * 8, "same", "12", "3d", "ann@laptop", "11111111*", "no", "0", "no"),
    ]
    assert second.split()[1:3] == ["a" * 8, "b" * 8]
    assert (blank, remark) == ("", "  web2: what runs is not")


def test_hosts_that_do_not_answer_have_rows() -> None:
    fleet = fleet_of(web1={})
    fleet.play(["web1", "web2", "web3", "web4"])
    fleet.task_ends("web2", "ansible.builtin.raw", "unreachable", {"msg": "no route to host\nmore"})
    fleet.task_ends("web3", STATUS, "failed", {"msg": "web3: probe failed: garbled"})
    table = lines(fleet)
    assert table[2] == "web2  unreachable: no route to host"
    assert table[3] == "web3  no answer: probe failed: garbled"
    assert table[4].startswith("web4  unreachable: was not asked")
    assert fleet.report(NOW)["totals"] == {
        "hosts": 4,
        "unreachable": 2,
        "reboot-required": 0,
        "failed-units": 0,
        "drift": 0,
    }


def test_long_names_give_way() -> None:
    name = "a-very-long-host-name.in.a.very.long.domain.example.org"
    long = {**DEPLOYED, "deployer": "continuous-integration@runner-0123456789"}
    drift = ["running", "profile", "build"]
    fleet = fleet_of(
        **{name: {"current": OLD, "deployed": long, "drift": drift, "failed_units": ["x" * 120]}}
    )
    table = lines(fleet)
    assert table[1].startswith("a-very-long-")
    assert "continuou.." in table[1]


def test_a_host_without_a_system() -> None:
    empty = {"current": "", "boot_default": "", "generation": 0, "generation_time": "", "deployed": {}}
    row = lines(fleet_of(web1=empty))[1]
    assert row.split() == ["web1", "-", "-", "-", "-", "-", "-", "no", "0", "no"]


def test_what_a_reboot_brings_who_deploys_and_which_units() -> None:
    answer = {
        "reboot_required": True,
        "reboot_reasons": ["kernel"],
        "failed_units": ["a.service", "b.service"],
        "lock": "bob@desk (activation x)",
    }
    table = lines(fleet_of(web1=answer))
    assert table[1].split()[-3:] == ["yes", "2", "no"]
    assert table[3:] == [
        "  web1: failed: a.service, b.service",
        "  web1: a reboot brings: kernel",
        "  web1: being deployed to by bob@desk (activation x)",
    ]


def test_the_data_holds_what_was_asked_for_only() -> None:
    report = fleet_of(web1={}).report(NOW)
    assert report["time"] == "2026-09-21T14:13:20+00:00"
    assert report["hosts"]["web1"]["current"] == NEW
    assert "not for the table" not in json_text(report)


class Answered:
    return_code = 0
    stderr = ""

    def __init__(self, *lines: str) -> None:
        self.stdout = "\n".join(["nixferry=1", *lines, "end=probe"])


def facts(*more: str, build: dict[str, Any] | None = None, current: str = NEW) -> dict[str, Any]:
    generations = (f"generations=11%201789000000%20{OLD}", f"generations=12%201789700000%20{NEW}")
    probe = read_probe(
        parse_answer(
            "probe",
            Answered(f"current={current}", f"profile_target={NEW}", "generation=12", *generations, *more),
        )
    )
    return deploy_facts("web1", probe, build)


RECORD = f"12%20{NEW}%201789700000%20id%20switch%20{'1' * 40}%20ann@laptop"


def test_no_drift_without_a_deploy_or_right_after_it() -> None:
    assert facts()["drift"] == []
    found = facts(f"deployed={RECORD}", f"deploy={RECORD}", "deployed_last=12")
    assert (found["drift"], found["deployed"]["deployer"]) == ([], "ann@laptop")
    assert found["summary"] == [
        "deployed   ann@laptop deployed it on 2026-09-18 02:53 UTC from revision 111111111111"
    ]


def test_every_kind_of_drift() -> None:
    assert facts(current=OLD)["drift"] == ["running"]
    assert facts("deployed_last=11")["drift"] == ["profile"]
    # The administrator went back by hand to what had been deployed before.
    assert facts(f"deployed={RECORD}", "deployed_last=13")["drift"] == ["profile"]
    assert facts(build={"toplevel": OLD})["drift"] == ["build"]
    assert facts(build={"toplevel": NEW})["drift"] == []


def test_a_source_that_cannot_be_evaluated_is_no_drift() -> None:
    failed = {
        "failed": True,
        "step": "evaluate",
        "cause": "no\nmore",
        "remedy": "",
        "where": "controller",
        "msg": "web1: evaluate failed: no\nmore",
    }
    found = facts(build={"hosts": {"web1": failed}})
    assert found["drift"] == []
    assert found["notes"] == ["what a deploy would bring is not known: no"]


def test_the_deploys_of_the_fleet() -> None:
    def record(deploy: str, action: str = "switch") -> dict[str, Any]:
        return {
            **DEPLOYED,
            "deploy": deploy,
            "action": action,
            "generation": 2,
            "toplevel": NEW,
            "activation": "x",
        }

    first, second = "20260918T141320-0000000a", "20260919T141320-0000000b"
    fleet = fleet_of(
        web2={"history": [record(first)]},
        web1={"history": [record(""), record(first), record(first), record(second, "rollback")]},
        web3={},
    )
    told = fleet.report(NOW)["deploys"]
    assert [(run["deploy"], run["hosts"], run["action"]) for run in told] == [
        (second, ["web1"], "rollback"),
        (first, ["web1", "web2"], "switch"),
    ]
    assert [line.text for line in deploy_lines(fleet.deploys)] == [
        "",
        f"  deploy:{second}  ann@laptop  rollback  web1",
        f"  deploy:{first}  ann@laptop  11111111*  web1, web2",
    ]
    assert deploy_lines([]) == []


PULLED = {
    "installed": True,
    "pulls": True,
    "serial": 7,
    "pointer_age": 7200,
    "outcome": "rolled-back",
    "message": "units failed",
    "quarantined": [NEW],
}


def test_a_host_that_pulls_says_what_it_did() -> None:
    fleet = fleet_of(web1={}, web2={}, web3={})
    fleet.task_ends("web1", PULL, "ok", {"pull": PULLED})
    fleet.task_ends("web2", PULL, "ok", {"pull": {**PULLED, "installed": False}})
    fleet.task_ends("web3", PULL, "ignored", {"msg": "web3: garbled"})
    assert_tells_of_web1(fleet)


def test_a_status_may_have_what_the_pull_agent_says() -> None:
    answers = {"web1": PULLED, "web2": {**PULLED, "installed": False}, "web3": None}
    assert_tells_of_web1(fleet_of(**{host: {"pull": pull} for host, pull in answers.items()}))


def assert_tells_of_web1(fleet: FleetStatus) -> None:
    assert lines(fleet)[5:] == [
        "  web1: pulls: serial 7, issued 2h ago: rolled-back (units failed)",
        f"  web1: not activated again before it is cleared: {'b' * 8}",
    ]
    assert fleet.report(NOW)["hosts"]["web1"]["pull"] == PULLED
    assert "pull" not in fleet.report(NOW)["hosts"]["web2"]
