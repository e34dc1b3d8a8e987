# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A git repository on a web server, from which hosts build their systems; and git on a host of the lab."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import containers
from lab import Lab, LabHost, run
from project import Project

# The files of packages in a container of the same release, with the libraries that their programs want.
FILES = """
{ dpkg -L %s; ldd %s | sed -n 's/.*=> \\(.*\\) (.*/\\1/p'; } |
    sort -u | while read -r file; do
        case $file in /usr/share/*) continue ;; esac
        if [ -d "$file" ]; then continue; fi
        echo "$file"; if [ -L "$file" ]; then readlink -e "$file"; fi
    done | sort -u | tar --create --no-recursion --ignore-failed-read --files-from=- 2>/dev/null
"""


def give_git(lab: Lab, host: LabHost) -> None:
    """Install git on a host."""
    programs = ("/usr/lib/git-core/git", "/usr/lib/git-core/git-remote-http")
    give(host, lab.controller(host.release), "git", programs)
    host.execute("git --version")


def give(host: LabHost, container: str, packages: str, programs: Sequence[str]) -> None:
    """Install packages on a host as its distribution would, from a container that has them: there is no network."""
    packed = subprocess.run(
        containers.command(container, "/bin/sh", "-c", FILES % (packages, " ".join(programs))),
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    ).stdout
    unpack = ["tar", "--extract", "--skip-old-files", "--directory=/", "--file=-"]
    subprocess.run(containers.command(host.container, *unpack), input=packed, check=True, timeout=60)


@dataclass
class Repository:
    """The systems of a project, in a working copy, and what a web server gives out of it."""

    project: Project
    served: Path
    key: Path
    """The secret key that signs commits."""
    gpg: Path | None = None
    """A program that signs as gpg does, instead."""

    def git(self, *words: str) -> str:
        settings = {
            "user.name": "x",
            "user.email": "x@example.org",
            "gpg.format": "openpgp" if self.gpg else "ssh",
            "gpg.program": str(self.gpg),
            "core.hooksPath": "/dev/null",
        }
        given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        environment = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        argv = ["git", "-C", str(self.project.systems), *given, *words]
        return run(argv, environment={**os.environ, **environment}).stdout.strip()

    def begin(self) -> None:
        self.git("init", "--quiet", "--initial-branch=main")
        run(["git", "init", "--quiet", "--bare", str(self.served)])
        run(["git", "-C", str(self.served), "update-server-info"])

    def commit(
        self, systems: Mapping[str, Any], *, key: Path | str | None = None, signed: bool = True
    ) -> str:
        """Describe the hosts' systems in one commit on the branch that is checked out; returns its name.

        `key` is a file, or what `gpg` knows a key by.
        """
        self.project.systems.joinpath("hosts.json").write_text(json.dumps(systems))
        self.git("add", "--all")
        signature = [f"-S{key or self.key}"] if signed else ["--no-gpg-sign"]
        self.git("commit", "--quiet", "--allow-empty", "--message=x", *signature)
        return self.git("rev-parse", "HEAD")

    def push(self, *what: str) -> None:
        """Give out branches, as they are now."""
        self.git("push", "--quiet", "--force", str(self.served), *(what or ("main",)))
        run(["git", "-C", str(self.served), "update-server-info"])
