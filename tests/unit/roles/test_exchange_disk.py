# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that exchanges the disk of a machine, cut off at each step: the next run gets to its end all the same."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

FILES = Path(__file__).parents[3] / "roles/image/files"
EXCHANGE = (FILES / "exchange-disk.sh").read_text()
KEEP = (FILES / "keep-first-disk.sh").read_text()


class Hypervisor:
    """A directory with images, the disk of a machine, and a log of what was done to the machine."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "log"
        self.disk = directory / "machines/web 1.qcow2"
        self.disk.parent.mkdir()
        self.disk.write_text("first\n")
        self.store = directory / "store"
        for name in ("one", "two"):
            (self.store / name).mkdir(parents=True)
            (self.store / name / "disk.qcow2").write_text(f"{name}\n")
        programs = directory / "bin"
        programs.mkdir()
        # nix-store --add prints a path with the content of the file; nix-env --profile P --set PATH.
        (programs / "nix-store").write_text(
            f'#!/bin/sh\ncp "$2" {self.store}/first; echo {self.store}/first\n'
        )
        (programs / "nix-env").write_text('#!/bin/sh\nln -sfn "$4" "$2"\n')
        for program in programs.iterdir():
            program.chmod(0o755)
        self.profile = directory / "profiles/web1"
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "MACHINE": "web1",
            "DISK_LINK": str(self.disk),
            "PROFILE": str(self.profile),
            "PREPARE": 'test "$FORMAT" = qcow2; cp "$IMAGE" "$DISK"',
            "STOP": f'echo stop "$MACHINE" >>{self.log}',
            "START": f'echo start "$MACHINE" >>{self.log}',
        }

    def run(self, program: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a program with other variables than usual."""
        environment = {**self.environment, **changes}
        return subprocess.run(
            ["/bin/sh", "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def exchange(self, name: str, **changes: str) -> int:
        """Let the machine run from an image."""
        return self.run(EXCHANGE, SYSTEM=str(self.store / name), **changes).returncode

    def done(self) -> list[str]:
        """What was done to the machine since the last call."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def hypervisor(tmp_path: Path) -> Hypervisor:
    return Hypervisor(tmp_path)


def test_the_first_disk_is_kept_while_the_machine_runs(hypervisor: Hypervisor) -> None:
    inode = hypervisor.disk.stat().st_ino
    kept = hypervisor.run(KEEP)
    assert kept.stdout == "kept\n", kept.stderr
    assert hypervisor.disk.is_symlink()
    assert hypervisor.disk.stat().st_ino == inode, "the machine has the file open"
    assert hypervisor.profile.is_symlink()
    assert hypervisor.run(KEEP).stdout == ""
    assert hypervisor.done() == []


def test_what_was_cut_off_is_kept_by_the_next_run(hypervisor: Hypervisor) -> None:
    """The power went after the link, before the profile."""
    assert hypervisor.run(KEEP, PROFILE="/dev/null/x").returncode != 0
    assert hypervisor.disk.is_symlink()
    assert hypervisor.run(KEEP).stdout == "kept\n"


def test_a_disk_that_is_not_there_is_not_kept(hypervisor: Hypervisor) -> None:
    missing = hypervisor.run(KEEP, DISK_LINK=f"{hypervisor.disk}.missing")
    assert missing.returncode == 1
    assert "image_machine_disk" in missing.stderr
    (hypervisor.disk.parent / "link").symlink_to(hypervisor.disk)
    assert "is a link already" in hypervisor.run(KEEP, DISK_LINK=str(hypervisor.disk.parent / "link")).stderr
    assert not hypervisor.profile.exists()


def test_a_machine_goes_to_its_image_and_back(hypervisor: Hypervisor) -> None:
    hypervisor.run(KEEP)
    assert hypervisor.exchange("one") == 0
    assert hypervisor.disk.read_text() == "one\n"
    assert hypervisor.done() == ["stop web1", "start web1"]
    # What the machine writes stays on its disk, and not in the image.
    hypervisor.disk.write_text("one, written\n")
    assert hypervisor.exchange("two") == 0
    assert hypervisor.disk.read_text() == "two\n"
    assert hypervisor.exchange("one") == 0
    assert hypervisor.disk.read_text() == "one, written\n"
    assert (hypervisor.store / "one/disk.qcow2").read_text() == "one\n"
    assert hypervisor.exchange("first") == 0
    assert hypervisor.disk.read_text() == "first\n"


def test_a_failed_disk_is_not_used_again(hypervisor: Hypervisor) -> None:
    hypervisor.run(KEEP)
    old = str(hypervisor.store / "first")
    assert hypervisor.exchange("one", OLD_SYSTEM=old) == 0
    hypervisor.disk.write_text("half of a migration\n")
    assert hypervisor.exchange("first", OLD_SYSTEM=old) == 0
    assert hypervisor.disk.read_text() == "first\n"
    assert hypervisor.exchange("one", OLD_SYSTEM=old) == 0
    assert hypervisor.disk.read_text() == "one\n"
    assert [path.read_text() for path in hypervisor.disk.parent.glob("**/*.failed")] == [
        "half of a migration\n"
    ]


@pytest.mark.parametrize(
    ("step", "program", "disk"),
    [
        ("PREPARE", 'echo half >"$DISK"; kill -KILL $PPID', "first\n"),
        ("PREPARE", 'echo half >"$DISK"; exit 1', "first\n"),
        ("STOP", "kill -KILL $PPID", "first\n"),
        ("STOP", "exit 1", "first\n"),
        ("START", "kill -KILL $PPID", "one\n"),
        ("START", "exit 1", "one\n"),
    ],
)
def test_each_step_may_be_cut_off(hypervisor: Hypervisor, step: str, program: str, disk: str) -> None:
    hypervisor.run(KEEP)
    assert hypervisor.exchange("one", **{step: program}) != 0
    assert hypervisor.disk.read_text() == disk
    hypervisor.done()
    # The guard goes back; and the next deploy gets to its end.
    assert hypervisor.exchange("first") == 0
    assert hypervisor.disk.read_text() == "first\n"
    assert hypervisor.done()[-1] == "start web1"
    assert hypervisor.exchange("one") == 0
    assert hypervisor.disk.read_text() == "one\n"
    assert not list(hypervisor.disk.parent.glob("**/*.new"))
