# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts to deploy to: a lab of their own, one ssh configuration for all tools, and what happened on the hosts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.append(str(REPOSITORY / "tests/e2e/support"))
from containers import execute  # noqa: E402

PROFILE = "/nix/var/nix/profiles/system"
RELEASE = "trixie"  # of the hosts: Nix 2.26

LAB_DEADLINE = 900  # seconds to build images, or to remove the lab
HOST_DEADLINE = 10  # seconds more for each host that is to start
ASK_DEADLINE = 120  # seconds for one question to a host
QUIET_DEADLINE = 30  # seconds until the journal of a host shows the last session

# Nanoseconds of processor time of all processes of a container, in the hierarchies of cgroup v1 and v2
CPU_TIME = (
    "cat /sys/fs/cgroup/cpuacct/cpuacct.usage 2>/dev/null || "
    "sed -n 's/^usage_usec \\([0-9]*\\)$/\\1000/p' /sys/fs/cgroup/cpu.stat"
)

# sshd's own words at log level VERBOSE: one line a login, one a command or subsystem.
LOGIN = re.compile(r"^Accepted \S+ for ", re.MULTILINE)
SESSION = re.compile(r"^Starting session: ", re.MULTILINE)


class BenchmarkError(Exception):
    """The benchmark cannot go on; the text says why."""


@dataclass(frozen=True)
class Sessions:
    """What one host saw of one deploy: ssh connections, and commands run over them."""

    logins: int
    commands: int


@dataclass(frozen=True)
class Host:
    """One host of the lab; questions go into the container, so that they open no ssh session."""

    name: str
    container: str
    ssh_port: int

    def ask(self, script: str) -> str:
        """Standard output of a shell script on the host. Raises BenchmarkError when it fails."""
        done = execute(self.container, script, check=False, timeout=ASK_DEADLINE)
        if done.returncode != 0:
            raise BenchmarkError(f"{self.name}: {script}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def system(self) -> str:
        """The store path of the running system; empty when the profile says another one.

        A wrapper around a system, which deploy-rs makes the profile, has the system's own ``init``.
        """
        current, profile = self.ask(f"readlink -f /run/current-system/init {PROFILE}/init").split()
        return str(Path(current).parent) if current == profile else ""

    def cpu_seconds(self) -> float:
        """The processor time that the host has taken so far."""
        return int(self.ask(CPU_TIME)) / 1e9

    def count_sessions(self) -> None:
        """Let sshd write down logins and commands from now on."""
        self.ask(
            "echo 'LogLevel VERBOSE' >/etc/ssh/sshd_config.d/99-benchmark.conf && systemctl reload ssh.service"
        )

    def cursor(self) -> str:
        """The present end of the journal."""
        return self.ask("journalctl --quiet --lines=0 --show-cursor").rpartition("-- cursor: ")[2]

    def sessions_since(self, cursor: str) -> Sessions:
        """Logins and commands since ``cursor``, once all that was logged has arrived in the journal."""
        daemons = "_COMM=sshd + _COMM=sshd-session"  # the latter since OpenSSH 9.8
        command = f"journalctl --sync; journalctl --quiet --output=cat --after-cursor='{cursor}' {daemons}"
        end = time.monotonic() + QUIET_DEADLINE
        before, text = None, self.ask(command)
        while text != before:
            if time.monotonic() > end:
                raise BenchmarkError(f"{self.name}: sshd did not become quiet within {QUIET_DEADLINE} s")
            before, text = text, self.ask(command)
        return Sessions(logins=len(LOGIN.findall(text)), commands=len(SESSION.findall(text)))


@dataclass(frozen=True)
class Fleet:
    """The running lab."""

    name: str
    directory: Path
    hosts: tuple[Host, ...]

    @property
    def ansible_config(self) -> Path:
        """Names the inventory; pipelining."""
        return self.directory / "ansible.cfg"

    def write_ssh_config(self, path: Path, address: str) -> None:
        """An ssh_config for tools that know nothing of Ansible: the hosts by name, at ``address``, no multiplexing."""
        common = [
            f"  HostName {address}",
            "  User root",
            f'  IdentityFile "{self.directory}/ssh_key"',
            "  IdentitiesOnly yes",
            f'  UserKnownHostsFile "{self.directory}/known_hosts"',
        ]
        lines = []
        for host in self.hosts:
            lines += [f"Host {host.name}", f"  Port {host.ssh_port}", *common]
        path.write_text("\n".join(lines) + "\n")

    def know(self, address: str) -> None:
        """Let the hosts' keys hold for ``address`` as well."""
        path = self.directory / "known_hosts"
        known = path.read_text()
        if f"[{address}]" not in known:
            lines = [line for line in known.splitlines(keepends=True) if line.startswith("[")]
            again = "".join(line.replace("[127.0.0.1]", f"[{address}]") for line in lines)
            path.write_text(known + again)

    def forget_generations(self, count: int) -> None:
        """Leave one generation on the first ``count`` hosts: boot loader entries cost time for each one."""
        script = f"nix-env --profile {PROFILE} --delete-generations old"
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(lambda host: host.ask(script), self.hosts[:count]))

    def cpu_seconds(self, count: int) -> float:
        """The processor time that the first ``count`` hosts have taken so far, together."""
        with ThreadPoolExecutor(max_workers=4) as pool:
            return sum(pool.map(Host.cpu_seconds, self.hosts[:count]))

    def systems(self, count: int) -> dict[str, str]:
        """What the first ``count`` hosts run, by name."""
        with ThreadPoolExecutor(max_workers=4) as pool:
            return dict(pool.map(lambda host: (host.name, host.system()), self.hosts[:count]))


def start(name: str, count: int) -> Fleet:
    """Start a lab of ``count`` hosts, or take the one that runs. Raises BenchmarkError."""
    names = [f"web{number:02}" for number in range(1, count + 1)]
    hosts = [{"name": host, "release": RELEASE} for host in names]
    variables = json.dumps({"lab_name": name, "lab_hosts": hosts})
    _playbook("up.yml", "-e", variables, deadline=LAB_DEADLINE + HOST_DEADLINE * count)
    directory = REPOSITORY / ".build" / "lab" / name
    described = json.loads((directory / "hosts.json").read_text())
    fleet = Fleet(
        name=name,
        directory=directory,
        hosts=tuple(
            Host(host, described[host]["container"], int(described[host]["ssh_port"])) for host in names
        ),
    )
    fleet.hosts[0].count_sessions()
    return fleet


def stop(name: str) -> None:
    """Remove the lab: containers, network and files."""
    _playbook("down.yml", "-e", f"lab_name={name}")


def _playbook(name: str, *arguments: str, deadline: float = LAB_DEADLINE) -> None:
    argv: Sequence[str] = ["ansible-playbook", str(REPOSITORY / "tests/lab" / name), *arguments]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "tests/lab/ansible.cfg")}
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=deadline, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"tests/lab/{name} did not end within {deadline:.0f} s") from error
    if done.returncode != 0:
        raise BenchmarkError(f"tests/lab/{name} failed:\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}")
