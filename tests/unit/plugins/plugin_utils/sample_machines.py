# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that has booted an installer, with an empty disk and one with data."""

from __future__ import annotations

from ansible_collections.nixferry.deploy.plugins.plugin_utils._install.look import Disk, Look

A, B = "/dev/disk/by-id/ata-A", "/dev/disk/by-path/pci-B"
EMPTY = Disk("sda", 10**12, "A disk", "", (A, "/dev/disk/by-id/wwn-A"), ())
FULL = Disk("sdb", 10**12, "B disk", "ext4", (B,), ())
INSTALLER = Look(
    state="installer",
    boot="b",
    current="",
    name="NixOS",
    system="x86_64-linux",
    memory_mib=8000,
    efi=True,
    secure_boot=False,
    container="",
    kexec_problem=(),
    install_problem=(),
    mounted=False,
    disks_begun="",
    disks_done="",
    system_done="",
    record=(),
    script_disk=(f"sda {A}",),
    disks=(EMPTY, FULL),
)
