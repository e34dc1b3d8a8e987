# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What root's half of the pull agent makes of a pointer and of the guard's answers, in every shell."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from guard_host import SHELLS, Host
from pull_host import NSENTER, SETTINGS, SYSTEMCTL, TOPLEVEL, run_agent

from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import (
    Pointer,
    sign_pointer,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import SshKey

in_every_shell = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
# Gives one answer after the other to each verb; the last one stays.
GUARD = """\
#!/bin/sh
request=$(cat)
printf '%s\\n' "$request" >>"$HOST/requests"
verb=$(printf '%s\\n' "$request" | sed -n 's/^verb=//p')
number=$(($(cat "$HOST/asked-$verb" 2>/dev/null || echo 0) + 1))
if [ -e "$HOST/$verb-$number" ]; then echo "$number" >"$HOST/asked-$verb"; else number=$((number - 1)); fi
[ "$number" -gt 0 ] || exit 1
echo; echo nixferry=1
cat "$HOST/$verb-$number"
echo "end=$verb"
"""
GO = {"probe": ["toplevel_valid=1"], "start": ["phase=prepared"]}


class Agent:
    def __init__(self, host: Host, place: Path, key: SshKey) -> None:
        self.host, self.place, self.key = host, place, key
        self.serial = 100
        host.program("guard", GUARD)
        host.program("systemctl", SYSTEMCTL)
        host.program("nsenter", NSENTER)
        host.environment["NIXFERRY_SECOND"] = "20"
        # Some busyboxes have one of their own.
        host.environment["NIXFERRY_NSENTER"] = str(host.programs / "nsenter")
        self.point()

    def point(self, toplevel: str = TOPLEVEL) -> None:
        self.serial += 1
        now = int(time.time())
        pointer = Pointer("web1", "stable", self.serial, now - 10, now + 1000, toplevel)
        (self.place / "incoming").write_bytes(sign_pointer(pointer, self.key))

    def run(self, answers: Mapping[str, Sequence[str]], **settings: str) -> str:
        """The outcome of a run, with these answers of the guard."""
        for file in self.host.directory.glob("*-[0-9]*"):
            file.unlink()
        for file in self.host.directory.glob("asked-*"):
            file.unlink()
        (self.host.directory / "requests").write_text("")
        for verb, texts in answers.items():
            for number, text in enumerate(texts, start=1):
                (self.host.directory / f"{verb}-{number}").write_text(f"{text}\n")
        given = {**SETTINGS, "PULL_GUARD": str(self.host.programs / "guard"), **settings}
        # The units of this machine are none of the test's business.
        lines = ("retire_bootstrap() { true; }", "verb_activate")
        done = run_agent(self.host, self.place, *lines, **given)
        outcome = self.status("outcome")
        assert done.return_code == (0 if outcome in ("committed", "unchanged", "held", "waiting") else 1)
        return outcome

    def status(self, key: str) -> str:
        lines = (self.place / "status").read_text().splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith(f"{key}="))

    def asked(self) -> list[str]:
        """The verbs that the guard was asked, in order."""
        lines = (self.host.directory / "requests").read_text().splitlines()
        return [line.removeprefix("verb=") for line in lines if line.startswith("verb=")]


@pytest.fixture
def agent(host: Host, place: Path, keys: dict[str, SshKey]) -> Agent:
    return Agent(host, place, keys["publisher"])


@in_every_shell
def test_a_system_is_confirmed_when_it_has_proved_itself(agent: Agent) -> None:
    status = ["phase=activating", "phase=awaiting-confirmation"]
    assert agent.run({**GO, "status": status, "confirm": ["phase=committed"]}) == "committed"
    assert agent.asked() == ["probe", "start", "status", "status", "confirm"]
    assert agent.status("serial") == str(agent.serial)
    assert not (agent.place / "under_way").exists()
    assert "start nixferry-pull-reach.service" in (agent.host.directory / "systemctl").read_text()
    request = (agent.host.directory / "requests").read_text().splitlines()
    assert {"despite_pull=1", "reboot=never", f"toplevel={TOPLEVEL}", "roll_back_on_failure=1"} <= set(
        request
    )
    assert agent.run({"probe": ["unchanged=1"]}) == "unchanged"
    assert agent.asked() == ["probe"]


