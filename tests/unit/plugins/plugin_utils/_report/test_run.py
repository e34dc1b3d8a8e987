# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run's events become: one outcome for each host, and one word for the whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.facts import OUTCOMES
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.run import (
    BUILD,
    COPY,
    SWITCHES,
    RunReport,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.steps import LOG_LINES
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.text import (
    WIDTH,
    duration,
    json_text,
    summary_lines,
)

SWITCH, ROLLBACK, DEPLOY = SWITCHES


def run_of(*hosts: str, batch: tuple[str, ...] = ()) -> RunReport:
    run = RunReport(playbook="deploy.yml", began=1000.0)
    run.play(hosts, batch or hosts, deploys=True)
    return run


def switched(outcome: str, **fields: Any) -> dict[str, Any]:
    bad = outcome in ("failed", "unknown", "rolled-back")
    message = {"msg": f"web: activate failed: {outcome}\nWhat to do: look"} if bad else {}
    changed = outcome in ("committed", "tested")
    return {"outcome": outcome, "profile": "/system", "changed": changed, "failed": bad, **message, **fields}


def end(run: RunReport, host: str, action: str, status: str = "ok", **result: Any) -> None:
    run.task_begins(host, action, 1001.0)
    run.task_ends(host, action, f"task {action}", status, result, 1003.0)


def switch(run: RunReport, host: str, outcome: str, **fields: Any) -> None:
    result = switched(outcome, **fields)
    end(run, host, SWITCH, "failed" if result["failed"] else "ok", **result)


def outcomes(report: dict[str, Any]) -> dict[str, str]:
    return {name: host["outcome"] for name, host in report["hosts"].items()}


@pytest.mark.parametrize(
    ("status", "result", "expected"),
    [
        ("ok", {"transfer": {"copied_paths": 3}, "changed": True}, "copied"),
        ("ok", {"transfer": {"copied_paths": 3}, **switched("committed")}, "committed"),
        ("ok", switched("unchanged"), "unchanged"),
        ("failed", {"transfer": {"copied_paths": 3}, **switched("rolled-back")}, "rolled-back"),
        ("failed", {"failed": True, "step": "copy", "msg": "web: copy failed: no room"}, "failed"),
    ],
    ids=["copy only", "committed", "nothing to do", "rolled back", "copy failed"],
)
def test_a_deploy_in_one_task_is_told_as_its_parts_are(
    status: str, result: dict[str, Any], expected: str
) -> None:
    run = run_of("web")
    end(run, "web", DEPLOY, status, **result)
    report = run.report(1010.0, {"web"} if status == "failed" else ())
    assert outcomes(report) == {"web": expected}
    assert report["hosts"]["web"]["changed"] is bool(result.get("changed"))
    if status == "failed":
        assert report["hosts"]["web"]["message"] == result["msg"]


def text(report: dict[str, Any]) -> str:
    lines = summary_lines(report)
    assert all(len(line.text) <= WIDTH for line in lines)
    return "\n".join(line.text for line in lines)


def test_a_host_that_fails_its_checks_before_the_deploy_says_which() -> None:
    run = run_of("web1", "web2")
    message = "web1: pre-deploy check failed: no work is under way: exit code 1\nWhat to do: look"
    checked = "nixferry.deploy.nix_health_check"
    end(run, "web1", checked, "failed", failed=True, msg=message, step="pre-deploy check")
    switch(run, "web2", "committed")
    report = run.report(1010.0, ["web1"])
    assert outcomes(report) == {"web1": "failed", "web2": "committed"}
    assert (report["hosts"]["web1"]["step"], report["hosts"]["web1"]["message"]) == (
        "pre-deploy check",
        message,
    )


@pytest.mark.parametrize(
    ("outcome", "overall"),
    [
        ("unchanged", "ok"),
        ("committed", "ok"),
        ("tested", "ok"),
        ("dry-activated", "ok"),
        ("rolled-back", "rolled-back"),
        ("failed", "failed"),
        ("unknown", "failed"),
        ("awaiting-confirmation", "awaiting-confirmation"),
    ],
)
def test_every_outcome_of_a_switch(outcome: str, overall: str) -> None:
    run = run_of("web1")
    switch(run, "web1", outcome, generation=4, new="/nix/store/x", revision="abc", failed_units=["a.service"])
    report = run.report(1010.0)
    host = report["hosts"]["web1"]
    assert (report["result"], host["outcome"], report["totals"][outcome]) == (overall, outcome, 1)
    assert (host["generation"], host["new"], host["revision"], host["failed_units"]) == (
        4,
        "/nix/store/x",
        "abc",
        ["a.service"],
    )
    assert (host["seconds"], report["seconds"]) == (2.0, 10.0)
    assert (outcome in text(report), "a.service" in text(report)) == (True, True)


def test_unreachable_is_not_rolled_back_is_not_failed() -> None:
    run = run_of("a", "b", "c", "d")
    end(run, "a", COPY, "unreachable", msg="a: connect failed: no route to host")
    switch(run, "b", "rolled-back")
    end(run, "c", BUILD, "failed", msg="c: build failed: no", step="build")
    switch(run, "d", "committed", reboot_required=True, reboot_reasons=["kernel"], generation=3)
    report = run.report(1010.0, ["b", "c"])
    assert outcomes(report) == {"a": "unreachable", "b": "rolled-back", "c": "failed", "d": "committed"}
    assert report["hosts"]["c"]["step"] == "build"
    told = text(report)
    for part in (
        "4 hosts in 10s: failed",
        "a: connect failed: no route to host",
        "c: build failed: no",
        "d (generation 3)",
        "d (kernel)",
    ):
        assert part in told, told


def test_a_host_that_nothing_was_tried_on() -> None:
    """Another batch, any_errors_fatal, or a task before ours that failed."""
    run = run_of("a", "b", "c", batch=("a", "b"))
    switch(run, "a", "rolled-back")
    end(run, "b", COPY)
    report = run.report(1010.0, ["a"])
    assert outcomes(report) == {"a": "rolled-back", "b": "not-attempted", "c": "not-attempted"}
    assert report["result"] == "rolled-back"


def test_a_build_for_all_that_fails_fails_the_hosts_of_its_batch() -> None:
    run = run_of("a", "b", "c", batch=("a", "b"))
    end(run, "a", BUILD, "failed", msg="a: evaluate failed: no such flake", step="evaluate")
    report = run.report(1010.0, ["a"])
    assert outcomes(report) == {"a": "failed", "b": "failed", "c": "not-attempted"}
    assert report["hosts"]["b"]["step"] == "evaluate"


def test_a_build_that_failed_for_one_of_many() -> None:
    run = run_of("a", "b")
    bad = {"failed": True, "msg": "b: build failed: no", "step": "build"}
    end(run, "a", BUILD, hosts={"a": {"failed": False}, "b": bad})
    assert outcomes(run.report(1010.0)) == {"a": "not-attempted", "b": "failed"}
    good = run_of("a", "b")
    end(good, "a", BUILD, hosts={"a": {"failed": False}, "b": {"failed": False}})
    assert outcomes(good.report(1010.0)) == {"a": "built", "b": "built"}
    end(good, "b", COPY)
    assert outcomes(good.report(1010.0)) == {"a": "built", "b": "copied"}
    assert good.report(1010.0)["result"] == "ok"


def test_the_task_that_tells_of_a_failed_build_does_not_hide_why_it_failed() -> None:
    run = run_of("a", "b")
    bad = {"failed": True, "step": "build", "msg": "b: build: cc broke\nWhat to do: look"}
    end(run, "a", BUILD, hosts={"a": {"failed": False}, "b": bad})
    without = run.report(1010.0, ["b"])["hosts"]["b"]
    run.task_ends(
        "b", "ansible.builtin.fail", "nixos : Fail", "failed", {"failed": True, "msg": "b: broke"}, 2.0
    )
    host = run.report(1010.0, ["b"])["hosts"]["b"]
    assert "cc broke" in host["message"]
    assert (host["outcome"], host["step"], host["message"]) == ("failed", "build", without["message"])


def test_all_hosts_unreachable() -> None:
    run = run_of("a", "b")
    for host in ("a", "b"):
        run.task_ends(
            host, "ansible.builtin.setup", "Gathering Facts", "unreachable", {"msg": "gone"}, 1002.0
        )
    report = run.report(1010.0)
    assert (outcomes(report), report["result"]) == ({"a": "unreachable", "b": "unreachable"}, "unreachable")


def test_later_steps_replace_earlier_ones() -> None:
    run = run_of("a")
    switch(run, "a", "awaiting-confirmation")
    switch(run, "a", "committed")
    assert outcomes(run.report(1010.0)) == {"a": "committed"}


def test_a_step_that_names_the_activation_only() -> None:
    run = run_of("a")
    switch(run, "a", "awaiting-confirmation", activation="20260101")
    switch(run, "a", "committed", activation="20260101", profile="", rebooted=True)
    report = run.report(1010.0)
    assert outcomes(report) == {"a": "committed"}
    assert "activations" not in report["hosts"]["a"]
    assert "rebooted (1)" in text(report)


def test_a_host_is_what_the_worst_of_its_systems_is() -> None:
    run = run_of("a")
    switch(run, "a", "rolled-back", profile="/home/ann")
    switch(run, "a", "committed", profile="/system")
    host = run.report(1010.0)["hosts"]["a"]
    assert host["outcome"] == "rolled-back"
    assert [each["profile"] for each in host["activations"]] == ["/home/ann", "/system"]


def test_a_loop_over_systems() -> None:
    run = run_of("a")
    end(run, "a", SWITCH, results=[switched("committed", profile="1"), switched("unchanged", profile="2")])
    assert [each["profile"] for each in run.report(1010.0)["hosts"]["a"]["activations"]] == ["1", "2"]


@pytest.mark.parametrize(("status", "overall"), [("failed", "failed"), ("unreachable", "unreachable")])
def test_a_later_task_that_fails_does_not_hide_what_runs(status: str, overall: str) -> None:
    run = run_of("a")
    switch(run, "a", "committed")
    run.task_ends("a", "ansible.builtin.command", "smoke test", status, {"msg": "secret"}, 1005.0)
    report = run.report(1010.0, ["a"] if status == "failed" else [])
    host = report["hosts"]["a"]
    assert (host["outcome"], report["result"]) == ("committed", overall)
    # The words of another task are not shown.
    assert host["failed_task"] == {
        "task": "smoke test",
        "unreachable": status == "unreachable",
        "message": "",
    }
    assert "a: was committed, but then the task 'smoke test'" in text(report)


def test_a_later_task_of_ours_that_fails_says_why() -> None:
    run = run_of("a", "b")
    for host in ("a", "b"):
        switch(run, host, "committed")
    why = "a: place the secrets failed: the disk is full\nWhat to do: look"
    failed = {"failed": True, "msg": why, "step": "place the secrets"}
    run.task_ends("a", "nixferry.deploy.nix_secrets", "secrets", "failed", failed, 1005.0)
    report = run.report(1010.0, ["a"])
    assert report["hosts"]["a"]["failed_task"]["message"] == why
    told = text(report)
    assert "the task 'secrets' failed: place the secrets failed: the disk is full" in " ".join(told.split())
    report["check_mode"] = True
    assert "was committed" not in text(report)
    assert "a: would be committed, but then" in text(report)


def test_variables_that_are_not_valid_are_named_without_their_values() -> None:
    run = run_of("a")
    failed = {
        "failed": True,
        "msg": "Validation of arguments failed: hunter2",
        "argument_errors": [
            "argument 'nixos_secrets' is of type str, 'hunter2' cannot be converted to a dict"
        ],
        "argument_spec_data": {
            "nixos_secrets": {"type": "dict"},
            "nixos_secrets_storage": {},
            "nixos_flake": {},
        },
    }
    run.task_ends("a", "ansible.builtin.validate_argument_spec", "Validating", "failed", failed, 1002.0)
    told = text(run.report(1010.0, ["a"]))
    assert "a: not valid: nixos_secrets. The task" in told
    assert "hunter2" not in told


def test_a_task_of_ours_before_the_deploy_says_why() -> None:
    run = run_of("a")
    why = "a: read the options failed: the role nixos is not told what to build"
    failed = {"failed": True, "msg": why, "step": "read the options"}
    run.task_ends("a", "nixferry.deploy.nix_role_variables", "note", "failed", failed, 1005.0)
    assert why in text(run.report(1010.0, ["a"]))


@pytest.mark.parametrize("many", [False, True])
def test_the_same_message_of_several_hosts_stands_once_with_the_hosts(many: bool) -> None:
    hosts = [f"web{number}" for number in range(6 if many else 3)]
    run = run_of(*hosts)
    for host in hosts[:-1]:
        end(
            run,
            host,
            BUILD,
            "failed",
            msg=f"{host}: evaluate failed: no such flake\nWhat to do: x",
            step="evaluate",
        )
    end(run, hosts[-1], COPY, "failed", msg=f"{hosts[-1]}: copy failed: disk full", step="copy")
    told = text(run.report(1010.0, hosts))
    assert told.count("no such flake") == 1
    named = "5 hosts (web0, web1, web2, web3 ...)" if many else "web0, web1"
    assert f"    {named}: evaluate failed: no such flake" in told.splitlines()
    assert f"    {hosts[-1]}: copy failed: disk full" in told.splitlines()


@pytest.mark.parametrize("names", ["a, b", "5 hosts (a, c, d, e ...)"])
def test_one_failure_of_the_build_of_all_hosts_stands_once(names: str) -> None:
    run = run_of("a", "b")
    end(
        run,
        "a",
        BUILD,
        "failed",
        msg=f"{names}: evaluate failed: no such flake\nWhat to do: x",
        step="evaluate",
    )
    report = run.report(1010.0, ["a", "b"])
    assert outcomes(report) == {"a": "failed", "b": "failed"}
    assert "    a, b: evaluate failed: no such flake" in text(report).splitlines()


def test_what_was_rescued_or_ignored_did_not_fail() -> None:
    run = run_of("a", "b")
    for host, status in (("a", "failed"), ("b", "ignored")):
        switch(run, host, "committed")
        run.task_ends(host, "ansible.builtin.command", "smoke test", status, {"msg": "x"}, 1005.0)
    report = run.report(1010.0, [])
    assert (report["result"], report["totals"]["failed-task"]) == ("ok", 0)


def test_nothing_but_our_fields_gets_in() -> None:
    run = run_of("a", "b")
    run.task_ends("a", "ansible.builtin.command", "x", "failed", {"msg": "hunter2", "stdout": "hunter2"}, 1.0)
    switch(run, "b", "committed", log=["hunter2"], diff={"prepared": "hunter2"}, warnings=["hunter2"])
    report = run.report(1010.0, ["a"])
    assert report["hosts"]["a"]["message"] == "the task 'x' failed"
    assert "hunter2" not in json_text(report) + text(report)


def test_no_log() -> None:
    run = run_of("a", "b")
    end(run, "a", SWITCH, censored="the output has been hidden", changed=True)
    end(run, "b", SWITCH, "failed", censored="the output has been hidden")
    report = run.report(1010.0, ["b"])
    assert outcomes(report) == {"a": "hidden", "b": "failed"}
    assert report["hosts"]["b"]["message"] == "hidden by no_log"


def test_the_log_is_that_of_a_host_that_failed_and_may_be_seen() -> None:
    run = run_of("a", "b", "c", "d")
    lines = [f"line {number}\x1b[31m" for number in range(LOG_LINES + 5)]
    switch(run, "a", "rolled-back", log=lines)
    switch(run, "b", "committed", log=["canary"])
    end(run, "c", SWITCH, "failed", censored="hidden", log=["canary"])
    end(
        run,
        "d",
        COPY,
        "failed",
        failed=True,
        msg="d: copy failed: disk full",
        step="copy",
        output=["no room"],
    )
    hosts = run.report(1010.0, ["a", "c", "d"])["hosts"]
    assert len(hosts["a"]["log"]) == LOG_LINES
    assert hosts["a"]["log"][-1] == f"line {LOG_LINES + 4}"
    assert hosts["b"]["log"] == hosts["c"]["log"] == []
    assert hosts["d"]["log"] == ["no room"]
    assert [step["message"] for step in hosts["c"]["steps"]] == ["hidden by no_log"]
    assert "canary" not in json_text(hosts)


def test_steps_are_told_with_their_times() -> None:
    run = run_of("a", "b")
    run.began = 1000.0
    end(run, "a", BUILD, hosts={"a": {"failed": False}, "b": {"failed": False}})
    end(run, "a", "nixferry.deploy.nix_role_variables")
    end(run, "a", "ansible.builtin.command")
    end(run, "a", "ansible.builtin.command", "failed", msg="canary")
    hosts = run.report(1010.0, ["a"])["hosts"]
    told = [(step["action"], step["status"], step["begin"], step["seconds"]) for step in hosts["a"]["steps"]]
    assert told == [("nix_build", "ok", 1.0, 2.0), ("", "failed", 1.0, 2.0)]
    assert [step["action"] for step in hosts["b"]["steps"]] == ["nix_build"]
    assert "canary" not in json_text(hosts)


def test_a_refusal_is_a_failure_with_its_step() -> None:
    run = run_of("a")
    end(run, "a", SWITCH, "failed", failed=True, msg="a: start failed: locked", step="start")
    host = run.report(1010.0, ["a"])["hosts"]["a"]
    assert (host["outcome"], host["step"], host["message"]) == ("failed", "start", "a: start failed: locked")


def test_check_mode_says_would() -> None:
    run = run_of("a")
    run.check_mode = True
    switch(run, "a", "committed", generation=1)
    assert "would be committed (1)" in text(run.report(1010.0))
    assert "generation" not in text(run.report(1010.0))


def test_while_it_runs() -> None:
    report = run_of("a").report(None)
    assert (report["result"], report["finished"], report["seconds"]) == ("running", None, None)


def test_the_report_is_json_whatever_ansible_makes_of_values() -> None:
    class Tagged(str):
        __slots__ = ()

    run = run_of("a")
    switch(run, "a", "committed", old=Tagged("x"), generation=4, notes=(Tagged("ä"),), revision=None)
    report = json.loads(json_text(run.report(1010.0)))
    assert report["hosts"]["a"]["notes"] == ["ä"]
    assert set(OUTCOMES) < set(report["totals"])


def test_many_hosts_take_few_lines() -> None:
    names = [f"host{number:03}.example.org" for number in range(100)]
    run = run_of(*names)
    for name in names:
        switch(run, name, "unchanged")
    assert len(text(run.report(1010.0)).splitlines()) < 40


def test_a_play_that_deploys_nothing_is_not_reported() -> None:
    run = RunReport()
    run.play(["a"], ["a"], deploys=False)
    run.task_ends("a", "ansible.builtin.command", "x", "failed", {}, 1.0)
    assert not run.deploys
    assert run.report(2.0)["hosts"] == {}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (3 * 86400, "3d"), (-5, "0s")],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected
