# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Virtual machines with real firmware, real boot loaders and a real kernel, emulated without KVM.

QEMU runs in a container of the lab's image `vm`, which has the firmware and makes the disks, so that nothing of it is
installed on the machine that runs the tests. The guest counts instructions instead of looking at the clock (-icount):
otherwise OVMF hangs on a busy machine after a reset.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from processes import PATIENCE, run, wait_until

from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import GUARD_PARTS, target_text

REPOSITORY = Path(__file__).resolve().parents[2]
LAB = REPOSITORY / "tests/lab"
LAB_WORK = REPOSITORY / ".build/lab"
GUEST = Path(__file__).parent / "guest"
BOOT_LOADER = REPOSITORY / "tests/fixtures/mini-nixos/target"
PROGRAMS = "/usr/local/lib/nixferry-vm"

IMAGE_DEADLINE = 1200 * PATIENCE  # seconds until the image is there: packages are downloaded
DISK_DEADLINE = 120  # seconds
BOOTS_DEADLINE = 900  # seconds until a guest has gone through its boots, some 20 seconds of a processor each

FIRMWARE = (
    *("-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"),
    # In a file: with the firmware as one image, variables are lost at a reset.
    *("-drive", "if=pflash,format=raw,file=/machine/variables.fd"),
)
QEMU = (
    "qemu-system-x86_64",
    *("-machine", "q35,smm=off", "-accel", "tcg,thread=single,tb-size=128", "-icount", "shift=2,sleep=off"),
    *("-cpu", "qemu64", "-smp", "1", "-m", "256", "-nodefaults", "-display", "none", "-nic", "none"),
    *(
        "-chardev",
        "file,id=serial,path=/machine/serial.log,append=on",
        "-serial",
        "chardev:serial",
        "-monitor",
        "none",
    ),
    *("-drive", "if=none,id=disk,file=/machine/disk.raw,format=raw,cache=writeback"),
    *("-device", "virtio-blk-pci,drive=disk,bootindex=1"),
)
# The kernel is started by QEMU: four seconds of a processor for a boot, for what is not about firmware.
DIRECTLY = (
    *("-kernel", "/parts/kernel", "-initrd", "/parts/initrd"),
    *("-append", "init=/lab/sys1/init console=ttyS0 quiet panic=-1 mitigations=off nokaslr no_timer_check"),
)
TOLD = re.compile(rb"@@ (\d+) (\S+) ?([^\r\n]*)\r?\n")


@dataclass(frozen=True)
class Story:
    """What a guest has told: ``told[boot][key]``, where boots are counted from 1."""

    told: dict[int, dict[str, str]]
    serial: str
    """All that it has printed, for messages."""

    def systems(self) -> list[str]:
        """The systems that were booted, in order."""
        return [self.told[boot]["system"].removeprefix("/lab/") for boot in sorted(self.told)]

    def without_power(self) -> list[int]:
        """Return the boots that have ended because the power went."""
        return [boot for boot, told in self.told.items() if "power" in told]


@dataclass(frozen=True)
class Machine:
    """A virtual machine whose disk and variables are in ``directory``."""

    name: str
    directory: Path

    def start(self) -> None:
        """Give it power."""
        run(["docker", "start", self.name])

    def lose_power(self) -> None:
        """Take the power away: what the guest has not written is lost."""
        run(["docker", "kill", self.name])

    def story(self) -> Story:
        """Return what the guest has told so far."""
        written = self.directory / "serial.log"
        content = written.read_bytes() if written.exists() else b""
        told: dict[int, dict[str, str]] = {}
        for boot, key, value in TOLD.findall(content):
            told.setdefault(int(boot), {})[key.decode()] = value.decode(errors="replace").strip()
        return Story(told, content.decode(errors="replace"))


def image(kind: str = "vm") -> str:
    """Make sure that an engine runs and that the image of a kind is there; return its name."""
    LAB_WORK.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "LAB_WORK_DIR": str(LAB_WORK), "LAB_PYTHON": sys.executable}
    run([str(LAB / "scripts/start-docker"), str(LAB_WORK)], environment=environment)
    made = subprocess.run(
        [str(LAB / "scripts/build-image"), kind, "trixie"],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=IMAGE_DEADLINE,
    )
    return made.stdout.split()[-1]


