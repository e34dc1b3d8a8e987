# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trials of a release, on a machine that is played: what it does at each reboot is a script."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import parse_health_checks
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    HostUnreachable,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.result import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._netboot.look import (
    BEGIN,
    STEP,
    Look,
    look,
    parse_look,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._netboot.trial import (
    Outcome,
    Request,
    Trial,
    keep,
)

OLD, NEW, TRIAL = "0" * 32, "1" * 32, "a" * 32
REQUEST = Request(
    release=NEW,
    trial=TRIAL,
    timeout_reboot=100,
    timeout_confirm=50,
    seconds=400,
    checks=(),
    watch_units=True,
    ignored_units=frozenset(),
)


@dataclass
class Life:
    """One boot of the machine: what it has booted, and how it behaves."""

    release: str
    trial: str = ""
    silent: int = 10
    """Seconds until it answers."""
    for_ever: bool = False
    """It never answers."""
    stubborn: bool = False
    """It does not go down."""
    deaf: bool = False
    """It cannot be told to reboot."""
    crashes: int = 0
    """Seconds after which it reboots by itself; 0 never."""
    state: str = "running"
    failed: tuple[str, ...] = ()
    timer: str = ""
    refuses_timer: bool = False


@dataclass
class Played:
    """The machine, its clock, and the shell to it. A trial reboots when its timer has expired."""

    lives: list[Life]
    now: float = 0.0
    boot: int = 0
    since: float = -1000.0
    seconds: int = 400
    host: str = "node1"
    ran: list[str] = field(default_factory=list)

    @property
    def life(self) -> Life:
        return self.lives[self.boot]

    def reboot(self) -> None:
        self.boot, self.since = self.boot + 1, self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        limit = self.life.crashes or (self.seconds if self.life.timer == "active" else 0)
        if limit and self.now > self.since + limit and self.boot + 1 < len(self.lives):
            self.reboot()

    def clock(self) -> float:
        return self.now

    @contextmanager
    def fresh(self) -> Iterator[Played]:
        yield self

    def line(self, text: str) -> None:
        self.ran.append(f"# {text}")

    def run(self, script: str, **_options: Any) -> RemoteResult:
        self.now += 0.1
        if self.life.for_ever or self.now < self.since + self.life.silent:
            raise HostUnreachable("no route", step=STEP)
        if BEGIN in script:
            return RemoteResult(0, self.answer(), "")
        self.ran.append(script)
        if script == "systemctl --no-block reboot" and self.life.deaf:
            return RemoteResult(127, "", "systemctl: not found")
        if script == "systemctl --no-block reboot" and not self.life.stubborn:
            self.reboot()
        if script.startswith("systemd-run"):
            if self.life.refuses_timer:
                return RemoteResult(1, "", "no D-Bus")
            self.life.timer = "active"
        if script.startswith("systemctl stop") and not self.life.stubborn:
            self.life.timer = "inactive"
        return RemoteResult(0, "", "")

    def answer(self) -> str:
        life = self.life
        lines = [BEGIN, "user 0", f"boot {self.boot:036d}", f"parameter nixferry.release={life.release}"]
        lines += [f"parameter nixferry.trial={life.trial}"] if life.trial else []
        lines += [f"state {life.state}", *(f"failed {unit}" for unit in life.failed), f"timer {life.timer}"]
        return "\n".join(lines) + "\n"


def played(*lives: Life) -> Played:
    return Played([Life(OLD), *lives])


def tried(machine: Played, request: Request = REQUEST) -> Any:
    shell = cast(RemoteShell, machine)
    before = look(shell)
    return Trial(shell, request, machine, clock=machine.clock, sleep=machine.sleep).run(before)


A_TRIAL = Life(NEW, TRIAL, timer="active")


def test_a_healthy_trial_is_proved() -> None:
    machine = played(replace(A_TRIAL))
    ended = tried(machine)
    assert (ended.outcome, ended.cause, ended.armed_by) == (Outcome.PROVED, "", "kernel")
    assert machine.boot == 1
    assert machine.life.timer == "active"
    assert keep(cast(RemoteShell, machine), NEW).timer == "inactive"


def test_the_controller_sets_the_timer_where_the_kernel_has_not() -> None:
    machine = played(replace(A_TRIAL, timer="inactive"))
    assert tried(machine).armed_by == "controller"
    assert any("--on-boot=400" in script for script in machine.ran)


def test_a_trial_without_a_timer_is_not_proved() -> None:
    machine = played(replace(A_TRIAL, timer="inactive", refuses_timer=True), Life(OLD))
    ended = tried(machine)
    assert ended.outcome == Outcome.ROLLED_BACK
    assert "no D-Bus" in ended.cause


@pytest.mark.parametrize(
    "trial",
    [
        replace(A_TRIAL, state="maintenance"),
        replace(A_TRIAL, failed=("nginx.service",), state="degraded"),
        replace(A_TRIAL, state="starting"),
        replace(A_TRIAL, state="starting", crashes=20),
    ],
    ids=["emergency", "failed unit", "never ready", "crash"],
)
def test_what_is_not_healthy_goes_back(trial: Life) -> None:
    machine = played(replace(trial), Life(OLD), Life(OLD))
    ended = tried(machine)
    assert ended.outcome == Outcome.ROLLED_BACK
    assert ended.after.release == OLD
    assert ended.cause


def test_units_that_had_failed_before_do_not_count() -> None:
    machine = played(replace(A_TRIAL, failed=("old.service", "ignored.service"), state="degraded"))
    machine.lives[0].failed = ("old.service",)
    assert (
        tried(machine, replace(REQUEST, ignored_units=frozenset({"ignored.service"}))).outcome
        == Outcome.PROVED
    )


def test_a_trial_of_another_deploy_proves_nothing() -> None:
    machine = played(replace(A_TRIAL, trial="b" * 32))
    ended = tried(machine)
    assert ended.outcome == Outcome.ROLLED_BACK
    assert "came back with the release" in ended.cause


def test_a_machine_that_crashes_comes_back_by_itself() -> None:
    machine = played(Life(OLD))
    ended = tried(machine)
    assert ended.outcome == Outcome.ROLLED_BACK
    assert "by itself" in ended.cause


def test_a_machine_that_does_not_go_down_keeps_what_it_has() -> None:
    machine = played()
    machine.lives[0].stubborn = True
    ended = tried(machine)
    assert ended.outcome == Outcome.ROLLED_BACK
    assert "did not go down" in ended.cause


def test_a_machine_that_cannot_be_told_to_reboot_is_named_at_once() -> None:
    machine = played()
    machine.lives[0].deaf = True
    with pytest.raises(NixferryError, match="systemctl: not found"):
        tried(machine)
    # A trial that cannot be told ends by its timer.
    machine = played(replace(A_TRIAL, state="maintenance", deaf=True), Life(OLD))
    ended = tried(machine)
    assert (ended.outcome, ended.after.release) == (Outcome.ROLLED_BACK, OLD)
    assert machine.now > 400


def test_a_trial_that_no_login_reaches_is_waited_for_until_its_timer_has_ended_it() -> None:
    machine = played(replace(A_TRIAL, for_ever=True), Life(OLD))
    ended = tried(machine)
    assert ended.outcome == Outcome.ROLLED_BACK
    assert ended.after.release == OLD
    assert machine.now > 400


def test_a_trial_that_comes_late_is_not_proved() -> None:
    machine = played(replace(A_TRIAL, silent=150), Life(OLD))
    ended = tried(machine)
    assert ended.outcome == Outcome.ROLLED_BACK
    assert "did not come back within 100 s" in ended.cause


def test_a_machine_that_stays_away_is_unknown() -> None:
    machine = played(Life(NEW, TRIAL, for_ever=True))
    ended = tried(machine)
    assert ended.outcome == Outcome.UNKNOWN
    # Both deadlines have a name and have passed.
    assert 600 <= machine.now < 700


def test_a_failed_check_names_itself() -> None:
    class Checked(Played):
        def run(self, script: str, **options: Any) -> RemoteResult:
            if "true-is-false" in script:
                raise NixferryError("the check true-is-false failed", step=STEP)
            return super().run(script, **options)

    checks = parse_health_checks(
        [
            {
                "name": None,
                "command": "true-is-false",
                "retries": 0,
                "delay": 1,
                "timeout": 1,
                "unit": None,
                "port": None,
                "address": None,
                "url": None,
                "status_codes": [200],
                "contains": None,
                "headers": {},
                "validate_certs": True,
            }
        ]
    )
    machine = Checked([Life(OLD), replace(A_TRIAL), Life(OLD)])
    ended = tried(machine, replace(REQUEST, checks=checks))
    assert ended.outcome == Outcome.ROLLED_BACK
    assert "true-is-false" in ended.cause


def test_a_timer_that_cannot_be_stopped_is_told() -> None:
    machine = Played([replace(A_TRIAL, stubborn=True)])
    with pytest.raises(NixferryError, match="cannot be stopped"):
        keep(cast(RemoteShell, machine), NEW)
    with pytest.raises(NixferryError, match="runs the release"):
        keep(cast(RemoteShell, Played([Life(OLD)])), NEW)


def test_times_that_do_not_fit_are_named() -> None:
    assert not REQUEST.problem
    assert "may take 150 s" in replace(REQUEST, seconds=149).problem


@pytest.mark.parametrize(
    "text",
    ["", "boot x", f"{BEGIN}\n", f"{BEGIN}\nboot ../../etc\n", f"{BEGIN}\nboot {'a' * 37}\n", "\0" * 100],
)
def test_an_answer_that_is_none_is_not_read(text: str) -> None:
    assert parse_look(text) is None


def test_a_hostile_answer_says_only_what_it_may() -> None:
    text = f"banner\n{BEGIN}\nboot {'a' * 36}\nboot {'b' * 36}\nsystem /etc/passwd\nrelease x\nuser 0 1\nfailed a b\n"
    assert parse_look(text) == Look(boot="a" * 36)