@in_every_shell
def test_one_that_is_cut_off_or_ill_is_aborted_and_kept_back(agent: Agent) -> None:
    (agent.host.directory / "cut-off").touch()
    ends = {
        "status": ["phase=awaiting-confirmation"],
        "abort": ["phase=rolled-back\nreason=aborted\nmessage=no"],
    }
    assert agent.run({**GO, **ends}) == "rolled-back"
    assert agent.asked() == ["probe", "start", "status", "abort"]
    assert agent.status("quarantined") == TOPLEVEL
    agent.point()
    assert agent.run(GO) == "quarantined"
    assert agent.asked() == ["probe"]
    (agent.host.directory / "cut-off").unlink()
    (agent.host.directory / "ill").touch()
    other = f"/nix/store/{'b' * 32}-nixos-system-web1"
    agent.point(other)
    # The new system has checks, whether or not the agent of the old one has some.
    assert agent.run({**GO, **ends}, PULL_CHECKS="") == "rolled-back"
    assert (agent.place / f"quarantine/{Path(other).name}").exists()


REFUSALS = {
    "locked": "error=lock_held\nmessage=another deploy\nlock_deployer=ann@desk",
    "not-signed": "error=not_signed\nmessage=no signature",
    "refused-by-guard": "error=no_reboot\nmessage=no reboot",
}


@in_every_shell
def test_a_refusal_of_the_guard_keeps_nothing_back(agent: Agent) -> None:
    for outcome, answer in REFUSALS.items():
        assert agent.run({**GO, "start": [answer]}) == outcome
        assert not (agent.place / "quarantine").exists()
        assert not (agent.place / "under_way").exists()
    assert agent.run({}) == "failed"
    assert agent.run({**GO, "status": ["phase=committed"]}) == "committed"


@in_every_shell
def test_what_was_interrupted_is_told_and_tried_once_more(agent: Agent) -> None:
    """The agent was killed after it had asked for an activation."""
    ended = "phase=rolled-back\nreason=guard_killed\nmessage=it was killed"
    (agent.place / "under_way").write_text(f"pull-1 101 {TOPLEVEL}\n")
    assert agent.run({"status": [ended]}) == "interrupted"
    assert agent.asked() == ["status"]
    assert not (agent.place / "quarantine").exists()
    assert agent.run({**GO, "status": [ended]}) == "rolled-back"
    assert agent.status("quarantined") == TOPLEVEL

    # It was killed before the guard had begun.
    other = f"/nix/store/{'b' * 32}-nixos-system-web1"
    agent.point(other)
    (agent.place / "under_way").write_text(f"pull-2 102 {other}\n")
    gone = "error=no_activation\nmessage=unknown"
    assert agent.run({**GO, "status": [gone, "phase=committed"]}) == "committed"
    assert agent.asked() == ["status", "probe", "start", "status"]

    # The guard waits: the new run judges. It was interrupted: it is told to end that.
    (agent.place / "under_way").write_text(f"pull-3 103 {other}\n")
    waiting = {"status": ["phase=awaiting-confirmation"], "confirm": ["phase=committed"]}
    assert agent.run(waiting) == "committed"
    (agent.place / "under_way").write_text(f"pull-4 104 {other}\n")
    interrupted = {
        "status": ["phase=activating\ninterrupted=1"],
        "recover": ["phase=rolled-back\nreason=locked"],
    }
    assert agent.run(interrupted) == "rolled-back"
    assert agent.asked() == ["status", "status", "recover"]
    # After damage to the disk the file may contain anything.
    (agent.place / "under_way").write_text("../../x $(id) y\n")
    assert agent.run({"probe": ["unchanged=1"]}) == "unchanged"


