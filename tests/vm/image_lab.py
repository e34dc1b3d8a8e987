# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine that boots an image with the pull agent, and the publisher whose pointers it reads.

The image has mini NixOS and, in its store, the Debian of the lab's hosts. The guest reaches the server of the publisher
through QEMU's network and the engine's bridge.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cache_server import serving
from image_files import PARAMETERS, boot_files
from lab import LabHost
from machine import FIRMWARE, LAB, REPOSITORY, image
from processes import nix_environment, run, wait_until
from project import Project
from pulling import Pulling, make_keys
from vm_host import NETWORK, VmHost, created

GENERIC = "generic"
"""What the host is called for which the image is made: no machine has the name."""
PULL_DEADLINE = 300  # seconds until a machine has pulled a system and told its outcome
KEY_DEADLINE = (
    240  # seconds until a new machine has made the key of its ssh server, and printed the public half
)
KEY = re.compile(r"@@ key (ssh-ed25519 \S+)")
HOUR = 3600
# What the image's Debian does without: the machine's own, and what would hide files of the system.
LEFT_OUT = ("etc/NIXOS", "etc/machine-id", "etc/hostname", "etc/nix", "usr/share/doc", "usr/share/perl")
USERLAND = """
cd /out
tar -x --no-same-owner -f -
ln -sf /dev/null etc/systemd/system/systemd-modules-load.service
cp /usr/bin/bootctl usr/bin/
"""
HINT = "io.systemd.boot.kernel-cmdline-extra"
"""The string of the firmware by which systemd-boot adds to the command line of the kernel."""


@dataclass
class ImageLab:
    """The publisher, and the project with the image's system."""

    directory: Path
    project: Project
    publisher: Pulling

    def describe(self, name: str, version: str, host: str) -> None:
        """Say what a system is, whose agent reads the pointers of ``host``."""
        publisher = self.publisher
        pull = {
            "enable": True,
            "host": host,
            "url": f"{publisher.server.url}/pointers",
            "publicKeys": [publisher.public_key],
            "pointerKeys": [(publisher.keys / "pointer.pub").read_text()],
            "caches": [f"{publisher.server.url}/cache"],
            "reportUrl": f"{publisher.server.url}/report",
            "calendar": "*:*:0/20",
            "jitter": 0,
        }
        file = self.project.systems / "systems.json"
        described = json.loads(file.read_text())
        described["systems"][name] = {"version": version, "pull": pull}
        file.write_text(json.dumps(described))

    def publish(self, version: str) -> str:
        """Build a system that names its host, and point to it; returns its store path."""
        name = self.publisher.host.name
        self.describe(name, version, name)
        argv = ["nix-build", "--no-out-link", "--quiet", str(self.project.systems / "default.nix")]
        argv += ["--attr", f"{name}.config.system.build.toplevel"]
        toplevel = run(argv, environment=nix_environment()).stdout.strip()
        self.publisher.store(toplevel)
        # The clock of a guest that does much falls behind.
        issued = int(time.time()) - HOUR
        self.publisher.offer(self.publisher.pointer(toplevel, issued=issued))
        return toplevel

    def reports(self) -> list[dict[str, str]]:
        """What machines have told after each run of their agents."""
        return [
            dict(line.split("=", 1) for line in text.decode().splitlines() if "=" in line)
            for text in self.publisher.server.posted
        ]

    def wait_for_commit(self, host: VmHost, toplevel: str) -> dict[str, str]:
        """Wait until the machine has told that this is its system."""

        def told() -> list[dict[str, str]]:
            return [
                each
                for each in self.reports()
                if each["outcome"] == "committed" and each["current"] == toplevel
            ]

        try:
            wait_until(lambda: bool(told()), deadline=PULL_DEADLINE, what=f"the pull of {toplevel}")
        except TimeoutError as error:
            said = host.execute("journalctl --no-pager --unit 'nixferry-*' --lines 60", check=False).stdout
            raise AssertionError(f"{error}\n{self.reports()}\n{said}\n{host.serial()[-2000:]}") from error
        return told()[-1]

    @contextmanager
    def machine(self, disk: Path) -> Iterator[VmHost]:
        """Start a machine of a copy of ``disk``, whose firmware tells it its name."""
        name = self.publisher.host.name
        place = self.directory / "machine"
        place.mkdir()
        run(["cp", "--sparse=always", str(disk), str(place / "disk.raw")])
        run(["cp", str(self.project.systems / "boot/variables.fd"), str(place / "variables.fd")])
        hint = ("-smbios", f"type=11,value={HINT}=systemd.hostname={name}")
        with created(self.directory, name, "/boot", "-netdev", NETWORK, *hint, *FIRMWARE) as host:
            host.power_on(wait=False)
            try:
                wait_until(
                    lambda: KEY.search(host.serial()) is not None,
                    deadline=KEY_DEADLINE,
                    what="the key of a new machine",
                )
            except TimeoutError as error:
                raise AssertionError(f"{error}\n{host.serial()[-4000:]}") from error
            host.know(KEY.findall(host.serial())[-1])
            host.wait_ready()
            yield host


def _userland(directory: Path, tag: str) -> None:
    """Take the files of the lab's Debian, but for those of one host. bootctl belongs to the library that it has."""
    directory.mkdir()
    container = run(["docker", "create", "--label=nixferry.lab=vm", image("target")]).stdout.strip()
    own = f"chown -R {os.getuid()}:{os.getgid()} ."
    left_out = " ".join(LEFT_OUT)
    script = f"set -e; {USERLAND}rm -rf {left_out} dev proc sys run tmp nix boot home root; {own}"
    command = ["docker", "run", "--rm", "--interactive", "--network=none", "--label=nixferry.lab=vm"]
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as files:
            command += [f"--volume={directory}:/out", tag, "sh", "-c", script]
            subprocess.run(command, stdin=files.stdout, check=True)
        assert files.returncode == 0
    finally:
        run(["docker", "rm", container])


@contextmanager
def image_lab(directory: Path, name: str) -> Iterator[ImageLab]:
    """Make a project whose image is one for many hosts, and a publisher for the one that is called so."""
    tag = image()
    project = Project(directory=directory / "project", lab=cast(Any, None))
    project.systems.mkdir(parents=True)
    project.describe_hosts({})
    (project.systems / "default.nix").write_text(
        (Path(__file__).parent / "image_guest/default.nix").read_text()
    )
    files = boot_files(project.systems / "boot", tag)
    _userland(project.systems / "userland", tag)
    run([str(LAB / "scripts/make-keys"), str(directory)])
    about = {
        "module": str(REPOSITORY / "plugins/plugin_utils/nix/pull.nix"),
        "files": files,
        "parameters": f"{PARAMETERS} systemd.show_status=no",
        "key": (directory / "ssh_key.pub").read_text(),
        "systems": {},
    }
    project.write("systems/systems.json", json.dumps(about))
    project.write("inventory.yml", json.dumps({"all": {"hosts": {GENERIC: {}}}}))
    project.write("ansible.cfg", "[defaults]\ninventory = inventory.yml\n")
    public = make_keys(directory / "keys")
    bridge = ["docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"]
    with serving(directory / "served", address=run(bridge).stdout.strip()) as server:
        (server.directory / "cache").mkdir(parents=True)
        host = LabHost(name, "", "", 0, 0, (), directory)
        publisher = Pulling(host, project, server, directory / "keys", public)
        yield ImageLab(directory, project, publisher)
