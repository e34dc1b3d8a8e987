# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A user's own machine, on which a container engine answers: where a builder is set up and registered.

It is a container with files of its own, so that what is registered there concerns nobody else on this machine. Its
engine is the one that runs the lab, found where colima has its socket; its network is this machine's, so that ports of
127.0.0.1 are the same.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ansible
import containers
from lab import REPOSITORY, Lab, run
from project import CONTROLLER_REPOSITORY, Project, make_project

# What community.docker asks for, and what that asks for in turn.
PYTHON_PACKAGES = ("requests", "urllib3", "idna", "certifi", "charset_normalizer")
COMMUNITY = Path(ansible.__file__).parent.parent / "ansible_collections" / "community"
SOCKET = "/root/.colima/default/docker.sock"
FOREIGN = "riscv64-linux"


@dataclass(frozen=True)
class Client:
    """The machine `container`, and the builder that it is to have at `port`."""

    lab: Lab
    container: str
    port: int

    @property
    def builder(self) -> str:
        return f"{self.container}-builder"

    @property
    def key_file(self) -> str:
        return f"/etc/nix/{self.builder}_ed25519"

    def execute(self, script: str, *, user: str = "root", check: bool = True) -> str:
        return containers.execute(self.container, script, user=user, check=check).stdout.strip()


class Workstation(Client):
    """A Linux machine."""

    @property
    def base(self) -> str:
        """The name of the image that the builder's is made from; what it names can change, as in a registry."""
        return f"{self.container}-base:latest"

    def inside(self, script: str, *, user: str = "builder-root") -> str:
        """Output of a shell script in the builder's container."""
        return containers.ask(self.builder, script, user=user)

    def publish_base(self, container: str) -> None:
        """Let the base be the image of one of the lab's containers."""
        run(["docker", "tag", image_of(container), self.base])

    def inspect(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(run(["docker", "inspect", self.builder]).stdout)
        return found[0]

    def project(self, directory: Path) -> Project:
        """A project on this machine, with the lab's hosts."""
        project = make_project(directory, self.lab, self.container)
        project.write("inventory.yml", (self.lab.directory / "inventory.yml").read_text())
        return project

    def variables(self, **changed: Any) -> dict[str, Any]:
        """Variables of role builder_docker; `changed` are without their prefix."""
        own = {
            "name": self.builder,
            "port": self.port,
            "base_image": self.base,
            "build_network": "none",
            "extra_platforms": [FOREIGN],
            "settings": {"substituters": []},
            **changed,
        }
        return {f"builder_docker_{name}": value for name, value in own.items()}

    def role(self, **changed: Any) -> dict[str, Any]:
        """A task with role builder_docker."""
        return {
            "name": "Builder",
            "ansible.builtin.include_role": {"name": "nixferry.deploy.builder_docker"},
            "vars": self.variables(**changed),
        }


def local_play(*tasks: dict[str, Any]) -> dict[str, Any]:
    return {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": list(tasks)}


def image_of(container: str) -> str:
    return run(["docker", "inspect", "--format", "{{.Config.Image}}", container]).stdout.strip()


def collection_mounts() -> dict[str, str]:
    """What a controller needs for the role builder_docker, by where it is on this machine."""
    mounts = {
        str(REPOSITORY): f"{CONTROLLER_REPOSITORY}:ro",
        str(COMMUNITY): "/collections/ansible_collections/community:ro",
    }
    for name in PYTHON_PACKAGES:
        found = importlib.util.find_spec(name)
        assert found is not None, name
        assert found.origin is not None, name
        mounts[str(Path(found.origin).parent)] = f"/python/{name}:ro"
    return mounts


def free_port() -> int:
    """A port of 127.0.0.1 for a builder."""
    return int(run([sys.executable, str(REPOSITORY / "tests/lab/scripts/free-ports"), "1"]).stdout)


@contextlib.contextmanager
def started(lab: Lab) -> Iterator[Workstation]:
    """A workstation, and at the end nothing of it or of its builder."""
    workstation = Workstation(lab, f"nixferry-lab-{lab.name}-workstation", free_port())
    docker = shutil.which("docker")
    assert docker is not None
    mounts = {
        "/var/run/docker.sock": SOCKET,
        docker: "/usr/local/bin/docker:ro",
        str(lab.directory): f"{lab.directory}:ro",
        **collection_mounts(),
    }
    options = [f"--volume={source}:{target}" for source, target in mounts.items()]
    _remove(workstation)
    try:
        argv = ["docker", "run", "--detach", "--init", "--network=host", "--env=PYTHONPATH=/python"]
        argv += [f"--label=nixferry.lab={lab.name}", f"--name={workstation.container}", *options]
        run([*argv, image_of(lab.controller("trixie"))])
        workstation.publish_base(lab.hosts["fresh1"].container)
        yield workstation
    finally:
        _remove(workstation)


def _remove(workstation: Workstation) -> None:
    builder = workstation.builder
    run(["docker", "rm", "--force", "--volumes", workstation.container, builder], check=False)
    run(["docker", "volume", "rm", f"{builder}-nix", f"{builder}-state"], check=False)
    run(["docker", "network", "rm", builder], check=False)
    run(["docker", "rmi", workstation.base], check=False)
