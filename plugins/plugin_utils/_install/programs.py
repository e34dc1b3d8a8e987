# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Format the disks and install the system, with programs on the installer that go on without the connection."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import Answer, AnswerLost
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    HostUnreachable,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import (
    answer_of_script,
    host_script,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

from .known_hosts import is_public_key
from .look import PARTS, Disk, identity

# Seconds beside the program itself: to look at the disks, to flush.
MARGIN_SECONDS = 300
RECONNECT_SECONDS = 5
_AGAIN = "Run it again: what is done is not done a second time."
_FORMAT_REMEDIES = {
    "not_root": "Log in to the installer as root, or use `become: true`. Nothing was changed.",
    "no_room": "Look at the file systems of the installer.",
    "no_script": "Give `config.system.build.diskoScript`, which is a file, and not a directory of programs.",
    "other_disk": "Disks have changed. Look which ones the machine has now, and run it again. Nothing was changed.",
    "in_use": "Look who works on the installer, unmount the disk, and run it again. Nothing was changed.",
    "other_content": "Look who works on the installer, and run it again. Nothing was changed.",
    "script_failed": "`output` has what it said. Correct the configuration of disko and run it again: the disks that "
    "it has begun with may be formatted again.",
    "too_long": "Raise `timeout_disks`, or look what the script waits for, such as a passphrase: see `disk_keys`.",
    "killed": f"Look at the installer's memory (dmesg). {_AGAIN}",
    "other_run": "Wait until it has ended, or agree with the other administrator. Nothing was changed.",
    "not_mounted": "Let disko mount the root file system where `mount_point` says.",
    "foreign_mount": "Look at the file systems of the configuration: the installation must be on the named disks only.",
    "in_memory": "Let the configuration have a file system on a disk for /nix.",
}
_SYSTEM_REMEDIES = {
    "not_root": "Log in to the installer as root, or use `become: true`.",
    "no_room": "Make room on the disk, or give it larger partitions.",
    "not_mounted": "Run the installation again from its first step: the installer was started anew.",
    "no_system": "Run the installation again from its first step.",
    "other_platform": "Build the system for the platform of the machine.",
    "install_failed": f"`output` has what it said, such as a full disk, or a boot loader that does not fit. {_AGAIN}",
    "too_long": f"Raise `timeout_install`. {_AGAIN}",
    "killed": f"Look at the installer's memory (dmesg). {_AGAIN}",
    "not_installed": "`output` has what nixos-install said. Look at the installer's store and disk.",
    "other_run": "Wait until it has ended, or agree with the other administrator.",
    "other_disks": "Agree with the other administrator, and run the installation again from its first step.",
    "no_owner": "Declare these users and groups in the configuration, or give numbers. They are looked up after the "
    "activation of the new system.",
    "not_owned": "Look at the file systems of the new system.",
}


def _followed(
    shell: RemoteShell,
    text: str,
    *,
    verb: str,
    step: Step,
    seconds: float,
    progress: Progress,
    remedies: dict[str, str],
) -> Answer:
    """Run a script that begins a program or follows the one that runs, also after the connection broke."""
    deadline = time.monotonic() + seconds + MARGIN_SECONDS
    while True:
        left = max(1.0, deadline - time.monotonic())
        try:
            completed = shell.run(text, step=step, seconds=left)
            return answer_of_script(verb, completed, step=step, remedies=remedies)
        except (HostUnreachable, AnswerLost) as error:
            transient = isinstance(error, AnswerLost) or error.transient
            if not transient or time.monotonic() + RECONNECT_SECONDS > deadline:
                raise
            progress.line(f"the connection broke ({error.headline}); logging in again")
            time.sleep(RECONNECT_SECONDS)
            try:
                shell.reconnect(step=step)
            except HostUnreachable as gone:
                if not gone.transient:
                    raise


def format_disks(
    shell: RemoteShell,
    script: str,
    chosen: Sequence[tuple[str, Disk]],
    disks: Sequence[str],
    *,
    mount_point: str,
    seconds: int,
    progress: Progress,
) -> bool:
    """Run the disko ``script`` on the installer. Return whether it ran now. Raises ``NixferryError``."""
    settings = {
        "MOUNT_POINT": mount_point,
        "SCRIPT": script,
        "SEEN": "\n".join(f"{name}\t{disk.name}\t{disk.content}" for name, disk in chosen),
        "IDENTITY": identity(script, disks),
        "SECONDS_AT_MOST": str(seconds),
    }
    answer = _followed(
        shell,
        host_script(settings, (*PARTS, "install/format.sh")),
        verb="disks",
        step=Step.FORMAT_DISKS,
        seconds=seconds,
        progress=progress,
        remedies=_FORMAT_REMEDIES,
    )
    return not answer.flag("unchanged")


def install_system(
    shell: RemoteShell, toplevel: str, *, formatted: str, mount_point: str, seconds: int, progress: Progress
) -> bool:
    """Run ``nixos-install`` on disks that are ``formatted`` for this. Return whether it ran now.

    Raises ``NixferryError``.
    """
    settings = {
        "MOUNT_POINT": mount_point,
        "TOPLEVEL": toplevel,
        "FORMATTED": formatted,
        "SECONDS_AT_MOST": str(seconds),
    }
    answer = _followed(
        shell,
        host_script(settings, (*PARTS, "install/system.sh")),
        verb="system",
        step=Step.INSTALL_SYSTEM,
        seconds=seconds,
        progress=progress,
        remedies=_SYSTEM_REMEDIES,
    )
    return not answer.flag("unchanged")


@dataclass(frozen=True)
class Leaving:
    """What the installer says at its end. ``boot`` tells its boot from others; empty if it was only asked."""

    boot: str
    host_keys: tuple[str, ...]
    """The public host keys of the new system."""
    notes: tuple[str, ...]


def leave_installer(
    shell: RemoteShell, toplevel: str, *, mount_point: str, ask_only: bool = False
) -> Leaving:
    """Let the machine reboot in a moment, or with ``ask_only`` ask for the host keys of the new system."""
    settings = {
        "MOUNT_POINT": mount_point,
        "TOPLEVEL": toplevel,
        "ASK_ONLY": "1" if ask_only else "",
    }
    completed = shell.run(host_script(settings, (*PARTS, "install/leave.sh")), step=Step.BOOT_SYSTEM)
    answer = answer_of_script(
        "reboot",
        completed,
        step=Step.BOOT_SYSTEM,
        remedies={
            "not_root": "Log in to the installer as root, or use `become: true`.",
            "not_installed": "Run the installation again from its first step.",
        },
    )
    leaving = Leaving(answer.text("boot"), answer.all("host_key"), answer.all("note"))
    if not ask_only and not leaving.boot:
        raise answer.broken("it does not tell its boot")
    if not leaving.host_keys or not all(map(is_public_key, leaving.host_keys)):
        raise answer.broken("it does not tell the host keys of the new system")
    return leaving
