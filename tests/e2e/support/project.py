# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A user's project directory, and playbooks run in it on this machine or in a controller container."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_runs import SETTINGS, run_program
from lab import REPOSITORY, Lab, nix_environment, run

PLAYBOOK_DEADLINE = 300  # seconds for one run of ansible-playbook
CALLBACKS = "tests/e2e/support/callback"
CONTROLLER_REPOSITORY = "/collections/ansible_collections/nixferry/deploy"


@dataclass(frozen=True)
class TaskResult:
    """What one task returned on one host. `status`: ok, failed, ignored, skipped or unreachable."""

    status: str
    host: str
    task: str
    action: str
    result: dict[str, Any]

    @property
    def parts(self) -> tuple[TaskResult, ...]:
        """A deploy in one task as its parts, the copy and the switch; any other task as it is."""
        if not self.action.endswith("nix_deploy"):
            return (self,)
        switch = dict(self.result)
        copied, differences = switch.pop("transfer", None), switch.pop("diff", [])
        found = []
        if copied is not None:
            about = {"diff": differences[0]} if copied["changed"] and differences else {}
            found.append(
                replace(self, status="ok", action="nix_copy", result={**copied, "failed": False, **about})
            )
        elif self.status == "unreachable" or switch.get("step") == "copy":
            found.append(replace(self, action="nix_copy"))
        if "outcome" in switch:
            switch["changed"] = switch["outcome"] in ("committed", "tested")
        if "outcome" in switch or (self.status in ("failed", "unreachable") and switch.get("step") != "copy"):
            about = (
                {"diff": differences[-1] if isinstance(differences, list) else differences}
                if differences
                else {}
            )
            found.append(replace(self, action="nix_switch", result={**switch, **about}))
        return tuple(found) or (self,)


@dataclass(frozen=True)
class PlaybookRun:
    """A finished ansible-playbook: what the user saw, and every task's result."""

    return_code: int
    stdout: str
    stderr: str
    results: tuple[TaskResult, ...]

    def find(self, task: str, host: str | None = None) -> list[TaskResult]:
        """Results of all tasks whose name or action ends with `task` (role prefixes do not matter)."""
        return [
            entry
            for whole in self.results
            for entry in ((whole,) if task == "nix_deploy" else whole.parts)
            if (entry.task.endswith(task) or entry.action.endswith(task)) and host in (None, entry.host)
        ]

    def result(self, task: str, host: str | None = None) -> dict[str, Any]:
        """The last result of a task; raises AssertionError with the whole output when it did not run."""
        found = self.find(task, host)
        assert found, f"no result of {task!r} on {host or 'any host'}\n{self}"
        return found[-1].result

    def assert_ok(self) -> PlaybookRun:
        assert self.return_code == 0, str(self)
        return self

    def changed(self, host: str) -> list[str]:
        """Names of the tasks that changed a host."""
        return [entry.task for entry in self.results if entry.host == host and entry.result.get("changed")]

    def __str__(self) -> str:
        return f"ansible-playbook exited {self.return_code}\n{self.stdout}\n{self.stderr}"


