# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles as they are, run by ansible-playbook, with stand-ins for all that would touch a host.

A stand-in notes that it was called and returns what the host's variable `answers` holds for the task's name, or else
for its own. The conditions, tags, includes and facts of the roles are the real ones.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[3]
RUN_DEADLINE = 300  # seconds for one run of ansible-playbook, on a busy machine
# What decides, and touches no host.
REAL_ACTION = "nix_role_variables"
REAL = "assert|debug|fail|import_role|import_tasks|include_role|include_tasks|meta|set_fact"
BUILTIN = re.compile(rf"^( +)ansible\.builtin\.(?!(?:{REAL}):)(\w+):", re.MULTILINE)
DOCKER = re.compile(r"^( +)community\.docker\.(\w+):", re.MULTILINE)
OWN_ACTION = re.compile(r"^ +nixferry\.deploy\.(\w+):", re.MULTILINE)
# Options that tests give a part of nix_deploy in module_defaults.
INHERITED = ("compress", "retries", "timeout_reboot", "specialisation", "timeout_hold", "settle")
STAND_IN = """
import json, os
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.defaults import defaults_of
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.phases import PHASES, selected_phases
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.transaction import lost_before

# A deploy stands for one task a phase.
PARTS = {
    "copy": ("nix_copy", "Copy the missing paths to the host"),
    "activate": ("nix_switch", "Activate the system, and roll back if it is not healthy"),
}


class ActionModule(ActionBase):
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        name = self._task.action.rpartition(".")[2]
        if name != "nix_deploy":
            # The rest of a name says which hosts have failed before.
            return self.play(name, self._task.name.partition("; ")[0], self._task.args, task_vars)
        tags = self._templar.template(list(self._task.tags))
        run_tags, skip_tags = task_vars["ansible_run_tags"], task_vars["ansible_skip_tags"]
        result = {"changed": False, "failed": False}
        for phase in selected_phases(self._task.args.get("phases", PHASES), tags, run_tags, skip_tags):
            action, title = PARTS[phase]
            fqcn = "nixferry.deploy." + action
            inherited = defaults_of(self._task, self._templar, [fqcn], os.environ["STAGE_OPTIONS"].split())
            result = self.play(action, title, {**inherited, "step": "all", **self._task.args}, task_vars)
            if result["failed"]:
                break
        return result

    def play(self, name, title, args, task_vars):
        entry = {"host": task_vars["inventory_hostname"], "task": title, "action": name, "options": args}
        if "peer_steps" in args:
            lost = sorted(lost_before(args["peers"], args["peer_steps"], task_vars["hostvars"]))
            entry["options"] = {**args, "found lost": lost}
        with open(os.environ["STAGE_RECORD"], "a") as record:
            record.write(json.dumps(entry, default=str) + "\\n")
        answers = task_vars.get("answers", {})
        answer = answers.get(title.rpartition(" : ")[2], answers.get(name, {}))
        if answer.get("unreachable"):
            raise AnsibleConnectionFailure(f"{name}: no route to host")
        ran = {"rc": 0, "stdout": "", "stderr": "", "stdout_lines": []}
        result = {"changed": False, "failed": False, **ran, **answer}
        if name == "nix_build":
            built = {}
            for host in args["sources"]:
                answers = task_vars["hostvars"][host].get("answers", {})
                if answers.get(name, {}).get("unreachable"):
                    raise AnsibleConnectionFailure(f"{name}: no route to host")
                built[str(host)] = {"failed": False, **answers.get(name, {})}
            failed = [host for host, part in built.items() if part["failed"]]
            result = {"changed": False, "failed": False, "hosts": built, "failed_hosts": failed}
            if args.get("note"):
                result["noted"] = args["note"]
        # As the real ones do, they report what the task that built for all hosts did not fail for.
        if name in ("nix_copy", "nix_switch") and args.get("build", {}).get("failed"):
            result = {**result, **args["build"]}
        if name == "nix_switch" and not result["failed"]:
            begins = args["step"] == "activate"
            result["outcome"] = "awaiting-confirmation" if begins else "committed"
        if name == "nix_transaction":
            outcomes = {part.get("outcome") for part in args["results"].values()}
            result = {**result, "decision": "confirm", "reason": "", "settled": outcomes <= {"committed"}}
        return result
"""


@dataclass(frozen=True)
class Performance:
    """What a run did: for each host the names of the stand-ins' tasks in order, and which hosts failed.

    ``options`` holds for each host what the stand-ins' tasks were given, those of ``module_defaults`` included.
    """

    return_code: int
    steps: Mapping[str, Sequence[str]]
    failed: frozenset[str]
    output: str
    options: Mapping[str, Mapping[str, Mapping[str, Any]]]


Setting = Mapping[str, Any]
"""The variables that one setting of a switch sets."""


def combinations(group: str, fixed: Setting, **switches: Mapping[str, Setting]) -> dict[str, dict[str, Any]]:
    """A host for every combination of the switches' settings; its variable `chosen` holds the settings' names."""
    hosts = {}
    for number, chosen in enumerate(itertools.product(*(switch.items() for switch in switches.values()))):
        variables = dict(fixed)
        for _name, setting in chosen:
            variables.update(setting)
        names = dict(zip(switches, (name for name, _setting in chosen), strict=True))
        hosts[f"{group}_{number}"] = {**variables, "group": group, "chosen": names}
    return hosts


