# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Steps of the random fault walk: what may happen to a host, and what must be so afterwards."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from background import in_background
from bad_disk import FSYNC, WRITE, Disk, bad_disk
from fault_deploys import FAILING_CHECK, last_result
from fault_rows import FINAL
from fault_state import HostState, look
from fault_systems import FAULTS
from holds import CHECK, CHECKING, START, hold, install_holds, release, wait_reached
from lab import PATIENCE, LabHost
from processes import wait_until
from project import Project

SETTLE_DEADLINE = 120.0  # seconds from the end of a step until the host must have come to rest
REBOOT_DEADLINE = 60.0  # seconds until a host that reboots must have gone down
# Three hosts are busy at a time, and none of the faults is an activation that hangs. In seconds.
PATIENT = {"timeout_activation": int(120 * PATIENCE), "timeout_confirm": int(20 * PATIENCE)}
# How long after a place a fault strikes at the latest: a little longer than the deploy takes from there, in seconds.
SPANS = {START: 3.5, CHECKING: 1.5}

# Systems that end with the old one in a matter of seconds.
BAD = (
    "activation_fails",
    "activation_aborts",
    "unit_fails",
    "needs_reboot_to_switch",
    "check_fails",
    "ends_half_way",
    "wrong_platform",
    "no_switch_program",
    "stops_sshd",
    "removes_key",
    "cuts_network",
    "closes_port",
)
# What may happen, and how often.
KINDS = {
    "deploy": 5,
    "bad": 4,
    "unhealthy": 1,
    "test": 2,
    "specialisation": 2,
    "rollback": 2,
    "reboot": 1,
    "power cut": 4,
    "controller killed": 3,
    "guard killed": 3,
    "third party": 2,
    "collection": 2,
    "read-only": 2,
    "no inodes": 2,
    "I/O errors": 2,
}
STRIKES = ("power cut", "controller killed", "guard killed")
STATE = "/var/lib/nixferry"
# What breaks the guard's state directory, and what mends it.
BREAK = {
    "read-only": f"mount --bind {STATE} {STATE} && mount -o remount,ro,bind {STATE}",
    # The same files, on a disk without room for another one
    "no inodes": f"""
set -e
mkdir -p /run/few
mount -t tmpfs -o nr_inodes=$(($(find {STATE} | wc -l) + 100)),mode=700 tmpfs /run/few
cp -a {STATE}/. /run/few/
mount --bind /run/few {STATE}
i=0
while true >{STATE}/filler.$i; do i=$((i + 1)); done 2>/dev/null
""",
}
MEND = {
    # The guard may still be at its end.
    "read-only": f"until umount {STATE}; do sleep 0.1; done",
    "no inodes": f"""
set -e
rm -f {STATE}/filler.*
until umount {STATE}; do sleep 0.1; done
rm -rf {STATE}/*
cp -a /run/few/. {STATE}/
umount /run/few
""",
}
# The disk of the guard's state directory refuses writes: see bad_disk.
DYING = "I/O errors"
# What happens while the health checks are held
MEANWHILE = ("third party", "collection", DYING, *BREAK)


@dataclass(frozen=True)
class Step:
    """One thing that happens to one host. All of it follows from the seed, but for what the clock adds."""

    number: int
    host: str
    kind: str
    fault: str = ""
    """A key of FAULTS."""
    healthy: bool = True
    place: str = ""
    delay: float = 0.0
    """Seconds from the place to the fault that strikes in the midst of a deploy."""

    def __str__(self) -> str:
        details = [self.fault, "" if self.healthy else "unhealthy"]
        details.append(f"{self.delay:.2f} s after {self.place}" if self.place else "")
        return f"{self.number:3} {self.host}: {self.kind} {', '.join(filter(None, details))}".rstrip()


def plan(seed: str, hosts: list[str], steps: int) -> list[Step]:
    """The walk that belongs to a seed: the steps go round the hosts."""
    choice = random.Random(seed)
    return [_choose(choice, number, hosts[number % len(hosts)]) for number in range(steps)]


def _choose(choice: random.Random, number: int, host: str) -> Step:
    kind = choice.choices(list(KINDS), list(KINDS.values()))[0]
    step = Step(number, host, kind, healthy=kind != "unhealthy")
    if kind == "bad":
        return replace(step, fault=choice.choice(BAD))
    if kind in STRIKES:
        place = choice.choice(list(SPANS))
        delay = choice.uniform(0, SPANS[place])
        return replace(step, place=place, delay=delay, healthy=choice.random() < 0.7)
    if kind in MEANWHILE:
        return replace(step, place=CHECKING, healthy=choice.random() < 0.7)
    return step


