# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several hosts as one transaction: all of them run and boot the new system in the end, or none of them does."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from lab import LabHost
from plays import BROKEN_BUILD, SWITCH, defaults, deploy_play
from processes import wait_until
from project import PlaybookRun, Project

HOSTS = "web1,web2,web3"
HEALTHY = {"url": "http://127.0.0.1:{{ lab_http_port }}/health", "retries": 2, "delay": 1, "timeout": 3}
# Short, so that the tests are; a real fleet gets minutes.
TIMEOUTS = {"timeout_confirm": 20, "timeout_activation": 30}
HOLD_SECONDS = 60
REBOOT_SECONDS = 60
DEADLINE = 90  # seconds until a host has reached a phase


@pytest.fixture
def fleet(web1: LabHost, web2: LabHost, web3: LabHost) -> tuple[LabHost, ...]:
    """Three stock hosts."""
    return (web1, web2, web3)


def play(
    keywords: Mapping[str, Any] | None = None, *, hold: int = HOLD_SECONDS, **variables: Any
) -> list[Any]:
    """A transaction of all hosts, each of which waits for the others for `hold` seconds."""
    keywords = {
        **defaults(SWITCH, timeout_hold=hold, timeout_reboot=REBOOT_SECONDS),
        **(keywords or {}),
    }
    settings = {"file": "systems/default.nix", "attr": "{host}", "health_checks": [HEALTHY], **TIMEOUTS}
    return deploy_play(HOSTS, keywords, transaction=True, **{**settings, **variables})


def describe(project: Project, version: str, **others: Mapping[str, Any]) -> None:
    """The systems of all hosts have this version; `others` says what is different on some of them."""
    project.describe_hosts(
        {name: {"version": version, **others.get(name, {})} for name in ("web1", "web2", "web3")}
    )


def outcomes(run: PlaybookRun) -> dict[str, str]:
    """How each host ended: the last outcome that was reported for it."""
    return {
        entry.host: entry.result["outcome"]
        for entry in run.results
        if entry.action.endswith(SWITCH) and "outcome" in entry.result
    }


def versions(fleet: tuple[LabHost, ...]) -> list[str]:
    """What each host serves; it has to run and boot the same system."""
    for host in fleet:
        assert host.current_system() == host.boot_default() == host.profile()
    return [host.http("/version")[1] for host in fleet]


def awaiting(host: LabHost) -> bool:
    return "awaiting" in host.ask("cat /var/lib/nixferry/activations/*/phase 2>/dev/null || true")