def flag(name: str) -> dict[str, Setting]:
    """A switch that is off or on."""
    return {"": {name: False}, "on": {name: True}}


@dataclass(frozen=True)
class Stage:
    """A directory with the collection's roles and stand-ins."""

    directory: Path

    def playbook(self, name: str) -> Path:
        """One of the collection's own playbooks."""
        return self.directory / f"ansible_collections/nixferry/deploy/playbooks/{name}.yml"

    def run(
        self,
        plays: Sequence[Mapping[str, Any]] | Path,
        hosts: Mapping[str, Mapping[str, Any]],
        *arguments: str,
        shows_skipped: bool = False,
    ) -> Performance:
        """Run plays, or a playbook, for hosts with these variables; a variable `group` puts a host into that group."""
        groups: dict[str, Any] = {}
        for name, variables in hosts.items():
            members = groups.setdefault(str(variables.get("group", "ungrouped")), {"hosts": {}})["hosts"]
            given = any(f"nixos_{source}" in variables for source in ("flake", "file", "fleet"))
            sources = {} if given else {"nixos_flake": "."}
            members[name] = {"ansible_connection": "local", "profile_flake": ".", **sources, **variables}
        inventory = self.directory / "inventory.json"
        inventory.write_text(json.dumps({"all": {"children": groups}}))
        playbook = plays if isinstance(plays, Path) else self.directory / "playbook.yml"
        if not isinstance(plays, Path):
            playbook.write_text(json.dumps([{"gather_facts": False, **play} for play in plays]))
        record = self.directory / "record.jsonl"
        record.write_text("")
        program = Path(sys.executable).with_name("ansible-playbook")
        done = subprocess.run(
            [program, "--inventory", inventory, playbook, *arguments],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
                "ANSIBLE_ACTION_PLUGINS": str(self.directory / "actions"),
                "ANSIBLE_COLLECTIONS_PATH": str(self.directory),
                "ANSIBLE_CONFIG": str(self.directory / "ansible.cfg"),
                "ANSIBLE_DISPLAY_SKIPPED_HOSTS": str(shows_skipped).lower(),
                "ANSIBLE_FORKS": str(4 * (os.cpu_count() or 1)),
                "ANSIBLE_LOCAL_TEMP": str(self.directory / "tmp"),
                "ANSIBLE_NOCOLOR": "1",
                "STAGE_OPTIONS": " ".join(INHERITED),
                "STAGE_RECORD": str(record),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_DEADLINE,
        )
        output = done.stdout + done.stderr
        steps: dict[str, list[str]] = {name: [] for name in hosts}
        options: dict[str, dict[str, Any]] = {name: {} for name in hosts}
        for line in record.read_text().splitlines():
            entry = json.loads(line)
            steps[entry["host"]].append(entry["task"])
            options[entry["host"]][entry["task"].rpartition(" : ")[2]] = entry["options"]
        recap = dict(re.findall(r"^(\S+) +: ok=.* failed=(\d+)", done.stdout, re.MULTILINE))
        return Performance(
            done.returncode,
            steps,
            frozenset(host for host, count in recap.items() if count != "0"),
            output,
            options,
        )


def make_stage(directory: Path, *, from_directory: Path = REPOSITORY) -> Stage:
    """Set the roles and playbooks of a checkout up with stand-ins."""
    collection = directory / "ansible_collections/nixferry/deploy"
    actions = collection / "plugins/action"
    actions.mkdir(parents=True)
    (collection / "meta").mkdir()
    for part in ("filter", "module_utils", "plugin_utils"):
        (collection / "plugins" / part).symlink_to(from_directory / "plugins" / part)
    own, builtin = set(), set()
    for part in ("roles", "playbooks"):
        shutil.copytree(from_directory / part, collection / part)
        for path in (collection / part).rglob("*.yml"):
            text = DOCKER.sub(r"\1nixferry.deploy.\2:", path.read_text())
            own |= set(OWN_ACTION.findall(text))
            builtin |= {name for _indent, name in BUILTIN.findall(text)}
            # Ansible's own are looked for in directories that a user names under this name only.
            path.write_text(BUILTIN.sub(r"\1ansible.legacy.\2:", text))
    (directory / "actions").mkdir()
    (actions / f"{REAL_ACTION}.py").symlink_to(from_directory / f"plugins/action/{REAL_ACTION}.py")
    for names, place in ((own - {REAL_ACTION}, actions), (builtin, directory / "actions")):
        for name in names:
            (place / f"{name}.py").write_text(STAND_IN)
    # So that no settings of this machine are read.
    (directory / "ansible.cfg").write_text("[defaults]\n")
    return Stage(directory)


def expect(
    done: Performance,
    hosts: Mapping[str, Mapping[str, Any]],
    conditions: Mapping[str, Callable[[Mapping[str, str]], object]],
) -> None:
    """Each step of `conditions` ran on exactly those hosts for whose choice its function is true."""
    for step, is_wanted in conditions.items():
        ran = {host for host in hosts if step in done.steps[host]}
        assert ran == {host for host, about in hosts.items() if is_wanted(about["chosen"])}, step
