# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Machines for the roles of binary caches: Debian with Python and Nix, on the network of this machine.

They share the loopback interface with this machine, so that each address is the same for all of them.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import containers
from lab import LAB_WORK, REPOSITORY, run

IMAGE_DEADLINE = 900  # seconds: the image is bootstrapped from the distribution's mirror
# What a machine lacks until a role brings it; what listens on port 80 would be in the way of other machines.
INSTALL = """
command -v nginx && exit
apt-get update -qq
apt-get install -qq --no-install-recommends nginx python3-apt >/dev/null 2>&1
rm /etc/nginx/sites-enabled/default
"""


def free_port() -> int:
    """A port of the loopback interface on which nothing listens now."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@contextlib.contextmanager
def machine(name: str, *, release: str = "trixie") -> Iterator[str]:
    """Start a machine and remove it at the end. Yields the name of its container."""
    settings = {"LAB_WORK_DIR": str(LAB_WORK)}
    built = run(
        [str(REPOSITORY / "tests/lab/scripts/build-image"), "controller", release],
        environment=settings,
        timeout=IMAGE_DEADLINE,
    )
    image = built.stdout.split()[-1]
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    container = f"nixferry-lab-{os.environ.get('NIXFERRY_LAB_NAME', 'e2e')}-{name}{worker}"
    keep = os.environ.get("NIXFERRY_LAB_KEEP") == "1"
    if keep and run(["docker", "start", container], check=False).returncode == 0:
        yield container
        return
    run(["docker", "rm", "--force", container])
    run(["docker", "run", "--detach", "--init", "--network", "host", "--name", container, image])
    try:
        # Where this machine's own apt finds its packages.
        words = ("Acquire::http", "Acquire::https", "Acquire::Retries")
        apt = run(["apt-config", "dump", "--format", '%f "%v";%n', *words]).stdout
        write(container, "/etc/apt/apt.conf.d/90-of-this-machine", apt)
        yield container
    finally:
        if not keep:
            run(["docker", "rm", "--force", container])


def write(container: str, path: str, content: str) -> None:
    """Write a file of a machine."""
    run(["docker", "exec", "--interactive", container, "tee", path], input=content)


def with_nginx(container: str) -> None:
    """Install nginx without the site that listens on port 80 of all machines."""
    containers.ask(container, INSTALL)


def inventory(names: dict[str, str]) -> dict[str, Any]:
    """An inventory of machines, by the names of their containers."""
    hosts = {
        name: {
            "ansible_connection": "community.docker.docker",
            "ansible_host": container,
            "ansible_python_interpreter": "/usr/bin/python3",
            # Root already, without sudo.
            "ansible_become": False,
        }
        for name, container in names.items()
    }
    return {"all": {"hosts": hosts}}
