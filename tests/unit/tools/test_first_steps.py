# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a newcomer sees of the set-up: what is installed, and what is missing before anything else is done."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
NO_DAEMON = (
    "error: could not set permissions on '/nix/var/nix/profiles/per-user' to 755: Operation not permitted"
)
# Debian's, with its way to say what it does.
APT_GET = """
case $1 in
update) echo "E: what a mirror says" >&2 ;;
install)
    echo "Unpacking nix-bin (2.26.3) ..."
    echo "Setting up libnix:amd64 (2.26.3) ..."
    echo "Setting up nix-bin (2.26.3) ..."
    [ -n "$BROKEN" ] && { echo "E: no space left"; exit 100; }
    printf '#!/bin/sh\\n' >"$PROGRAMS/nix"; chmod +x "$PROGRAMS/nix" ;;
esac
"""


@dataclass(frozen=True)
class Machine:
    """A machine whose programs are these and the shell's."""

    programs: Path

    def program(self, name: str, text: str = "") -> None:
        file = self.programs / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "HOME": str(self.programs),
            "PROGRAMS": str(self.programs),
            "BROKEN": "",
            **environment,
        }
        return subprocess.run(
            command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False, timeout=60
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def without_nix(machine: Machine) -> str:
    """A PATH on which nothing but the fakes and the tools of the script is."""
    directory = machine.programs / "tools"
    directory.mkdir()
    for name in ("sh", "dirname", "mktemp", "rm", "cat", "chmod"):
        found = next(
            Path(place, name) for place in os.environ["PATH"].split(":") if Path(place, name).exists()
        )
        (directory / name).symlink_to(found)
    return f"{machine.programs}:{directory}"


class TestEnsurePrograms:
    def ensure(self, machine: Machine, **environment: str) -> subprocess.CompletedProcess[str]:
        machine.program("id", "echo 0")
        machine.program("apt-get", APT_GET)
        return machine.run("tests/tools/ensure-programs.sh", "nix", PATH=without_nix(machine), **environment)

    def test_it_tells_what_is_being_installed(self, machine: Machine) -> None:
        done = self.ensure(machine)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "Installing with apt-get: nix-bin",
            "  reading which packages there are",
            "  downloading",
            "  setting up libnix:amd64",
            "  setting up nix-bin",
        ]

    def test_a_failure_shows_all_that_was_said(self, machine: Machine) -> None:
        done = self.ensure(machine, BROKEN="1")
        assert done.returncode == 1
        assert "Unpacking nix-bin (2.26.3) ...\n" in done.stderr
        assert "E: no space left\n" in done.stderr


class TestOrdinaryUserWithoutDaemon:
    def test_it_is_told_what_to_install(self, machine: Machine) -> None:
        machine.program("id", "case $1 in -un) echo ann ;; *) echo 1000 ;; esac")
        machine.program("nix-store", f'echo "{NO_DAEMON}" >&2; exit 1')
        done = machine.run("tests/tools/check-nix.sh")
        assert done.returncode == 1
        assert NO_DAEMON in done.stderr
        assert "sudo apt-get install nix-setup-systemd\n" in done.stderr
        assert "usermod --append --groups nix-users ann\n" in done.stderr

    def test_who_may_use_nix_is_told_nothing(self, machine: Machine) -> None:
        machine.program("nix-store", "echo /nix/store/x")
        done = machine.run("tests/tools/check-nix.sh")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_nothing_of_the_demonstration_is_done(self, machine: Machine) -> None:
        for name in ("git", "nix", "busybox"):
            machine.program(name)
        machine.program("nix-store", f'echo "{NO_DAEMON}" >&2; exit 1')
        done = machine.run("make", "--no-print-directory", "demo", NIXFERRY_NO_INSTALL="1")
        assert done.returncode != 0
        assert NO_DAEMON in done.stderr
        assert done.stdout == ""