@contextmanager
def machine(
    name: str,
    layout: str,
    scenario: str,
    directory: Path,
    settings: tuple[str, ...] = (),
    *,
    directly: bool = False,
) -> Iterator[Machine]:
    """Make a machine with a disk of that layout (tests/lab/images/vm/make-disk), whose guest acts by a scenario.

    ``settings`` are those of the programs that write boot entries (tests/fixtures/mini-nixos/target).
    ``directly`` leaves out firmware and boot loader.
    """
    tag = image()
    guest = directory / "guest"
    shutil.copytree(GUEST, guest)
    (guest / scenario).rename(guest / "scenario")
    parts = [part for part in GUARD_PARTS if part.startswith(("lib/", "boot/"))]
    (guest / "guard.sh").write_text("\n".join(map(target_text, parts)))
    make_disk(tag, layout, directory, settings=settings)
    with emulated(
        name, directory, tag, uefi=layout != "grub-bios" and not directly, more=DIRECTLY if directly else ()
    ) as made:
        yield made


def make_disk(
    tag: str, layout: str, directory: Path, *, settings: tuple[str, ...] = (), host: str | None = None
) -> None:
    """Make ``disk.raw`` and ``variables.fd`` in ``directory`` of what is in its ``guest``.

    ``host`` is the image whose files are the root, for a guest that is a host.
    """
    guest = directory / "guest"
    for program in ("boot-functions", "install-boot-loader", "install-systemd-boot"):
        text = (BOOT_LOADER / program).read_text().replace("@applets@/bin:", "")
        text = text.replace("@bootFunctions@", '"${0%/*}/boot-functions"')
        (guest / program).write_text(text.replace("@installSystemdBoot@", '"${0%/*}/install-systemd-boot"'))
        (guest / program).chmod(0o755)
    (guest / "boot-loader").write_text("".join(f"{line}\n" for line in settings))
    work = [f"--volume={directory}:/machine", "--network=none", "--label=nixferry.lab=vm"]
    command = ["docker", "run", "--rm", "--interactive", *work, tag, f"{PROGRAMS}/make-disk"]
    command += [layout, "/machine/guest", "/machine/disk.raw"]
    if host is None:
        run(command, timeout=DISK_DEADLINE)
        return
    container = run(["docker", "create", "--label=nixferry.lab=vm", host]).stdout.strip()
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as files:
            subprocess.run(command, stdin=files.stdout, check=True, timeout=DISK_DEADLINE * PATIENCE)
        assert files.returncode == 0
    finally:
        run(["docker", "rm", container])


@contextmanager
def emulated(
    name: str, directory: Path, tag: str, *, uefi: bool = True, more: tuple[str, ...] = ()
) -> Iterator[Machine]:
    """Make a machine of ``disk.raw`` and the EFI variables in ``variables.fd`` of ``directory``."""
    work = [f"--volume={directory}:/machine", "--network=none", "--label=nixferry.lab=vm"]
    command = [*QEMU, *(FIRMWARE if uefi else ()), *more]
    run(["docker", "create", "--init", f"--name={name}", *work, tag, *command])
    made = Machine(name, directory)
    try:
        yield made
    finally:
        run(["docker", "rm", "--force", name])


def go_through(guest: Machine) -> Story:
    """Let the guest go through its boots, taking the power away where it says so; return what it has told.

    Raises AssertionError with what it has printed if it does not get to the end.
    """
    boots_without_power = 0
    guest.start()
    while True:
        with subprocess.Popen(["docker", "wait", guest.name], stdout=subprocess.DEVNULL) as running:
            try:
                wait_until(
                    lambda seen=boots_without_power, running=running: (
                        running.poll() is not None or len(guest.story().without_power()) > seen
                    ),
                    deadline=BOOTS_DEADLINE,
                    what="a guest that has come to its end",
                )
            except TimeoutError as error:
                raise AssertionError(f"{error}\n{guest.story().serial[-4000:]}") from error
            finally:
                if running.poll() is None:
                    guest.lose_power()
        story = guest.story()
        if len(story.without_power()) == boots_without_power:
            assert any("end" in told for told in story.told.values()), story.serial[-4000:]
            return story
        boots_without_power = len(story.without_power())
        guest.start()
