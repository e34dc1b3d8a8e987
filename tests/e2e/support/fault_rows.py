# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One fault, one test, one row of the table that `make test-faults` prints.

A test of a fault has the marker `faults` and takes the fixture `fault`:

    pytestmark = pytest.mark.faults

    def test_stops_sshd(fault: Fault) -> None:
        fault.use("web1")
        report = fault.deploy({"version": "2", **FAULTS["stops_sshd"]})
        assert "confirm" in report["msg"]
        fault.assert_settled(report, outcome="rolled-back")

`use` gives a healthy host in a known state (one that an earlier row has left settled, or else made anew) and remembers
what it was like. `deploy` builds a system, puts its closure on the host and runs `nix_switch` on it; what goes wrong in
other ways calls `install` for the closure and `play` for the play, does its own worst, and says by `strikes()` when the
host was hit. `assert_settled` is what all faults have in common; see there. The row is filled in on the way.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from fault_state import HostState, look
from lab import PATIENCE, Lab, LabHost
from plays import SWITCH, task_play
from processes import wait_until
from project import Project

# Short, so that the tests are; a real host gets minutes. In seconds.
TIMEOUTS = {"timeout_activation": 20, "timeout_confirm": 10}
LOGIN_DEADLINE = 60.0  # seconds from the fault until a fresh login must have answered
PHASE_DEADLINE = 60.0  # seconds until the guard must have come to a phase
SETTLE_DEADLINE = 30.0  # seconds from the end of a deploy until the guard must have gone

# Two healthy systems; the next deploy is the one that does not run.
HEALTHY = ({"version": "healthy-1"}, {"version": "healthy-2"})

# Hosts that the last row has left healthy, with what they run: (container, store path).
_settled: dict[str, str] = {}
# Store paths that were built, by the version of the healthy system, and where they were copied to.
_healthy: dict[str, str] = {}

NEW_OUTCOMES = ("committed",)
OLD_OUTCOMES = ("rolled-back", "failed")
FINAL = (*OLD_OUTCOMES, *NEW_OUTCOMES)


