# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine without a disk that iPXE boots from the network, and a project that deploys to it.

nginx and QEMU run in one container of the lab's image `vm`. The network is QEMU's own: its DHCP names the script of the
web server, which the guest reaches as 10.0.2.2. The guest's ssh server is a port of 127.0.0.1 here.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import REPOSITORY, image
from processes import PATIENCE, nix_environment, run, wait_until

GUEST = Path(__file__).parent / "netboot_guest"
MAC = "52:54:00:12:34:56"
SSH_PORT = 2222
HTTP_PORT = 8000
BOOT_DEADLINE = 200  # seconds until a guest has booted: some 12 seconds of a processor
PLAY_DEADLINE = 600  # seconds for a deploy with two reboots
NGINX = """
user root;
error_log /machine/nginx.log;
pid /run/nginx.pid;
events {}
http {
    access_log /machine/access.log;
    include /machine/site.conf;
}
"""
QEMU = (
    "exec qemu-system-x86_64 -machine q35,smm=off,graphics=off -accel tcg,thread=single,tb-size=128 -icount shift=2 "
    "-cpu qemu64 -smp 1 -m 384 -nodefaults -display none -monitor none -boot n -device virtio-rng-pci "
    f"-netdev user,id=net,hostfwd=tcp::{SSH_PORT}-:22,bootfile=http://10.0.2.2:{HTTP_PORT}/boot.ipxe "
    f"-device virtio-net-pci,netdev=net,mac={MAC} "
    "-chardev file,id=serial,path=/machine/serial.log,append=on -serial chardev:serial"
)
# The firmware has moved the cursor before the first of them.
TOLD = re.compile(r"@@ (\S+) (good|unhealthy|deaf|panic|crash) (.*)$", re.M)
RELEASE = re.compile(r"nixferry\.release=([0-9a-f]{32})")


@dataclass(frozen=True)
class Boot:
    """One boot of the guest's system: its version, and the parameters of its kernel."""

    version: str
    parameters: str

    @property
    def is_trial(self) -> bool:
        return "nixferry.trial=" in self.parameters


@dataclass(frozen=True)
class Played:
    """A run of ansible-playbook: its exit status, what it printed, and the results of its tasks by their names."""

    status: int
    output: str
    changed: int

    def assert_ok(self) -> Played:
        assert self.status == 0, self.output
        return self


@dataclass(frozen=True)
class NetbootLab:
    """The machine, its server, and a project in ``directory``."""

    directory: Path
    container: str

    @property
    def tree(self) -> Path:
        return self.directory / "www"

    @property
    def serial(self) -> str:
        written = self.directory / "machine/serial.log"
        return written.read_text(errors="replace").replace("\r", "") if written.exists() else ""

    def boots(self) -> list[Boot]:
        """The boots until now, in order."""
        return [Boot(version, parameters) for version, _behaviour, parameters in TOLD.findall(self.serial)]

    def power_on(self) -> None:
        run(["docker", "exec", "--detach", self.container, "sh", "-c", QEMU])

    def lose_power(self) -> None:
        run(["docker", "exec", self.container, "sh", "-c", "kill -9 $(busybox pidof qemu-system-x86_64)"])

    def wait_for_boots(self, number: int) -> list[Boot]:
        """Wait until the guest has begun so many boots."""
        try:
            wait_until(lambda: len(self.boots()) >= number, deadline=BOOT_DEADLINE, what=f"boot {number}")
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.serial[-3000:]}") from error
        return self.boots()

    def wait_until_up(self) -> None:
        """Wait until the guest's ssh server has been started in its last boot."""
        wait_until(
            lambda: self.serial.rfind("@@ up") > self.serial.rfind("nixferry.release="),
            deadline=BOOT_DEADLINE,
            what="a guest that is up",
        )

    def system(self, version: str, behaviour: str = "good") -> str:
        """Build a system for the guest; return its store path."""
        arguments = ["--argstr", "version", version, "--argstr", "behaviour", behaviour]
        for name in ("parts", "keys"):
            arguments += ["--arg", name, str(self.directory / name)]
        made = run(
            ["nix-build", "--no-out-link", "--quiet", str(GUEST), *arguments], environment=nix_environment()
        )
        return made.stdout.split()[-1]

    def command(self, *arguments: str, **variables: Any) -> tuple[list[str], dict[str, str]]:
        """The command line and the environment of a deploy."""
        settings = {
            **nix_environment(),
            "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".build/collections"),
            "ANSIBLE_CONFIG": str(self.directory / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
        }
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        argv = [program, "nixferry.deploy.netboot", *arguments, "--extra-vars", json.dumps(variables)]
        return argv, settings

    def deploy(self, *arguments: str, **variables: Any) -> Played:
        argv, settings = self.command(*arguments, **variables)
        done = run(argv, environment=settings, check=False, timeout=PLAY_DEADLINE, directory=self.directory)
        recap = re.search(r"^guest +: ok=\d+ +changed=(\d+)", done.stdout, re.M)
        return Played(done.returncode, done.stdout + done.stderr, int(recap[1]) if recap else -1)

    def start_deploy(self, **variables: Any) -> subprocess.Popen[bytes]:
        """Begin a deploy in a session of its own, which a test can kill."""
        argv, settings = self.command(**variables)
        log = (self.directory / "deploy.log").open("wb")
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **settings},
            cwd=self.directory,
            start_new_session=True,
        )

    def state(self) -> dict[str, Any]:
        """What the server knows of the guest."""
        return dict(json.loads((self.tree / "state/guest.json").read_text()))


