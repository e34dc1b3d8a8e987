# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Systems and homes of other kinds than NixOS, as their contract fixtures build them, and deploys of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from lab import REPOSITORY, LabHost, nix_environment, run
from plays import SWITCH
from processes import wait_until
from project import PlaybookRun, Project

PHASE_DEADLINE = 60  # seconds until a deploy or a roll back must have got somewhere
SETTLED_DEADLINE = 30  # seconds until the guard must have ended after the last phase


def materialise(fixture: str, directory: Path, described: Mapping[str, Any]) -> Path:
    """Make a directory of a fixture's that evaluates and builds on its own."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "hosts.json").write_text(json.dumps(described))
    run([str(REPOSITORY / "tests/fixtures" / fixture / "materialise"), str(directory)])
    return directory


def build(source: Path, attributes: Mapping[str, str]) -> dict[str, str]:
    """Build on this machine, all at once; a store path for each name."""
    selected = [part for attribute in attributes.values() for part in ("--attr", attribute)]
    argv = ["nix-build", "--no-out-link", "--quiet", str(source), *selected]
    paths = run(argv, environment=nix_environment()).stdout.split()
    return dict(zip(attributes, paths, strict=True))


def switch_play(hosts: str, *tasks: Mapping[str, Any], **play: Any) -> list[Any]:
    """A play that switches with each of the given options in turn, whatever comes of them."""
    return [
        {
            "hosts": hosts,
            "gather_facts": False,
            **play,
            "tasks": [
                {
                    "name": f"switch {number}",
                    "nixferry.deploy.nix_switch": dict(options),
                    "ignore_errors": True,
                }
                for number, options in enumerate(tasks)
            ],
        }
    ]


def outcomes(ran: PlaybookRun, host: str) -> list[str]:
    """How each switch of a host ended."""
    return [entry.result.get("outcome") or entry.result["msg"] for entry in ran.find(SWITCH, host)]


def add_hosts(project: Project, host: LabHost, users: Mapping[str, Mapping[str, Any]]) -> None:
    """Give the inventory further names for a host of the lab, such as one for each of its users."""
    inventory = yaml.safe_load((project.lab.directory / "inventory.yml").read_text())
    for name, variables in users.items():
        inventory["lab"]["hosts"][name] = {**inventory["lab"]["hosts"][host.name], **variables}
    project.write("inventory.yml", yaml.safe_dump(inventory))


def await_end_of_guard(host: LabHost, state: str = "/var/lib/nixferry") -> str:
    """Wait until no activation is under way and no unit of the guard's runs; the last phase."""
    # The newest record; while it is written there is none.
    phase = f"cat $(ls -1td {state}/activations/* | head -n 1)/phase"
    ended = ("committed", "rolled-back", "failed")
    wait_until(lambda: host.ask(phase) in ended, deadline=PHASE_DEADLINE, what="the end of the activation")
    units = "systemctl list-units --state=active,activating,deactivating --plain --no-legend 'nixferry-*'"
    wait_until(lambda: host.ask(units) == "", deadline=SETTLED_DEADLINE, what="the guard's units have ended")
    return host.ask(phase)


@contextmanager
def controller_at_work(project: Project, playbook: list[Any]) -> Iterator[None]:
    """Run a playbook beside the test; it is killed at the end of the block."""
    argv, environment = project.prepare(playbook)
    with subprocess.Popen(
        argv,
        cwd=project.directory,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as controller:
        try:
            yield
        finally:
            # Each of its workers has a session of its own, and would go on with its host.
            for process in [controller.pid, *_children(controller.pid)]:
                os.kill(process, signal.SIGKILL)


def _children(process: int) -> list[int]:
    paths = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for path in paths for child in path.read_text().split()]