@dataclass
class Fault:
    """A row in the making. `row` is what will be printed."""

    lab: Lab
    project: Project
    row: dict[str, Any]
    _host: LabHost | None = field(default=None, init=False)
    _before: HostState | None = field(default=None, init=False)
    _after: HostState | None = field(default=None, init=False)
    _spoilt: bool = field(default=False, init=False)
    _struck: float | None = field(default=None, init=False)

    @property
    def host(self) -> LabHost:
        """The host that `use` has chosen."""
        assert self._host is not None, "call use() first"
        return self._host

    @property
    def before(self) -> HostState:
        """What the host was like."""
        assert self._before is not None, "call use() first"
        return self._before

    # Preparing

    def use(self, name: str) -> LabHost:
        """Choose the host of the row: settled, healthy, and with nothing of a guard left on it."""
        self._host = host = self.lab.hosts[name]
        self.row["host"] = name
        expected = _settled.pop(host.container, None)
        self._before = look(host) if expected is not None and host.boot() else None
        if self._before is None or {self._before.runs, self._before.boots, self._before.profile} != {
            expected
        }:
            host.make_anew()
            self._before = look(host)
        assert not self._before.left, f"{name} was not clean: {self._before.left}"
        return host

    def remember(self) -> HostState:
        """What the host is like now counts as what it was like before the fault: call it after preparations."""
        self._before = look(self.host)
        return self._before

    def third_party_switches(self, toplevel: str) -> HostState:
        """Switch the host past the deploy that is under way: from now on that is what must be left alone."""
        known = self.before.activations
        self.host.install_system(toplevel)
        self._before = replace(look(self.host), activations=known)
        return self._before

    def install(self, system: Mapping[str, Any]) -> str:
        """Build a system and put its closure on the host; returns its store path."""
        toplevel = self.project.build(self.host.name, system)
        self.host.copy_closure(toplevel)
        return toplevel

    def play(self, toplevel: str, play: Mapping[str, Any] | None = None, **options: Any) -> list[Any]:
        """A play that switches the host to `toplevel`; `play` holds further keywords of the play."""
        settings = {"toplevel": toplevel, **TIMEOUTS, **options}
        return task_play(self.host.name, "nix_switch", settings, **(play or {}))

    # Doing

    def strikes(self) -> None:
        """The fault hits the host now. Unless this is called, it does when the last activation began."""
        self._struck = time.time()

    def deploy(self, system: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """Deploy a system; returns the result of `nix_switch`, whatever it was."""
        return self.switch(self.install(system), **options)

    def switch(self, toplevel: str, play: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """Switch the host to a system that it has; returns the result of `nix_switch`."""
        return self.project.run_playbook(self.play(toplevel, play, **options)).result(SWITCH, self.host.name)

    @contextmanager
    def switching(
        self, toplevel: str, play: Mapping[str, Any] | None = None, **options: Any
    ) -> Iterator[subprocess.Popen[str]]:
        """A controller in a process group of its own that switches the host; killed at the end if it still runs.

        `report` takes what it has to say once it has ended.
        """
        argv, settings = self.project.prepare(self.play(toplevel, play, **options))
        with subprocess.Popen(
            argv,
            cwd=self.project.directory,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as controller:
            try:
                yield controller
            finally:
                if controller.poll() is None:
                    os.killpg(controller.pid, signal.SIGKILL)

    def report(self, controller: subprocess.Popen[str], deadline: float = 120) -> dict[str, Any]:
        """Wait for the end of a controller of `switching`; returns the result of `nix_switch`."""
        output, _nothing = controller.communicate(timeout=deadline * PATIENCE)
        done = subprocess.CompletedProcess(controller.args, controller.returncode, output, "")
        return self.project.collect(done).result(SWITCH, self.host.name)

    def activation(self) -> tuple[str, str]:
        """Id and phase of the activation that was begun since `before`; empty strings when there is none."""
        script = 'cd /var/lib/nixferry/activations && for i in *; do echo "$i $(cat "$i/phase")"; done'
        known = dict(self.before.activations)
        lines = (line.split() for line in self.host.execute(script, check=False).stdout.splitlines())
        found = [(words[0], words[1]) for words in lines if len(words) == 2 and words[0] not in known]
        return found[-1] if found else ("", "")

    def wait_for_phase(self, *phases: str, deadline: float = PHASE_DEADLINE) -> str:
        """Wait until the activation is in one of the phases; returns its id."""
        wait_until(
            lambda: self.activation()[1] in phases, deadline=deadline, what=f"phase {' or '.join(phases)}"
        )
        return self.activation()[0]

    def spoil(self) -> None:
        """The host is not fit for another row, whatever becomes of this one: the next makes it anew."""
        self._spoilt = True

    # Judging

    def assert_settled(
        self,
        report: Mapping[str, Any] | None,
        *,
        outcome: str | tuple[str, ...] = (),
        new: str = "",
        deadline: float = LOGIN_DEADLINE,
        next_deploy: bool = True,
        interrupted: bool = False,
    ) -> HostState:
        """What must be so after every fault; returns what the host was like before the next deploy.

        - Within `deadline` seconds of the fault a fresh login answers, and becomes root.
        - The host runs and boots either exactly what it did before, or the new system; nothing is left of the guard.
        - `report`, the result of `nix_switch`, says the same as the host: `rolled-back` or `failed` with the old
          system, `committed` with the new one. None stands for a controller that did not live to report anything.
        - The report's outcome is one of `outcome`, if that is given.
        - The next deploy works.

        `new` is the store path of the new system; by default the one that the report names. With `interrupted` the
        host may have lost power before it could end the record of its activation, and no controller came to do so: the
        next deploy does.
        """
        self._wait_for_login(deadline)
        reported = self._reported(report)
        self.row["outcome"] = reported
        after = self._wait_until_settled(interrupted)
        new = new or (str(report.get("new", "")) if report else "")
        self.row["runs"] = self._which(after.runs, new)
        self.row["boots"] = self._which(after.boots, new)
        expected = (outcome,) if isinstance(outcome, str) else outcome
        assert not expected or reported in expected, f"reported {reported}, not {expected}: {report}"
        self._assert_one_system(after, new)
        self._assert_truth(report, reported, after, new, interrupted)
        self._after = after
        if next_deploy:
            self.assert_next_deploy_works()
        return after

    def _which(self, path: str, new: str) -> str:
        old = (self.before.runs, self.before.boots)
        return "old" if path in old else "new" if path == new else path or "nothing"

    def _wait_for_login(self, deadline: float) -> None:
        struck = self._struck or self._activation_began()

        def answers() -> bool:
            login = self.host.ssh("sudo -n id -u", user="deploy", check=False)
            return login.returncode == 0 and login.stdout.strip() == "0"

        left = max(0.0, struck + deadline - time.time())
        wait_until(answers, deadline=left, what=f"a fresh login within {deadline} s of the fault")
        assert self.host.ssh("id -u", check=False).stdout.strip() == "0", "root does not get in"
        self.row["login"] = f"{time.time() - struck:.0f} s"

    def _activation_began(self) -> float:
        """When the latest activation began, in seconds since the epoch; now if there was none."""
        script = (
            "cat $(ls -1td /var/lib/nixferry/activations/*/ | head -n 1)history 2>/dev/null | grep activating"
        )
        words = self.host.execute(script, check=False).stdout.split()
        return float(words[1]) if words else time.time()

    @staticmethod
    def _reported(report: Mapping[str, Any] | None) -> str:
        if report is None:
            return "(nothing)"
        if report.get("unreachable"):
            return "unreachable"
        # Without an outcome the guard has refused to begin.
        return str(report.get("outcome") or ("failed" if "msg" in report else "?"))

    def _wait_until_settled(self, interrupted: bool = False) -> HostState:
        """The host once no deploy works on it any more; with a failed roll back the roots are meant to stay."""
        seen: list[HostState] = []

        def settled() -> bool:
            state = look(self.host)
            seen.append(state)
            phase = state.last_phase(self.before)
            unfinished = interrupted and phase not in FINAL
            kept = ("/nix/var/nix/gcroots/nixferry/",) if unfinished or phase == "failed" else ()
            if unfinished:
                kept = (*kept, "/var/lib/nixferry/")
            begun = set(state.activations) - set(self.before.activations)
            final = unfinished or all(phase in FINAL for _id, phase in begun)
            return final and not [left for left in state.left if not left.startswith(kept)]

        try:
            wait_until(settled, deadline=SETTLE_DEADLINE, what="the guard has ended and cleaned up")
        except TimeoutError as error:
            raise AssertionError(
                f"{error}; there are {seen[-1].activations}, left: {seen[-1].left}"
            ) from None
        return seen[-1]

    def _assert_one_system(self, after: HostState, new: str) -> None:
        """Old or new, but nothing in between."""
        if after.runs == self.before.runs:
            assert (after.boots, after.profile_link) == (self.before.boots, self.before.profile_link), after
            assert after.generations == self.before.generations
            assert after.services == self.before.services
        else:
            assert (after.runs, after.boots, after.profile) == (new, new, new), after
        assert after.etc == after.wanted_etc
        if "web.service" in after.services:
            assert self.host.http() == (200, after.version), "the web service of another system answers"

    def _assert_truth(
        self,
        report: Mapping[str, Any] | None,
        reported: str,
        after: HostState,
        new: str,
        interrupted: bool,
    ) -> None:
        """The report says what the host shows."""
        phase = after.last_phase(self.before)
        if report is None or reported in ("unreachable", "unknown"):
            assert interrupted or phase in ("", *FINAL), after
        elif phase:
            assert phase == reported, f"the host's record says {phase}: {report}"
        else:
            assert reported in ("failed", "unchanged"), f"the host has no record of it: {report}"
        runs_new = phase in NEW_OUTCOMES and after.runs != self.before.runs
        assert after.runs == (new if runs_new else self.before.runs), after
        if report is not None:
            assert bool(report.get("changed")) == (reported in NEW_OUTCOMES), report
            if reported not in (*NEW_OUTCOMES, "unchanged"):
                assert self.host.name in report["msg"], report["msg"]

    def assert_next_deploy_works(self) -> None:
        """A healthy system is committed, and the host is good for another row."""
        running = look(self.host).runs if self._after is None else self._after.runs
        toplevels = [self._healthy_system(system) for system in HEALTHY]
        toplevel = next(path for path in toplevels if path != running)
        if not self.host.has_path(toplevel):
            self.host.copy_closure(toplevel)
        options = {"timeout_activation": 180, "timeout_confirm": 60}
        report = self.switch(toplevel, **options)
        assert report.get("outcome") == "committed", f"the next deploy: {report}"
        state = look(self.host)
        assert (state.runs, state.boots, state.profile) == (toplevel, toplevel, toplevel), state
        wait_until(
            lambda: not look(self.host).left, deadline=SETTLE_DEADLINE, what="the next guard has ended"
        )
        if not self._spoilt:
            _settled[self.host.container] = toplevel

    def _healthy_system(self, system: Mapping[str, str]) -> str:
        version = system["version"]
        if version not in _healthy:
            _healthy[version] = self.project.build("healthy", system)
        return _healthy[version]
