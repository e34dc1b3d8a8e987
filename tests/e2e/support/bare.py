# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bare machine: Debian as its installer leaves it, with a network and nothing that the collection needs.

It is a container that boots systemd. Its packages come from where this machine's own apt and pip find theirs.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import export_tree
import yaml
from lab import LAB_WORK, REPOSITORY, run
from processes import wait_until

PUBLISHED = "https://github.com/nixferry/nixferry.deploy"
CHECKOUT = "/srv/nixferry.deploy"
IMAGE_DEADLINE = 900  # seconds to build an image: it is bootstrapped from the distribution's mirror
BOOT_DEADLINE = 60  # seconds until the machine must be up
SCRIPT_DEADLINE = 1800  # seconds for one script, which may install packages
# What pip is told on this machine and has to be told on the other one.
PIP_SETTINGS = ("cert", "extra-index-url", "index-url", "proxy", "timeout", "trusted-host")
CERTIFICATES = "/etc/lab-certificates.pem"
PROXIES = ("http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class BareMachine:
    """A running bare machine. `user` is `root`, or `ann` who has sudo without a password."""

    container: str

    def execute(self, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root, outside of any login."""
        return run(["docker", "exec", "--interactive", self.container, "/bin/sh"], input=script, check=check)

    def login(self, script: str, *, user: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script in a new login of the user. Output and errors come together, in their order."""
        self.write("/tmp/script", script)
        # Programs read no commands: their standard input is empty.
        argv = ["docker", "exec", self.container, "su", "--login", user, "--command"]
        return run([*argv, "exec sh /tmp/script </dev/null 2>&1"], check=False, timeout=SCRIPT_DEADLINE)

    def write(self, path: str, content: str) -> None:
        run(["docker", "exec", "--interactive", self.container, "tee", path], input=content)


def bare_image(release: str) -> str:
    """Make sure that the image of a bare machine exists; returns its name."""
    run([str(REPOSITORY / "tests/lab/scripts/start-docker"), str(LAB_WORK)])
    built = run(
        [str(REPOSITORY / "tests/lab/scripts/build-image"), "bare", release],
        environment={"LAB_WORK_DIR": str(LAB_WORK)},
        timeout=IMAGE_DEADLINE,
    )
    return built.stdout.split()[-1]


@contextlib.contextmanager
def started(name: str, lab_name: str, release: str, directory: Path) -> Iterator[BareMachine]:
    """Yield a bare machine with a Debian release, and remove it at the end. `directory` is for its checkout."""
    image = bare_image(release)
    machine = BareMachine(f"nixferry-lab-{lab_name}-{name}")
    options = yaml.safe_load((REPOSITORY / "tests/lab/vars.yml").read_text())["lab_target_options"]
    options = [option for option in options if not option.startswith("--restart=")]
    names = [f"--label=nixferry.lab={lab_name}", f"--hostname={name}", f"--name={machine.container}"]
    remove = ["docker", "rm", "--force", "--volumes", machine.container]
    run(remove, check=False)
    try:
        run(["docker", "run", "--detach", *options, *names, image])
        wait_until(
            lambda: (
                machine.execute("systemctl is-system-running", check=False).stdout.strip()
                in ("running", "degraded")
            ),
            deadline=BOOT_DEADLINE,
            what=f"{machine.container} has booted",
        )
        _set_up_network(machine)
        _publish_the_checkout(machine, directory)
        yield machine
    finally:
        run(remove, check=False)


def _set_up_network(machine: BareMachine) -> None:
    """Let the machine's apt and pip find packages as those of this machine do."""
    for path, content in network_files().items():
        machine.write(path, content)
    proxies = {name: os.environ[name] for name in PROXIES if name in os.environ}
    machine.write("/etc/environment", "".join(f"{name}={value}\n" for name, value in proxies.items()))


def network_files() -> dict[str, str]:
    """The files with which apt and pip of another Debian find packages as those of this machine do."""
    apt = run(
        [
            "apt-config",
            "dump",
            "--format",
            '%f "%v";%n',
            "Acquire::http",
            "Acquire::https",
            "Acquire::Retries",
        ]
    ).stdout
    # A mirror's snapshot of a release may be older than its own validity date.
    files = {"/etc/apt/apt.conf.d/99lab": f'{apt}Acquire::Check-Valid-Until "false";\n'}
    settings = {}
    for line in run([sys.executable, "-m", "pip", "config", "list"]).stdout.splitlines():
        key, _equals, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in PIP_SETTINGS:
            settings[name] = value.strip("'\"")
    if "cert" in settings:
        files[CERTIFICATES] = Path(settings["cert"]).read_text()
        settings["cert"] = CERTIFICATES
    files["/etc/pip.conf"] = "".join(["[global]\n", *(f"{key} = {settings[key]}\n" for key in settings)])
    return files


def _publish_the_checkout(machine: BareMachine, directory: Path) -> None:
    """Let git find this checkout, with all its changes, under the address that the README names."""
    export_tree.export(REPOSITORY, directory)
    git = ["git", "-C", str(directory), "-c", "user.name=lab", "-c", "user.email=lab"]
    run([*git, "add", "--all"])
    run([*git, "commit", "--quiet", "--message=this checkout"])
    machine.execute(f"mkdir -p {CHECKOUT}")
    run(["docker", "cp", "--quiet", f"{directory}/.", f"{machine.container}:{CHECKOUT}"])
    machine.execute(f"chown -R root:root {CHECKOUT}")
    machine.write(
        "/etc/gitconfig",
        f'[url "file://{CHECKOUT}"]\n  insteadOf = {PUBLISHED}\n[safe]\n  directory = {CHECKOUT}\n'
        f"  directory = {CHECKOUT}/.git\n",
    )
