# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Judge whether a machine can become the host of a system, and what is left to do."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

from .look import INSTALLED, INSTALLER, LINUX, MANAGED, NOTHING, STEP, Look

KEXEC, DISKS, SYSTEM, REBOOT = ("kexec", "disks", "system", "reboot")
# What the images of nixos-images need to run from main memory, a little less than 1.5 GiB: the kernel keeps some.
KEXEC_MEMORY_MIB = 1400
# Systems that a kernel runs beside its own.
_RUNS_ALSO = {"x86_64-linux": ("i686-linux",), "aarch64-linux": ("armv7l-linux", "armv6l-linux")}


@dataclass(frozen=True)
class Needs:
    """What the installation asks of the machine. ``system`` is the platform of the toplevel, empty if unknown."""

    system: str
    can_kexec: bool
    """Whether the controller has an image to start the installer from."""
    kexec_memory_mib: int
    secure_boot: bool
    """Whether the new system boots under Secure Boot."""


def check_machine(seen: Look, needs: Needs) -> None:
    """Raise ``NixferryError`` if the machine cannot become a host of the new system."""
    if seen.state in (INSTALLED, MANAGED):
        return
    if needs.system and needs.system != seen.system and needs.system not in _RUNS_ALSO.get(seen.system, ()):
        raise _unfit(
            f"the system is for {needs.system}, and the machine is {seen.system}",
            "Build the system for the platform of the machine, or look whether it is the right machine.",
        )
    if seen.secure_boot and not needs.secure_boot:
        raise _unfit(
            "Secure Boot is on: it starts neither another kernel nor a boot loader that is not signed",
            "Switch it off in the firmware, or say with `secure_boot: true` that the new system's boot loader is "
            "signed for this machine.",
        )
    if seen.state == INSTALLER:
        if seen.install_problem:
            raise _unfit(
                ", ".join(seen.install_problem), "Boot an installer of NixOS, which has these programs."
            )
        return
    _check_kexec(seen, needs)


def _check_kexec(seen: Look, needs: Needs) -> None:
    if not needs.can_kexec:
        raise _unfit(
            f"the machine runs {seen.name or 'an unknown system'}, not an installer of NixOS",
            "Boot the machine from an installer, or give `kexec`, the image that replaces the running system. If it is "
            "a NixOS host to keep, deploy to it with the role nixos.",
        )
    if seen.secure_boot:
        raise _unfit(
            "Secure Boot is on, and forbids kexec", "Boot an installer that is signed for this machine."
        )
    if seen.container not in ("", "none"):
        raise _unfit(
            f"the machine is a container ({seen.container})",
            "A container has no kernel of its own to replace: build an image for it.",
        )
    if seen.kexec_problem:
        raise _unfit(
            ", ".join(seen.kexec_problem), "Install what is missing, or boot the machine from an installer."
        )
    if seen.memory_mib is not None and seen.memory_mib < needs.kexec_memory_mib:
        raise _unfit(
            f"the machine has {seen.memory_mib} MiB of RAM, and the installer needs {needs.kexec_memory_mib} MiB",
            "Boot the machine from an installer on a disk, or set `kexec_memory_mib` if your image needs less.",
        )


def _unfit(cause: str, remedy: str) -> NixferryError:
    return NixferryError(cause, step=STEP, remedy=f"{remedy} {NOTHING}")


def steps_left(seen: Look, *, formatted: str, toplevel: str) -> list[str]:
    """Return the steps that are still to do. ``formatted`` is the ``identity`` of script and disks."""
    if seen.state == MANAGED:
        return []
    if seen.state == INSTALLED:
        return [REBOOT]
    if seen.state == LINUX:
        return [KEXEC, DISKS, SYSTEM, REBOOT]
    if seen.disks_done != formatted:
        return [DISKS, SYSTEM, REBOOT]
    if toplevel and seen.system_done == toplevel:
        return [REBOOT]
    return [SYSTEM, REBOOT] if seen.mounted else [DISKS, SYSTEM, REBOOT]