@in_every_shell
def test_a_reboot_waits_for_its_window(agent: Agent) -> None:
    """The guard is asked for a reboot only where the policy has one now, and the status says that one is due."""
    choices = {
        ("never", "00:00-24:00"): "never",
        ("if-required", ""): "if-required",
        ("window", "00:00-24:00"): "if-required",
        ("window", "nonsense"): "never",
    }
    for (policy, windows), wanted in choices.items():
        answers = {**GO, "status": ["phase=committed\nreboot_required=1"]}
        assert agent.run(answers, PULL_REBOOT=policy, PULL_REBOOT_WINDOWS=windows) == "committed"
        request = (agent.host.directory / "requests").read_text().splitlines()
        assert {line for line in request if line.startswith("reboot=")} == {f"reboot={wanted}"}
        assert agent.status("needs_reboot") == "1"


@in_every_shell
def test_nothing_is_activated_for_now(agent: Agent) -> None:
    (agent.place / "hold").write_text("0 a reason\n")
    assert agent.run(GO) == "held"
    (agent.place / "hold").unlink()
    assert agent.run(GO, PULL_WINDOWS="nonsense") == "waiting"
    # What runs already needs no window.
    assert agent.run({"probe": ["unchanged=1"]}, PULL_WINDOWS="nonsense") == "unchanged"
    assert agent.asked() == ["probe"]


CODES = {
    65: "format",
    66: "absent",
    69: "unreachable",
    73: "disk-full",
    74: "closure",
    75: "clock",
    77: "signature",
    78: "expired",
    79: "foreign",
    80: "replayed",
    243: "not-fetched",
    1: "not-fetched",
}


def test_a_fetch_that_failed_is_told_by_its_exit_code(agent: Agent) -> None:
    (agent.place / "incoming").write_text("")
    for code, outcome in CODES.items():
        (agent.host.directory / "code").write_text(f"{code}\n")
        assert agent.run({}) == outcome
        assert agent.asked() == []


def test_metrics(agent: Agent) -> None:
    place = agent.host.directory / "metrics"
    place.mkdir()
    answers = {**GO, "status": ["phase=committed\nreboot_required=1"]}
    assert agent.run(answers, PULL_METRICS=str(place)) == "committed"
    lines = (place / "nixferry_pull.prom").read_text().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values["nixferry_pull_serial"] == str(agent.serial)
    assert values["nixferry_pull_needs_reboot"] == "1"
    assert values['nixferry_pull_outcome{outcome="committed"}'] == "1"
    for name in values:
        assert f"# TYPE {name.partition('{')[0]} gauge" in lines
    assert [file.name for file in place.iterdir()] == ["nixferry_pull.prom"]


@in_every_shell
def test_the_agent_of_the_configuration_replaces_the_bootstrapped_one(host: Host, place: Path) -> None:
    host.program("systemctl", SYSTEMCTL)
    control, units = (host.directory / f"etc/systemd/{name}" for name in ("system.control", "system"))
    (control / "timers.target.wants").mkdir(parents=True)
    for name in (
        "nixferry-pull.service",
        "nixferry-pull.timer",
        "nixferry-pull-reach.service",
        "other.service",
    ):
        (control / name).write_text("[Unit]\n")
    (control / "timers.target.wants/nixferry-pull.timer").symlink_to("../nixferry-pull.timer")
    # The variable counts when the function is called.
    retire = (f"ROOT={shlex.quote(str(host.directory))}", "retire_bootstrap")
    run_agent(host, place, *retire)
    assert (control / "nixferry-pull.service").exists()

    store = host.directory / "nix/store/x-unit"
    store.mkdir(parents=True)
    (store / "nixferry-pull.service").write_text("[Unit]\n")
    units.mkdir()
    (units / "nixferry-pull.service").symlink_to(store / "nixferry-pull.service")
    run_agent(host, place, *retire)
    left = sorted(file.name for file in control.rglob("*") if not file.is_dir())
    assert left == ["other.service"]
    assert "daemon-reload" in (host.directory / "systemctl").read_text()