def _project(directory: Path, port: int, host_key: str) -> None:
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    guest = {
        "ansible_host": "127.0.0.1",
        "ansible_port": port,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(directory / "id"),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={directory}/known_hosts -o IdentitiesOnly=yes",
        "netboot_macs": [MAC],
        "netboot_directory": str(directory / "www"),
        "netboot_work": str(directory / "work"),
        "netboot_timeout_reboot": round(120 * PATIENCE),
        "netboot_timeout_confirm": 20,
        "netboot_seconds": round(400 * PATIENCE),
        "netboot_health_checks": [{"command": "test -e /run/healthy", "retries": 0}],
    }
    (directory / "inventory.json").write_text(json.dumps({"all": {"hosts": {"guest": guest}}}))
    own = (
        "[defaults]",
        "inventory = inventory.json",
        "host_key_checking = True",
        "retry_files_enabled = False",
    )
    (directory / "ansible.cfg").write_text("\n".join((*own, "[ssh_connection]", "pipelining = True")) + "\n")


def _site(directory: Path) -> None:
    """Write nginx's configuration as the role does."""
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(REPOSITORY / f"roles/netboot/{name}/main.yml") for name in ("defaults", "vars")],
        "tasks": [
            {
                "ansible.builtin.template": {
                    "src": str(REPOSITORY / "roles/netboot/templates/nginx.conf.j2"),
                    "dest": str(directory / "machine/site.conf"),
                }
            }
        ],
    }
    (directory / "site.yml").write_text(json.dumps([play]))
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    given = {"netboot_directory": "/www", "netboot_listen": [f"127.0.0.1:{HTTP_PORT}"]}
    argv = [program, "site.yml", "--extra-vars", json.dumps(given)]
    run(argv, directory=directory, environment={"ANSIBLE_CONFIG": str(directory / "ansible.cfg")})


@contextmanager
def netboot_lab(directory: Path) -> Iterator[NetbootLab]:
    """Make the machine, without power, and its web server."""
    tag = image()
    for name in ("machine", "www", "www/pending", "parts", "keys"):
        (directory / name).mkdir()
    keys = "dropbearkey -t ed25519 -f /made/keys/host_key | grep ^ssh-ed25519"
    parts = "cp -r /parts/kernel /parts/netboot-initrd /parts/netboot /made/parts/"
    own = f"chown -R {os.getuid()}:{os.getgid()} /made/keys /made/parts; chmod 644 /made/keys/host_key"
    script = f"set -e; {parts}; {keys}; {own}"
    made = run(
        ["docker", "run", "--rm", "--network=none", f"--volume={directory}:/made", tag, "sh", "-c", script]
    )
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "id")])
    (directory / "keys/authorized_keys").write_text((directory / "id.pub").read_text())
    (directory / "machine/nginx.conf").write_text(NGINX)
    container = f"nixferry-lab-netboot-{os.getpid()}-{secrets.token_hex(3)}"
    volumes = [f"--volume={directory}/machine:/machine", f"--volume={directory}/www:/www"]
    about = ["--init", f"--name={container}", "--label=nixferry.lab=vm", f"--publish=127.0.0.1::{SSH_PORT}"]
    run(
        ["docker", "create", *about, *volumes, tag, "nginx", "-c", "/machine/nginx.conf", "-g", "daemon off;"]
    )
    try:
        # The directory of the project says where Ansible's settings are, which the next one needs.
        _project(directory, 0, "")
        _site(directory)
        run(["docker", "start", container])
        port = run(["docker", "port", container, str(SSH_PORT)]).stdout.split()[0].rpartition(":")[2]
        _project(directory, int(port), made.stdout.strip().splitlines()[-1])
        yield NetbootLab(directory, container)
    finally:
        run(["docker", "rm", "--force", container])
