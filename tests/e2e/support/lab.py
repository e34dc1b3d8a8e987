# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab as tests see it: hosts that can be asked, cut off from power and made anew, without Ansible."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import containers
from processes import COMMAND_DEADLINE, PATIENCE, nix_environment, run

REPOSITORY = Path(__file__).resolve().parents[3]
LAB_WORK = REPOSITORY / ".build" / "lab"
SYSTEM_PROFILE = "/nix/var/nix/profiles/system"
BOOT_DIRECTORY = "/boot/grub"
BOOT_DEFAULT = f"/usr/local/lib/nixferry-lab/grub-boots {BOOT_DIRECTORY}/grub.cfg"
"""What a host is asked for the system that it boots by default: the program that it boots by itself."""

BOOT_DEADLINE = 60 * PATIENCE  # seconds until a started host must be up

# One line that changes with any name, link target, mode, owner or content below /etc.
ETC_FINGERPRINT = """
{ find /etc | sort | xargs -d '\\n' stat -c '%N %a %U'
  find /etc -type f | sort | xargs -d '\\n' sha256sum; } | sha256sum
"""


@dataclass(frozen=True)
class Snapshot:
    """What a deploy may change on a host, for comparing before and after."""

    current_system: str
    boot_default: str
    profile: str
    generations: tuple[str, ...]  # "NUMBER PATH"
    etc: str  # names, types, targets and contents, hashed
    nixferry_state: tuple[str, ...]  # files of the collection's own
    running_services: tuple[str, ...]