@dataclass
class Walker:
    """Takes the steps of one host."""

    host: LabHost
    project: Project
    seed: str
    state: HostState = field(init=False)
    """What the host was like after the last step, or after what a third party has done during this one."""
    disk: Disk = field(init=False)
    """The one that the state directory lies on during some steps."""
    unsaved: set[str] = field(default_factory=set, init=False)
    """Activations whose end may be recorded in main memory only, until the next deploy or the next power cut."""

    def __post_init__(self) -> None:
        self.host.make_anew()
        install_holds(self.host)
        self.state = look(self.host)

    def take(self, step: Step) -> str:
        """Take one step; returns what was reported. Raises AssertionError when the host is not as it must be."""
        if step.kind == "reboot":
            return self._reboot()
        if step.kind == "rollback":
            toplevel = system = ""
            report = self._run([{"nixferry.deploy.nix_rollback": {"to": "previous", **PATIENT}}], step)
            toplevel = system = str((report or {}).get("new", ""))
        else:
            toplevel, system = self._build(step)
            report = self._run(self._deploy(step, toplevel), step)
        self._judge(step, report, toplevel, system)
        return "nothing" if report is None else _outcome(report)

    def _build(self, step: Step) -> tuple[str, str]:
        """The toplevel and what of it shall run."""
        version = f"{self.seed}-{step.number}"
        system: dict[str, Any] = {"version": version, **FAULTS.get(step.fault, {})}
        if step.kind == "specialisation":
            system["specialisation"] = {"child": {"version": f"{version}-child"}}
        toplevel = self.project.build(self.host.name, system)
        if step.kind != "specialisation":
            return toplevel, toplevel
        self.host.copy_closure(toplevel)
        return toplevel, self.host.ask(f"readlink -e {toplevel}/specialisation/child")

    def _deploy(self, step: Step, toplevel: str) -> list[Any]:
        options: dict[str, Any] = {"toplevel": toplevel, **PATIENT}
        options["action"] = "test" if step.kind == "test" else "switch"
        options["specialisation"] = "child" if step.kind == "specialisation" else ""
        checks = [CHECK] if step.place == CHECKING else []
        options["health_checks"] = [*checks, *([] if step.healthy else [FAILING_CHECK])]
        return [{"nixferry.deploy.nix_copy": {"path": toplevel}}, {"nixferry.deploy.nix_switch": options}]

    def _run(self, tasks: list[Any], step: Step) -> dict[str, Any] | None:
        """Run the tasks and let the fault of the step strike; None when nobody was left to report."""
        play = [{"hosts": self.host.name, "gather_facts": False, "tasks": tasks}]
        if not step.place:
            with in_background(self.project, play) as controller:
                return last_result(controller.finish())
        if step.kind != DYING:
            return self._run_held(play, step)
        # With the disk goes the record of this deploy.
        with bad_disk(self.host, STATE) as self.disk:
            return self._run_held(play, step)

    def _run_held(self, play: list[Any], step: Step) -> dict[str, Any] | None:
        hold(self.host, step.place)
        with in_background(self.project, play) as controller:
            wait_reached(self.host, step.place)
            if step.kind in MEANWHILE:
                self._meanwhile(step)
                release(self.host)
                try:
                    return last_result(controller.finish())
                finally:
                    if step.kind in MEND:
                        self.host.execute(MEND[step.kind])
            release(self.host)
            time.sleep(step.delay)
            if step.kind == "controller killed":
                controller.kill()
                return None
            if step.kind == "power cut":
                self.host.power_cut()
                self.host.power_on()
            else:
                self.host.execute(KILL_GUARD)
            return last_result(controller.finish())

    def _meanwhile(self, step: Step) -> None:
        """What happens now was no fault of the deploy, and is what the host must be like if the deploy fails."""
        before = self.state
        if step.kind in BREAK:
            self.host.execute(BREAK[step.kind])
        elif step.kind == DYING:
            self.disk.breaks(WRITE, FSYNC)
        elif step.kind == "third party":
            self.host.install_system(
                self.project.build(self.host.name, {"version": f"{self.seed}-{step.number}-third"})
            )
            self.state = replace(look(self.host), activations=before.activations)
        else:
            self.host.execute("nix-collect-garbage -d")
            kept = look(self.host).generations
            self.state = replace(before, generations=kept)

    def _reboot(self) -> str:
        before = self.host.boot()
        self.host.execute("systemctl reboot", check=False)
        wait_until(
            lambda: self.host.boot() not in ("", before), deadline=REBOOT_DEADLINE, what="the host reboots"
        )
        self.host.wait_ready()
        old, self.state = self.state, look(self.host)
        assert (self.state.runs, self.state.boots) == (old.boots, old.boots), self.state
        return "-"

    def _judge(self, step: Step, report: Mapping[str, Any] | None, toplevel: str, system: str) -> None:
        before, after = self.state, self._at_rest(step, report)
        self.state = after
        assert self.host.ssh("sudo -n id -u", user="deploy", check=False).stdout.strip() == "0", "no login"
        recorded = after.last_phase(before)
        outcome = recorded if report is None else _outcome(report)
        if outcome == "committed":
            expected = (system, system, toplevel)
        elif outcome == "tested":
            expected = (system, before.boots, before.profile)
        else:
            runs = before.boots if step.kind == "power cut" else before.runs
            expected = (runs, before.boots, before.profile)
            assert after.generations == before.generations, (before, after)
        assert (after.runs, after.boots, after.profile) == expected, f"{after}, not {expected}: {report}"
        assert after.etc == self.host.ask(f"readlink -e {after.runs}/etc"), after
        if not step.place and step.kind not in ("rollback",):
            good = {"test": "tested", "bad": "", "unhealthy": ""}.get(step.kind, "committed")
            assert outcome == good or (not good and outcome in ("rolled-back", "failed")), report
        if step.kind in (DYING, *BREAK):
            # Without inodes the guard has what it needs. What a power cut would forget is not committed.
            committed = step.healthy and step.kind == "no inodes"
            assert outcome == ("committed" if committed else "rolled-back"), report
            self.unsaved |= {
                identifier for identifier, _phase in set(after.activations) - set(before.activations)
            }
        if step.kind == "third party":
            assert (outcome, (report or {}).get("other_system")) == ("failed", before.runs), report

    def _at_rest(self, step: Step, report: Mapping[str, Any] | None) -> HostState:
        """The host once nobody works on it. A record that lost its host and its controller is for the next deploy."""
        seen: list[HostState] = []
        abandoned = step.kind == "power cut" and report is not None and _outcome(report) == "unreachable"
        # An earlier one, if the deploys since then did not come to the point at which they would have ended it.
        known = {identifier for identifier, phase in self.state.activations if phase not in FINAL}

        def rests() -> bool:
            state = look(self.host)
            seen.append(state)
            open_ones = {identifier for identifier, phase in state.activations if phase not in FINAL}
            left = state.left
            if _keeps_roots(state):
                left = frozenset(path for path in left if not path.startswith("/nix/var/nix/gcroots/"))
            if report is None:
                # The power went while a record was written. Since then no deploy has come to the point of writing one.
                left -= self.state.left & {f"{STATE}/new"}
            if open_ones or known or abandoned:
                left = frozenset(
                    path
                    for path in left
                    if not path.startswith(("/nix/var/nix/gcroots/", "/var/lib/nixferry/"))
                )
            return not left and (abandoned or open_ones <= known | self.unsaved)

        try:
            wait_until(rests, deadline=SETTLE_DEADLINE, what="the host comes to rest")
        except TimeoutError as error:
            raise AssertionError(f"{error}: {seen[-1]}, reported {report}") from None
        return seen[-1]


KILL_GUARD = """
cd "$(ls -1td /var/lib/nixferry/activations/*/ 2>/dev/null | head -n 1)" 2>/dev/null || exit 0
if read -r _ worker _ <worker; then kill -KILL "$worker"; fi 2>/dev/null
exit 0
"""


def _keeps_roots(state: HostState) -> bool:
    """Whether an activation has failed since the last one that was committed: its systems are kept."""
    phases = [phase for _identifier, phase in state.activations if phase in ("failed", "committed")]
    return phases[-1:] == ["failed"]


def _outcome(report: Mapping[str, Any]) -> str:
    if report.get("unreachable"):
        return "unreachable"
    return str(report.get("outcome") or ("failed" if report.get("failed") else "?"))
