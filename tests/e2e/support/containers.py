# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands in containers.

`docker exec` costs fifty milliseconds of processor time, and tests ask hosts thousands of times. On the machine that
runs the engine root has the same for a tenth of that: a process joins the control group of the container, and `nsenter`
starts the command in the namespaces of the container's first process, with that one's rights. What the engine would
confine further, by a filter of system calls for example, is left to the engine, and so are other users than root.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from processes import COMMAND_DEADLINE, run

LOOK = "{{.State.Pid}} {{.Id}} {{json .Config.Env}}"
# By these systemd and logind tell whose process it is: those of version 2, and of version 1 where it has some left.
GROUPS = {
    "0::": (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")),
    "name=systemd:": (Path("/sys/fs/cgroup/systemd"),),
}
JOIN = 'while [ "$1" != -- ]; do echo $$ >"$1" || exit; shift; done; shift; exec "$@"'
SPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd")
START_TIME = 19  # the field of /proc/PID/stat that holds it, counted from the state of the process


@dataclass(frozen=True)
class _First:
    """The first process of a container. Its start time tells it from later ones of the same number."""

    number: int
    started: str
    way_in: tuple[str, ...]

    def runs(self) -> bool:
        return bool(self.started) and _started(self.number) == self.started


# By the name of the container. A container that was started anew has another first process.
_first: dict[str, _First] = {}


def command(container: str, *argv: str, user: str = "root") -> list[str]:
    """The command line that runs `argv` in a container."""
    found = _first_process(container) if user == "root" and _can_enter() else None
    way_in = found.way_in if found else ("docker", "exec", "--interactive", "--user", user, container)
    return [*way_in, *argv]


def execute(
    container: str, script: str, *, user: str = "root", check: bool = True, timeout: float = COMMAND_DEADLINE
) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a container."""
    return run(command(container, "/bin/sh", user=user), input=script, check=check, timeout=timeout)


def ask(container: str, script: str, *, user: str = "root") -> str:
    """Output of a shell script that must succeed, without surrounding white space."""
    return execute(container, script, user=user).stdout.strip()


def _first_process(container: str) -> _First | None:
    """The first process, or None if it cannot be entered: the container is down, confined or on another machine."""
    known = _first.get(container)
    if known is not None and known.runs():
        return known
    told = run(["docker", "inspect", "--format", LOOK, container], check=False)
    if told.returncode != 0:
        return None
    number, identifier, environment = told.stdout.split(maxsplit=2)
    process = Path("/proc", number)
    try:
        status = dict(re.findall(r"^(\w+):\s*(.*)$", (process / "status").read_text(), re.M))
        same_users = (process / "ns/user").readlink() == Path("/proc/self/ns/user").readlink()
        groups = _groups((process / "cgroup").read_text(), identifier)
    except OSError:
        return None
    if not groups or not same_users or (status["NoNewPrivs"], status["Seccomp"]) != ("0", "0"):
        return None
    kept = (f"+cap_{bit}" for bit in range(64) if int(status["CapBnd"], 16) >> bit & 1)
    found = _First(
        int(number),
        _started(int(number)),
        (
            *("sh", "-c", JOIN, "join", *groups, "--"),
            *("setpriv", "--groups=0", f"--bounding-set={','.join(('-all', *kept))}"),
            *("nsenter", f"--target={number}", *SPACES),
            *("env", "--ignore-environment", "HOME=/root", *_environment(json.loads(environment))),
        ),
    )
    _first[container] = found
    return found


def _groups(groups: str, identifier: str) -> list[str]:
    """The files that let a process join the container's own groups, told from those that its first process is in."""
    found = []
    for hierarchy, mounts in GROUPS.items():
        for own in re.findall(rf"^(?:\d+:)?{re.escape(hierarchy)}/(.*)$", groups, re.M):
            whole = own.partition(identifier)[0] + identifier
            for mount in mounts:
                # A group that hands its controllers on has no processes of its own.
                handed_on = mount / whole / "cgroup.subtree_control"
                is_leaf = not handed_on.exists() or not handed_on.read_text().strip()
                file = mount / (whole if is_leaf else own) / "cgroup.procs"
                if identifier in own and file.exists():
                    found.append(str(file))
                    break
    return found


def _environment(given: list[str] | None) -> list[str]:
    """What the container was given, but for the keys that a host's init takes and forgets."""
    return [setting for setting in given or () if not setting.startswith("LAB_")]


def _started(process: int) -> str:
    """When a process started, in ticks since the boot; empty if it does not exist or has ended."""
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else fields[START_TIME - 1]


@cache
def _can_enter() -> bool:
    return os.geteuid() == 0 and all(map(shutil.which, ("setpriv", "nsenter")))
