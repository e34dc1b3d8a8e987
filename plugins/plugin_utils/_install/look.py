# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Look at a machine that is to be installed, and say which of its disks may be destroyed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import whole_number
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import built_file
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import Answer, decode_answer
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import (
    LIBRARY,
    answer_of_script,
    host_script,
)

STEP = Step.LOOK_AT_MACHINE
INSTALLER, LINUX, INSTALLED, MANAGED = STATES = ("installer", "linux", "installed", "managed")
# The parts that every script of an installation begins with.
PARTS = (*LIBRARY, "lib/own.sh", "lib/claim.sh", "lib/system.sh", "install/disks.sh", "install/work.sh")
NOTHING = "Nothing was changed."
REMEDIES = {
    "not_root": f"Log in as root, or use `become: true`. {NOTHING}",
    "not_linux": f"Boot the machine from an installer of NixOS. {NOTHING}",
}
# Bytes of a disko script that are read for the names of devices.
SCRIPT_BYTES = 4 * 1024 * 1024
# The same as in install/script.sh
_DEVICE = re.compile(rb"/dev/[A-Za-z0-9_.:@%+=/-]+")
_ID = re.compile(r"/dev/disk/by-(id|path)/[^\s/|]{1,250}")
_DISK_FIELDS = 6


@dataclass(frozen=True)
class Disk:
    """A disk of the machine. ``size`` is in bytes, ``ids`` are links that name it by what does not change."""

    name: str
    size: int
    model: str
    content: str
    """What was found on it, in words; empty if that is nothing."""
    ids: tuple[str, ...]
    uses: tuple[str, ...]
    """What uses it now, such as ``mounted on /``."""

    def facts(self) -> dict[str, Any]:
        """Return the disk for the result of a task."""
        return {
            "name": self.name,
            "size": self.size,
            "model": self.model,
            "content": self.content,
            "ids": list(self.ids),
            "uses": list(self.uses),
        }

    @property
    def text(self) -> str:
        """Return the disk in words."""
        parts = [
            self.ids[0] if self.ids else f"/dev/{self.name} (has no id)",
            f"{self.size // 10**9} GB",
            self.model,
            self.content or "empty",
        ]
        return ", ".join(part for part in (*parts, *self.uses) if part)


def _disks(answer: Answer) -> tuple[Disk, ...]:
    found = []
    for line in answer.all("disk"):
        # A tab in the name of a model would be a hostile one.
        fields = line.split("\t")
        size = whole_number(fields[1]) if len(fields) == _DISK_FIELDS else None
        if size is None:
            raise answer.broken(f"a disk is {line[:80]!r}")
        name, _size, model, content, ids, uses = fields
        found.append(Disk(name, size, model, content, _words(ids), _words(uses)))
    return tuple(found)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split("|") if word)


@dataclass(frozen=True)
class Look:
    """What ``install/look.sh`` has found."""

    state: str
    """``installer``; ``linux``: another system; ``installed``: not confirmed yet; ``managed``: to be left alone."""
    boot: str
    current: str
    name: str
    system: str
    """Nix's name of the platform."""
    memory_mib: int | None
    efi: bool
    secure_boot: bool
    container: str
    kexec_problem: tuple[str, ...]
    install_problem: tuple[str, ...]
    mounted: bool
    """Whether something is mounted where the new system goes."""
    disks_begun: str
    disks_done: str
    system_done: str
    record: tuple[str, ...]
    script_disk: tuple[str, ...]
    """``DISK DEVICE`` for each device in the disko script that lies on a disk."""
    disks: tuple[Disk, ...] = field(metadata={"read": _disks})

    def recorded(self, key: str) -> str:
        """Return a value of the record that the installation has left on the disk; empty without."""
        for line in self.record:
            name, _equals, value = line.partition("=")
            if name == key:
                return value
        return ""


def look(shell: RemoteShell, *, mount_point: str, script: str = "", devices: Iterable[str] = ()) -> Look:
    """Look at the machine. ``devices`` are those in the disko ``script``, which need not be there yet."""
    settings = {"MOUNT_POINT": mount_point, "SCRIPT": script, "SCRIPT_DEVICES": "\n".join(devices)}
    text = host_script(settings, (*PARTS, "install/script.sh", "install/look.sh"))
    answer = answer_of_script("look", shell.run(text, step=STEP), step=STEP, remedies=REMEDIES)
    found = decode_answer(answer, Look)
    if found.state not in STATES:
        raise answer.broken(f"its state is {found.state!r}")
    return found


def devices_in(script: str) -> tuple[str, ...]:
    """Return the devices that a disko script names, if it is in the store of the controller."""
    try:
        with built_file(Path(script), Path(script), step=STEP).open("rb") as file:
            content = file.read(SCRIPT_BYTES)
    except OSError:
        return ()
    return tuple(sorted({word.decode("ascii") for word in _DEVICE.findall(content)}))