@dataclass(frozen=True)
class LabHost:
    """One host of the lab. All commands bypass Ansible."""

    name: str
    release: str
    container: str
    ssh_port: int
    http_port: int
    start_command: tuple[str, ...]
    directory: Path

    # Asking the host

    def execute(
        self, script: str, *, check: bool = True, user: str = "root", timeout: float = COMMAND_DEADLINE
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script on the host by way of the container: works when ssh is locked out."""
        return containers.execute(self.container, script, user=user, check=check, timeout=timeout)

    def ask(self, script: str) -> str:
        """Output of a shell script that must succeed, without surrounding white space."""
        return self.execute(script).stdout.strip()

    def ssh(
        self, script: str, *, user: str = "root", check: bool = True, timeout: float = COMMAND_DEADLINE
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script over a new ssh connection of its own."""
        return run([*self.ssh_command(user), "/bin/sh"], input=script, check=check, timeout=timeout)

    def ssh_command(self, user: str = "root") -> list[str]:
        options = {
            # A list of files: ssh splits the value at spaces.
            "UserKnownHostsFile": f'"{self.directory / "known_hosts"}"',
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "ControlPath": "none",
            "ConnectTimeout": "5",
        }
        settings = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        address = ["-i", str(self.directory / "ssh_key"), "-p", str(self.ssh_port), f"{user}@127.0.0.1"]
        return ["ssh", "-F", "none", *settings, *address]

    def http(self, path: str = "/version") -> tuple[int, str]:
        """Status and body of a page of the host's web service; status 0 without an answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            # The second one: the service ended in the middle of an answer.
            return 0, ""

    def current_system(self) -> str:
        """Store path of the running system, empty when there is none."""
        return self.ask("readlink -e /run/current-system || true")

    def boot(self) -> str:
        """What tells one boot from another, empty while the host is down: the start time of its first process.

        The kernel's boot id is that of the machine that runs the lab, and namespace numbers are used again.
        """
        return self.execute("cut -d ' ' -f 22 /proc/1/stat", check=False).stdout.strip()

    def booted_system(self) -> str:
        """Store path of the system that the last boot started."""
        return self.ask("readlink -e /run/booted-system || true")

    def boot_default(self) -> str:
        """Store path of the system that the next boot starts, empty when there is none."""
        return self.ask(BOOT_DEFAULT)

    def profile(self, profile: str = SYSTEM_PROFILE) -> str:
        """Store path that a profile points at, empty when there is none."""
        return self.ask(f"readlink -e {profile} || true")

    def generations(self, profile: str = SYSTEM_PROFILE) -> tuple[str, ...]:
        """Generations of a profile as "NUMBER PATH", oldest first."""
        script = f"""
            for link in {profile}-*-link; do
                [ -e "$link" ] || continue
                number=${{link#{profile}-}}
                echo "${{number%-link}} $(readlink -e "$link")"
            done | sort -n"""
        return tuple(self.ask(script).splitlines())

    def failed_units(self) -> tuple[str, ...]:
        listed = self.ask("systemctl list-units --state=failed --plain --no-legend --full")
        return tuple(line.split()[0] for line in listed.splitlines())

    def has_path(self, store_path: str) -> bool:
        """Whether the host's store holds a valid path."""
        return self.execute(f"nix-store --check-validity {store_path}", check=False).returncode == 0

    def snapshot(self) -> Snapshot:
        services = self.ask("systemctl list-units --type=service --state=running --plain --no-legend --full")
        return Snapshot(
            current_system=self.current_system(),
            boot_default=self.boot_default(),
            profile=self.profile(),
            generations=self.generations(),
            etc=self.ask(ETC_FINGERPRINT),
            nixferry_state=tuple(
                self.ask("find /var/lib/nixferry /run/nixferry 2>/dev/null | sort").splitlines()
            ),
            # Every login starts and ends the manager of its user.
            running_services=tuple(
                sorted(line.split()[0] for line in services.splitlines() if not line.startswith("user@"))
            ),
        )

    # Changing the host

    def power_cut(self) -> None:
        """End everything on the host at once. Its disk survives, /run does not."""
        run(["docker", "kill", self.container])

    def power_on(self, *, wait: bool = True) -> None:
        run(["docker", "start", self.container])
        if wait:
            self.wait_ready()

    def wait_ready(self, deadline: float = BOOT_DEADLINE) -> None:
        """Wait until systemd has booted and sshd runs; raises AssertionError with the console after `deadline`."""
        wait_host = REPOSITORY / "tests/lab/scripts/wait-host"
        run([str(wait_host), self.container, str(int(deadline))], timeout=deadline + 10)

    def make_anew(self) -> None:
        """Replace the host by a clean one with the same address and host key."""
        run(["docker", "rm", "--force", "--volumes", self.container])
        run(self.start_command)
        self.wait_ready()

    def copy_closure(self, *store_paths: str) -> None:
        """Put store paths and all they refer to into the host's store."""
        environment = nix_environment()
        requisites = ["nix-store", "--query", "--requisites", *store_paths]
        paths = run(requisites, environment=environment).stdout.split()
        with subprocess.Popen(
            ["nix-store", "--export", *paths], stdout=subprocess.PIPE, env={**os.environ, **environment}
        ) as export:
            argv = containers.command(self.container, "nix-store", "--import")
            subprocess.run(
                argv, stdin=export.stdout, stdout=subprocess.DEVNULL, check=True, timeout=COMMAND_DEADLINE
            )
        assert export.returncode == 0

    def switch(
        self, toplevel: str, action: str = "switch", *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a system's own switch-to-configuration."""
        return self.execute(f"{toplevel}/bin/switch-to-configuration {action}", check=check)

    def install_system(self, toplevel: str) -> None:
        """Deploy without the collection, as nixos-rebuild does: copy, set the profile, switch."""
        self.copy_closure(toplevel)
        self.execute(f"nix-env --profile {SYSTEM_PROFILE} --set {toplevel}")
        self.switch(toplevel)


@dataclass(frozen=True)
class Lab:
    """A running lab."""

    name: str
    hosts: Mapping[str, LabHost]

    @property
    def directory(self) -> Path:
        return LAB_WORK / self.name

    def controller(self, release: str) -> str:
        """Name of the container that serves as controller of that Debian release."""
        return f"nixferry-lab-{self.name}-controller-{release}"


def _playbook(name: str, variables: Mapping[str, object], timeout: float) -> None:
    argv = [sys.executable, "-m", "ansible", "playbook"]
    argv += [str(REPOSITORY / "tests/lab" / name), "--extra-vars", json.dumps(variables)]
    run(argv, timeout=timeout, environment={"ANSIBLE_CONFIG": str(REPOSITORY / "tests/lab/ansible.cfg")})


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two labs that start together could start two engines, or choose the same ports."""
    LAB_WORK.mkdir(parents=True, exist_ok=True)
    with (LAB_WORK / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def start(name: str, hosts: Sequence[Mapping[str, object]], controllers: Sequence[str]) -> Lab:
    """Start the lab, or complete a running one of that name; building images takes minutes the first time."""
    variables = {"lab_name": name, "lab_hosts": list(hosts), "lab_controllers": list(controllers)}
    with _one_at_a_time():
        _playbook("up.yml", variables, timeout=1200)
    directory = LAB_WORK / name
    described = json.loads((directory / "hosts.json").read_text())
    return Lab(
        name=name,
        hosts={
            host: LabHost(
                name=host,
                release=facts["release"],
                container=facts["container"],
                ssh_port=facts["ssh_port"],
                http_port=facts["http_port"],
                start_command=tuple(facts["run"]),
                directory=directory,
            )
            for host, facts in described.items()
        },
    )


def stop(name: str) -> None:
    """Remove all containers, networks and files of the lab."""
    _playbook("down.yml", {"lab_name": name}, timeout=300)
