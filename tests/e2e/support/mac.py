# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Mac as far as it can be played in a container.

Python says that it runs on Darwin, so that modules and facts take what they have for macOS; the programs that only
macOS has are scripts that keep a little state and remember what they were told, in `/mac/calls/NAME`. A user `alice`
with a home in /Users becomes root through sudo, whose home is another. What is real: Nix and its daemon, ssh, and the
container engine, which is the one that runs the lab.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab import REPOSITORY, Lab, run
from project import PlaybookRun, Project, make_project
from workstation import FOREIGN, Client, collection_mounts, free_port, image_of

PROGRAMS = REPOSITORY / "tests/e2e/support/macos"
HOME = "/Users/alice"
RUN_DEADLINE = 900  # seconds for a run that builds an image and tries a builder out
# The distribution's Nix goes where nobody looks for it, until the installer comes.
_SET_UP = """
mkdir -p /opt/hidden /mac/calls /mac/bin /mac/launchd /Library/LaunchDaemons /Users /var/root
mv /usr/bin/nix* /opt/hidden/
rm -rf /etc/nix /nix
sed -i "s,:/root:,:/var/root:," /etc/passwd
groupadd --gid {group} --non-unique engine
useradd --create-home --home-dir {home} --groups engine alice
chmod 1777 /mac/calls
cp /usr/bin/setpriv /mac/bin/as-root
chmod 4755 /mac/bin/as-root
for program in /mac/programs/*; do
    ln -s "$program" /usr/local/bin/
done
# Ansible asks it by its absolute name.
ln -s /mac/programs/sw_vers /usr/bin/
printf 'root\\n_www\\n' >/mac/Users
printf 'admin\\nstaff\\n' >/mac/Groups
echo '/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)' >/mac/mounts
printf '# System-wide profile for zsh\\nPS1=mac\\n' >/etc/zshrc
chmod 0444 /etc/zshrc
printf '# Warning - this file should only be modified with vifs(8)\\nLABEL=Data /data apfs rw\\n' >/etc/fstab
"""


class Mac(Client):
    """A machine that says that it is a Mac."""

    def put(self, path: str, content: str) -> str:
        """Write a file that can be run; returns its checksum as the role nix takes it."""
        argv = [
            "docker",
            "exec",
            "--interactive",
            self.container,
            "/bin/sh",
            "-c",
            f"cat >{path}; chmod 0755 {path}",
        ]
        run(argv, input=content)
        return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"

    def calls(self, program: str) -> list[str]:
        """What a program of macOS was told since the last time."""
        return self.execute(f"cd /mac/calls; touch {program}; cat {program}; rm {program}").splitlines()

    def project(self, directory: Path) -> Project:
        """A project of alice, with the lab's hosts as this machine reaches them."""
        project = make_project(directory, self.lab, self.container)
        project.write("inventory.yml", (self.lab.directory / "inventory.yml").read_text())
        return project

    def run_playbook(
        self,
        project: Project,
        playbook: str | list[Any],
        *arguments: str,
        variables: Mapping[str, Any] | None = None,
    ) -> PlaybookRun:
        """Run plays, or a playbook of the collection by its name, as alice and in her project."""
        plays = [] if isinstance(playbook, str) else playbook
        argv, _settings = project.prepare(plays, *arguments, variables=variables)
        if isinstance(playbook, str):
            argv[argv.index("playbook.yml")] = playbook
        self.execute(f"chown -R alice {project.root}")
        # What a shell sets, and `docker exec` does not.
        argv[2:2] = ["--user", "alice", "--env", f"PWD={project.root}"]
        done = run(argv, check=False, timeout=RUN_DEADLINE)
        return project.collect(done)

    def variables(self, **changed: Any) -> dict[str, Any]:
        """Variables of role builder_docker for an image without network; `changed` are without their prefix."""
        own = {
            "name": self.builder,
            "port": self.port,
            "base_image": image_of(self.lab.hosts["fresh1"].container),
            "build_network": "none",
            "extra_platforms": [FOREIGN],
            # What looks like a variable of a shell is not one.
            "settings": {"substituters": [], "bash-prompt": "$HOME"},
            **changed,
        }
        return {f"builder_docker_{name}": value for name, value in own.items()}


@contextlib.contextmanager
def started(lab: Lab) -> Iterator[Mac]:
    """A Mac without Nix, and at the end nothing of it or of its builder."""
    mac = Mac(lab, f"nixferry-lab-{lab.name}-mac", free_port())
    docker = shutil.which("docker")
    assert docker is not None
    socket = "/var/run/docker.sock"
    mounts = {
        **collection_mounts(),
        socket: "/mac/engine.sock",
        docker: "/mac/docker:ro",
        str(PROGRAMS / "bin"): "/mac/programs:ro",
        str(PROGRAMS / "python"): "/mac/python:ro",
        str(lab.directory): f"{lab.directory}:ro",
    }
    options = [f"--volume={source}:{target}" for source, target in mounts.items()]
    _remove(mac)
    try:
        argv = ["docker", "run", "--detach", "--init", "--network=host", f"--label=nixferry.lab={lab.name}"]
        argv += ["--env=PYTHONPATH=/mac/python:/python", f"--name={mac.container}", *options]
        run([*argv, image_of(lab.controller("trixie"))])
        mac.execute("set -e\n" + _SET_UP.format(group=Path(socket).stat().st_gid, home=HOME))
        yield mac
    finally:
        _remove(mac)


def _remove(mac: Mac) -> None:
    run(["docker", "rm", "--force", "--volumes", mac.container, mac.builder], check=False)
    run(["docker", "volume", "rm", f"{mac.builder}-nix", f"{mac.builder}-state"], check=False)
    run(["docker", "network", "rm", mac.builder], check=False)