@contextmanager
def in_background(project: Project, playbook: list[Any]) -> Iterator[subprocess.Popen[str]]:
    argv, settings = project.prepare(playbook)
    controller = subprocess.Popen(
        argv,
        cwd=project.directory,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield controller
    finally:
        if controller.poll() is None:
            os.killpg(controller.pid, signal.SIGKILL)
        controller.communicate()


def test_all_are_confirmed_or_all_go_back(fleet: tuple[LabHost, ...], project: Project) -> None:
    describe(project, "2")
    # With fewer forks than hosts the first one waits for the last one to begin.
    run = project.run_playbook(play(), "--forks", "1").assert_ok()
    assert outcomes(run) == dict.fromkeys(("web1", "web2", "web3"), "committed")
    assert versions(fleet) == ["2"] * 3

    describe(project, "3", web2={"web": {"healthy": False}})
    run = project.run_playbook(play(), "--forks", "1")
    assert run.return_code != 0
    assert outcomes(run) == dict.fromkeys(("web1", "web2", "web3"), "rolled-back")
    assert versions(fleet) == ["2"] * 3
    messages = {entry.host: entry.result["msg"] for entry in run.find(SWITCH) if entry.status == "failed"}
    assert set(messages) == {"web1", "web2", "web3"}
    assert "web2: health check failed" in messages["web2"]
    for name in ("web1", "web3"):
        assert f"{name}: deploy failed: it was rolled back to" in messages[name]
        assert "these hosts of the transaction failed (web2: health check failed" in messages[name]

    # What is up to date already stays as it is.
    project.describe_hosts({"web1": {"version": "4"}, "web2": {"version": "2"}, "web3": {"version": "4"}})
    run = project.run_playbook(play(collect_garbage=True)).assert_ok()
    assert outcomes(run) == {"web1": "committed", "web2": "unchanged", "web3": "committed"}
    assert versions(fleet) == ["4", "2", "4"]
    again = project.run_playbook(play()).assert_ok()
    assert [again.changed(host.name) for host in fleet] == [[], [], []]


def test_reboots_within_a_transaction(fleet: tuple[LabHost, ...], project: Project) -> None:
    """Two hosts get a new kernel, the third needs no reboot; then one of them comes back unhealthy."""
    reboot = {"reboot": "if-required"}
    kernel = {"kernel": "6.12.2"}
    describe(project, "2", web1=kernel, web2=kernel)
    boots = [host.boot() for host in fleet]
    run = project.run_playbook(play(**reboot)).assert_ok()
    assert outcomes(run) == dict.fromkeys(("web1", "web2", "web3"), "committed")
    assert versions(fleet) == ["2"] * 3
    assert [host.boot() != boot for host, boot in zip(fleet, boots, strict=True)] == [True, True, False]

    newer = {"kernel": "6.12.3"}
    describe(project, "3", web1=newer, web2={**newer, "web": {"healthy": False}})
    old = [host.booted_system() for host in fleet]
    run = project.run_playbook(play(**reboot))
    assert run.return_code != 0
    assert outcomes(run) == dict.fromkeys(("web1", "web2", "web3"), "rolled-back")
    assert versions(fleet) == ["2"] * 3
    assert [host.booted_system() for host in fleet] == old


def test_nothing_is_activated_when_a_host_cannot_be_built(
    fleet: tuple[LabHost, ...], project: Project
) -> None:
    describe(project, "2", web2=BROKEN_BUILD)
    before = [host.snapshot() for host in fleet]
    run = project.run_playbook(play())
    assert run.return_code != 0
    assert [host.snapshot() for host in fleet] == before
    failed = {entry.host: entry.result["msg"] for entry in run.results if entry.status == "failed"}
    assert "web2: build failed" in failed["web2"]
    for name in ("web1", "web3"):
        assert "nothing was activated here, since the transaction has lost web2" in failed[name]

    # The same for a host that refuses the deploy; in check mode no command is run that might do so.
    describe(project, "2")
    checks = [{"name": "not web2", "command": "test $(hostname) != web2", "retries": 0}]
    checked = project.run_playbook(play(pre_deploy_checks=checks), "--check").assert_ok()
    assert checked.result("nix_health_check", "web2")["not_run"] == ["not web2"]
    refused = project.run_playbook(play(pre_deploy_checks=checks))
    failed = {entry.host: entry.result["msg"] for entry in refused.results if entry.status == "failed"}
    assert "web2: pre-deploy check failed: not web2: exit code 1" in failed["web2"]
    for host, earlier in zip(fleet, before, strict=True):
        assert (host.current_system(), host.profile()) == (earlier.current_system, earlier.profile)
        assert host.name == "web2" or "the transaction has lost web2" in failed[host.name]

    free = project.run_playbook(play({"strategy": "ansible.builtin.free"}))
    assert free.return_code != 0
    assert "lets every host run ahead" in free.result(SWITCH, "web1")["msg"]
    assert [host.snapshot() for host in fleet] == before


def test_a_host_that_is_lost_in_the_middle_takes_the_others_along(
    fleet: tuple[LabHost, ...], project: Project
) -> None:
    web2 = fleet[1]
    describe(project, "2", web2={"activationScripts": {"slow": "sleep 600"}})
    with in_background(project, play({"any_errors_fatal": True}, timeout_activation=DEADLINE)) as controller:
        wait_until(lambda: awaiting(fleet[0]) and awaiting(fleet[2]), deadline=DEADLINE, what="two await")
        web2.power_cut()
        web2.power_on()
        output, _nothing = controller.communicate(timeout=DEADLINE)
    run = project.collect(subprocess.CompletedProcess([], controller.returncode, output, ""))
    assert run.return_code != 0, output
    assert outcomes(run) == dict.fromkeys(("web1", "web2", "web3"), "rolled-back"), output
    assert versions(fleet) == ["stock"] * 3


def test_when_the_controller_dies_everybody_goes_back(fleet: tuple[LabHost, ...], project: Project) -> None:
    describe(project, "2", web3={"activationScripts": {"slow": "sleep 600"}})
    with in_background(project, play(hold=8, timeout_confirm=8, timeout_activation=15)) as controller:
        wait_until(lambda: awaiting(fleet[0]) and awaiting(fleet[1]), deadline=DEADLINE, what="two await")
        os.killpg(controller.pid, signal.SIGKILL)
    wait_until(
        lambda: all(host.http("/version") == (200, "stock") for host in fleet),
        deadline=DEADLINE,
        what="all are back",
    )
    wait_until(lambda: not any(awaiting(host) for host in fleet), deadline=DEADLINE, what="all have settled")
    assert versions(fleet) == ["stock"] * 3


def test_a_host_that_cannot_be_confirmed_takes_back_those_that_were(
    fleet: tuple[LabHost, ...], project: Project
) -> None:
    """web2 is healthy at first and no more when it is to be confirmed."""
    describe(project, "2")
    before = [host.current_system() for host in fleet]
    once = {"command": "test {{ inventory_hostname }} != web2 || mkdir /run/was-healthy-once", "retries": 0}
    run = project.run_playbook(play(health_checks=[once]))
    assert run.return_code != 0
    assert outcomes(run) == dict.fromkeys(("web1", "web2", "web3"), "rolled-back")
    messages = {entry.host: entry.result["msg"] for entry in run.find(SWITCH) if entry.status == "failed"}
    for name in ("web1", "web3"):
        assert (
            f"{name}: deploy failed: it had been confirmed and was taken back to generation 1"
            in messages[name]
        )
        assert "web2: health check failed" in messages[name]
    assert "was-healthy-once" in messages["web2"]
    assert versions(fleet) == ["stock"] * 3
    assert [host.current_system() for host in fleet] == before


def test_the_steps_by_hand(web3: LabHost, project: Project) -> None:
    new = project.build("web3", {"version": "2"})
    web3.copy_closure(new)
    activate = {"step": "activate", "toplevel": new, "timeout_hold": 90, "timeout_confirm": 20}
    steps: list[tuple[str, dict[str, Any]]] = [
        ("begin", activate),
        ("abort", {"step": "abort", "activation": "{{ begin.activation }}", "reason": "not today"}),
        ("abort_again", {"step": "abort", "activation": "{{ begin.activation }}"}),
        ("too_late", {"step": "confirm", "activation": "{{ begin.activation }}"}),
        ("begin_again", activate),
        ("confirm", {"step": "confirm", "activation": "{{ begin_again }}", "health_checks": [HEALTHY]}),
        ("confirm_again", {"step": "confirm", "activation": "{{ begin_again.activation }}"}),
        ("nothing_to_do", activate),
        ("confirm_nothing", {"step": "confirm", "activation": "{{ nothing_to_do }}"}),
        ("abort_what_is_committed", {"step": "abort", "activation": "{{ begin_again.activation }}"}),
    ]
    tasks = [
        {"name": name, "nixferry.deploy.nix_switch": options, "register": name, "ignore_errors": True}
        for name, options in steps
    ]
    playbook = [{"hosts": "web3", "gather_facts": False, "tasks": tasks}]
    checked = project.run_playbook(playbook, "--check")
    assert [checked.result(name)["outcome"] for name in ("begin", "abort", "confirm")] == [
        "awaiting-confirmation",
        "rolled-back",
        "committed",
    ]
    assert web3.http("/version") == (200, "stock")

    run = project.run_playbook(playbook)
    ended = {
        name: (
            run.result(name)["outcome"],
            run.result(name)["changed"],
            run.find(name)[-1].status == "ignored",
        )
        for name, _options in steps
    }
    assert ended == {
        "begin": ("awaiting-confirmation", True, False),
        "abort": ("rolled-back", True, False),
        "abort_again": ("rolled-back", False, False),
        "too_late": ("rolled-back", False, True),
        "begin_again": ("awaiting-confirmation", True, False),
        "confirm": ("committed", True, False),
        "confirm_again": ("committed", False, False),
        "nothing_to_do": ("unchanged", False, False),
        "confirm_nothing": ("unchanged", False, False),
        "abort_what_is_committed": ("committed", False, True),
    }
    # The time for the others, and what no health checks take.
    assert 60 < run.result("begin")["seconds_left"] <= 90
    assert "not today" in run.result("abort")["msg"]
    assert web3.http("/version") == (200, "2")
    assert web3.current_system() == web3.boot_default() == web3.profile() == new