def identity(script: str, disks: Sequence[str]) -> str:
    """Return what tells one formatting from another: script and disks."""
    return " ".join([script, *sorted(disks)])


def check_disk_names(disks: Sequence[str], confirm: Sequence[str]) -> None:
    """Raise ``NixferryError`` unless disks are named by what stays the same."""
    for disk in (*disks, *confirm):
        if _ID.fullmatch(disk) is None:
            raise NixferryError(
                f"{disk!r} does not name a disk by its id",
                step=STEP,
                remedy="Names such as /dev/sda change from boot to boot. Use one from /dev/disk/by-id, or from "
                f"/dev/disk/by-path for a disk without a serial number. {NOTHING}",
            )
    unnamed = [disk for disk in confirm if disk not in disks]
    if unnamed:
        raise NixferryError(
            f"{unnamed[0]} is in `confirm` and not in `disks`",
            step=STEP,
            remedy=f"`disks` are all disks of the installation, `confirm` those of them with data that goes. {NOTHING}",
        )


def recorded_script(seen: Look) -> str:
    """Return the disko script that an earlier run has begun with on this installer; empty without."""
    return (seen.disks_done or seen.disks_begun).partition(" ")[0]


def _foreign_uses(seen: Look, disk: Disk, disks: Sequence[str], mount_point: str) -> list[str]:
    """Return what uses a disk, without what an earlier run of this installation has mounted."""
    recorded = (seen.disks_begun or seen.disks_done).split(" ")[1:]
    if seen.state != INSTALLER or recorded != sorted(disks):
        return list(disk.uses)
    own = ("swap", f"mounted on {mount_point}")
    below = (f"mounted on {mount_point}/", "part of ")
    return [use for use in disk.uses if use not in own and not use.startswith(below)]


def chosen_disks(
    seen: Look,
    disks: Sequence[str],
    confirm: Sequence[str],
    *,
    script: str,
    script_known: bool,
    mount_point: str,
) -> list[tuple[str, Disk]]:
    """Return the named disks with their ids, if they may be formatted now. Raises ``NixferryError`` if not.

    ``script_known`` says that the devices in ``script`` were compared.
    """
    check_disk_names(disks, confirm)
    found = "; ".join(disk.text for disk in seen.disks) or "none"
    if not disks:
        raise NixferryError(
            "no disk is named, and what is on them would be destroyed",
            step=STEP,
            remedy=f"Name the disks of the installation by their ids. The machine has: {found}. {NOTHING}",
        )
    by_id = {name: disk for disk in seen.disks for name in disk.ids}
    chosen: dict[str, tuple[str, Disk]] = {}
    for name in disks:
        if name not in by_id:
            raise NixferryError(
                f"the machine has no disk {name}",
                step=STEP,
                remedy=f"Is it the right machine? It has: {found}. {NOTHING}",
            )
        chosen[by_id[name].name] = (name, by_id[name])
    _check_script(seen, chosen, script=script, known=script_known)
    # What the script itself has begun with may be formatted again; once it has ended, there is something to lose.
    begun = seen.disks_begun == identity(script, disks) and not seen.disks_done
    for name, disk in chosen.values():
        foreign = _foreign_uses(seen, disk, disks, mount_point)
        if seen.state == INSTALLER and foreign:
            raise NixferryError(
                f"{name} is in use: {', '.join(foreign)}",
                step=STEP,
                remedy=f"Unmount it on the installer, or name another disk. {NOTHING}",
            )
        if (disk.content or disk.uses) and not begun and name not in confirm:
            raise NixferryError(
                f"{name} is not empty: it has {', '.join(part for part in (disk.content, *disk.uses) if part)}",
                step=STEP,
                remedy=f"To destroy that, name the disk in `confirm` as well. {NOTHING}",
            )
    return list(chosen.values())


def _check_script(seen: Look, chosen: Mapping[str, object], *, script: str, known: bool) -> None:
    if not known:
        return
    scripted: dict[str, str] = {}
    for line in seen.script_disk:
        disk, _space, device = line.partition(" ")
        scripted.setdefault(disk, device)
    for disk, device in scripted.items():
        if disk not in chosen:
            raise NixferryError(
                f"the disko script works on {device}, which is on the disk {disk}, and that is none of the named ones",
                step=STEP,
                remedy=f"Correct the devices of disko in the configuration, or name this disk as well. {NOTHING}",
            )
    missing = [disk for disk in chosen if disk not in scripted]
    if missing:
        raise NixferryError(
            f"the disko script {script} does not work on the named disk {missing[0]}",
            step=STEP,
            remedy="Correct `disks`, or the devices of disko in the configuration: both have to name the same disks. "
            f"{NOTHING}",
        )