@dataclass(frozen=True)
class Project:
    """A directory as a user has it: inventory, ansible.cfg, playbooks, and `systems`, a flake of mini NixOS hosts.

    With `controller`, the name of a container, playbooks run there: paths are `root` then.
    """

    directory: Path
    lab: Lab
    controller: str = ""

    @property
    def root(self) -> str:
        """The project's directory as playbooks see it."""
        return "/project" if self.controller else str(self.directory)

    @property
    def systems(self) -> Path:
        """Directory of the hosts' systems, with flake.nix, default.nix and hosts.json."""
        return self.directory / "systems"

    def describe_hosts(self, hosts: Mapping[str, Mapping[str, Any]]) -> None:
        """Say what systems the hosts shall have, as options of mini NixOS: {"web1": {"version": "2"}}."""
        self.systems.mkdir(exist_ok=True)
        (self.systems / "hosts.json").write_text(json.dumps(hosts, indent=2) + "\n")
        run([str(REPOSITORY / "tests/fixtures/mini-nixos/materialise"), str(self.systems)])

    def build(self, host: str, system: Mapping[str, Any] | None = None) -> str:
        """Build a host's system on this machine; returns its store path.

        With `system` the host is described anew first, without touching the others.
        """
        if system is not None:
            described = json.loads((self.systems / "hosts.json").read_text()) if self.systems.exists() else {}
            self.describe_hosts({**described, host: system})
        attribute = f"{host}.config.system.build.toplevel"
        argv = ["nix-build", "--no-out-link", "--quiet", str(self.systems), "--attr", attribute]
        return run(argv, environment=nix_environment()).stdout.strip()

    def write(self, name: str, content: str | list[Any]) -> Path:
        """Write a file of the project; a list becomes JSON, which is a playbook as well."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2))
        return path

    def run_playbook(
        self,
        playbook: str | list[Any],
        *arguments: str,
        variables: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float = PLAYBOOK_DEADLINE,
    ) -> PlaybookRun:
        """Run a playbook, given as text or as a list of plays, with further arguments such as --check."""
        argv, settings = self.prepare(playbook, *arguments, variables=variables, environment=environment)
        return self.collect(self.run_prepared(argv, settings, timeout=timeout))

    def run_named(self, name: str, *arguments: str) -> PlaybookRun:
        """Run a playbook of a collection by its full name."""
        argv, settings = self.prepare([], *arguments)
        argv[argv.index("playbook.yml")] = name
        return self.collect(self.run_prepared(argv, settings))

    def run_prepared(
        self, argv: Sequence[str], settings: Mapping[str, str], *, timeout: float = PLAYBOOK_DEADLINE
    ) -> subprocess.CompletedProcess[str]:
        """Run what `prepare` has made, or another program of Ansible's in its place, to the end."""
        if self.controller:
            return run(argv, check=False, timeout=timeout, environment=settings, directory=self.directory)
        return run_program(
            argv,
            session=_session_settings(str(REPOSITORY)),
            environment=settings,
            directory=self.directory,
            timeout=timeout,
        )

    def prepare(
        self,
        playbook: str | list[Any],
        *arguments: str,
        variables: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> tuple[list[str], dict[str, str]]:
        """Command line and environment of a playbook's run, for tests that start and kill it themselves."""
        self.write("playbook.yml", playbook)
        (self.directory / "record.jsonl").unlink(missing_ok=True)
        repository = CONTROLLER_REPOSITORY if self.controller else str(REPOSITORY)
        settings = {
            "ANSIBLE_CONFIG": f"{self.root}/ansible.cfg",
            "NIXFERRY_TEST_RECORD": f"{self.root}/record.jsonl",
            **_session_settings(repository),
            **nix_environment(),
            **(environment or {}),
        }
        argv = ["playbook.yml", *arguments]
        if variables:
            argv += ["--extra-vars", json.dumps(variables)]
        if not self.controller:
            settings["XDG_CACHE_HOME"] = str(self.directory / ".cache")
            # The program itself: what asks ssh for a password is found by its name.
            return [str(Path(sys.executable).with_name("ansible-playbook")), *argv], settings
        run(["docker", "exec", self.controller, "rm", "-rf", self.root])
        run(["docker", "cp", str(self.directory), f"{self.controller}:{self.root}"])
        passed = [part for name, value in settings.items() for part in ("--env", f"{name}={value}")]
        inside = ["docker", "exec", "--workdir", self.root, *passed, self.controller]
        return [*inside, "ansible-playbook", *argv], {}

    def collect(self, done: subprocess.CompletedProcess[str]) -> PlaybookRun:
        """Put together what a finished run printed and recorded."""
        record = self.directory / "record.jsonl"
        if self.controller:
            argv = ["docker", "exec", self.controller, "cat", f"{self.root}/record.jsonl"]
            text = run(argv, check=False).stdout
        else:
            text = record.read_text() if record.exists() else ""
        results = tuple(TaskResult(**json.loads(line)) for line in text.splitlines())
        return PlaybookRun(done.returncode, done.stdout, done.stderr, results)


def _session_settings(repository: str) -> dict[str, str]:
    """Settings of Ansible's that no run changes."""
    settings = {
        "ANSIBLE_CALLBACK_PLUGINS": f"{repository}/{CALLBACKS}",
        "ANSIBLE_CALLBACKS_ENABLED": "record",
        "ANSIBLE_NOCOLOR": "1",
    }
    if repository == str(REPOSITORY):
        settings["ANSIBLE_COLLECTIONS_PATH"] = str(REPOSITORY / ".build/collections")
    return settings


def make_project(directory: Path, lab: Lab, controller: str = "") -> Project:
    """Make a project directory for the lab's hosts, seen from this machine or from a controller container."""
    project = Project(directory=directory, lab=lab, controller=controller)
    inventory = "controller-inventory.yml" if controller else "inventory.yml"
    project.write("inventory.yml", (lab.directory / inventory).read_text())
    own = ("[defaults]", "inventory = inventory.yml", "retry_files_enabled = False", "forks = 10")
    project.write("ansible.cfg", "\n".join((*own, *SETTINGS)) + "\n")
    project.describe_hosts({name: {} for name in lab.hosts})
    return project
