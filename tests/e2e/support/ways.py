# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways in that only some tests need: accounts, a network with IPv6, a podman host; and a look-out for passwords."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from lab import COMMAND_DEADLINE, Lab, LabHost, run
from processes import wait_until
from project import Project

# Every password of these tests begins with this: one word to look for. Each worker of a parallel run has its own, since
# the look-out sees the processes of the others, which look for theirs.
CANARY = f"canary{os.environ.get('PYTEST_XDIST_WORKER', '')}-"
# Between two looks at the processes of the machine.
LOOK_EVERY_SECONDS = 0.05


def add_hosts(project: Project, hosts: Mapping[str, Mapping[str, Any]]) -> None:
    """Add hosts, or variables of hosts, to the project's inventory."""
    path = project.directory / "inventory.yml"
    inventory = yaml.safe_load(path.read_text())
    for name, variables in hosts.items():
        inventory["lab"]["hosts"].setdefault(name, {}).update(variables)
    path.write_text(yaml.safe_dump(inventory))


def add_user(
    host: LabHost, name: str, *, password: str = "", sudo: str = "", shell: str = "/bin/bash"
) -> None:
    """Make a user who logs in with the lab's key; ``sudo`` are lines of a sudoers file."""
    host.execute(
        f"useradd --create-home --shell {shell} --groups nix-users {name}\n"
        + (f"echo '{name}:{password}' | chpasswd\n" if password else f"usermod --password '*' {name}\n")
        + (f"cat >/etc/sudoers.d/{name} <<'END'\n{sudo}\nEND\n" if sudo else "")
    )


@contextmanager
def on_ipv6_network(lab: Lab, *hosts: LabHost) -> Iterator[list[str]]:
    """Connect hosts to a network of their own with IPv6; gives their addresses."""
    name = f"nixferry-lab-{lab.name}-six"
    # Of unique local addresses, one network a lab.
    subnet = f"fd6e:6978:{zlib.crc32(lab.name.encode()) & 0xFFFF:x}::/64"
    label = f"nixferry.lab={lab.name}"
    run(["docker", "network", "create", "--label", label, "--ipv6", "--subnet", subnet, name])
    try:
        addresses = []
        for host in hosts:
            run(["docker", "network", "connect", name, host.container])
            form = f'{{{{(index .NetworkSettings.Networks "{name}").GlobalIPv6Address}}}}'
            addresses.append(run(["docker", "inspect", "--format", form, host.container]).stdout.strip())
        yield addresses
    finally:
        for host in hosts:
            run(["docker", "network", "disconnect", "--force", name, host.container], check=False)
        run(["docker", "network", "rm", name])


@dataclass(frozen=True)
class PodmanHost(LabHost):
    """A host that podman runs instead of docker. It has no network: the container is the only way in."""

    def execute(
        self, script: str, *, check: bool = True, user: str = "root", timeout: float = COMMAND_DEADLINE
    ) -> subprocess.CompletedProcess[str]:
        argv = ["podman", "exec", "--interactive", "--user", user, self.container, "/bin/sh"]
        return run(argv, input=script, check=check, timeout=timeout)


@contextmanager
def podman_host(lab: Lab, model: LabHost, name: str) -> Iterator[PodmanHost]:
    """A host like ``model``, which docker runs, made by podman from the same image."""
    image = model.start_command[-1]
    kept = {"--cap-add", "--security-opt", "--cgroupns", "--tmpfs"}
    options = [option for option in model.start_command if option.partition("=")[0] in kept]
    host = replace(PodmanHost(**vars(model)), name=name, container=f"nixferry-lab-{lab.name}-{name}")
    label = f"nixferry.lab={lab.name}"
    # The runtime that docker uses as well. Podman's own choice wants more of the machine.
    runtime = (
        ["--runtime", found] if (found := shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin")) else []
    )
    copy = run(["docker", "create", "--label", label, image]).stdout.strip()
    try:
        with subprocess.Popen(["docker", "export", copy], stdout=subprocess.PIPE) as export:
            command = f"CMD {json.dumps(json.loads(inspected(image, '{{json .Config.Cmd}}')))}"
            argv = ["podman", "import", "--quiet", "--change", command, "--change", f"LABEL {label}", "-"]
            imported = subprocess.run(
                argv,
                stdin=export.stdout,
                capture_output=True,
                text=True,
                check=True,
                timeout=COMMAND_DEADLINE,
            ).stdout.strip()
        limits = ["--ulimit=nofile=1024:4096", "--ulimit=nproc=4096:4096"]
        start = ["podman", *runtime, "run", "--detach", f"--name={host.container}", f"--label={label}"]
        run([*start, "--network=none", *limits, *options, imported])
        wait_until(
            lambda: (
                host.execute("systemctl is-system-running", check=False).stdout.strip()
                in ("running", "degraded")
            ),
            deadline=60,
            what="boot of the podman host",
        )
        yield host
    finally:
        run(["docker", "rm", "--force", copy], check=False)
        run(["podman", "rm", "--force", "--volumes", "--time=0", host.container], check=False)
        run(["podman", "image", "prune", "--all", "--force", f"--filter=label={label}"], check=False)


def inspected(image: str, form: str) -> str:
    return run(["docker", "image", "inspect", "--format", form, image]).stdout


class Lookout:
    """Looks at every process of this machine, those in the lab's containers included, as long as the block runs.

    ``seen`` are command lines and environments with a password in them.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.looks = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Lookout:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end.set()
        self._thread.join()

    def _work(self) -> None:
        word = CANARY.encode()
        while not self._end.wait(LOOK_EVERY_SECONDS):
            self.looks += 1
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        content = (process / name).read_bytes()
                    except OSError:
                        continue
                    if word in content:
                        self.seen.append(f"{process.name} {name}: {content!r}")


def files_with_passwords(directory: Path, *, but: tuple[str, ...] = ()) -> list[str]:
    """Files on this machine below ``directory`` that hold a password; those named in ``but`` may."""
    argv = ["grep", "--recursive", "--files-with-matches", "--fixed-strings", "--", CANARY, str(directory)]
    found = run(argv, check=False).stdout.splitlines()
    return [name for name in found if Path(name).name not in but]


def traces_on(host: LabHost) -> str:
    """Where on a host a password was left: files, the journal."""
    places = "/etc /home /root /run /tmp /var /boot"
    script = (
        f"grep -rlF --exclude-dir=cgroup -e {CANARY} {places} 2>/dev/null\n"
        f"journalctl --no-pager 2>/dev/null | grep -F {CANARY}\n:"
    )
    return host.ask(script)
