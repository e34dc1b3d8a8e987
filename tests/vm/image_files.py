# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What images of the role ``image`` are made of here: files to boot from, and a play."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from processes import run

PARAMETERS = "root=/dev/vda2 console=ttyS0 quiet panic=-1 mitigations=off nokaslr no_timer_check"


def boot_files(directory: Path, tag: str) -> dict[str, str]:
    """Take a kernel, an initrd and systemd-boot from the lab's image; return them as ``bootFiles``."""
    loaders = "systemd/lib/systemd/boot/efi"
    (directory / loaders).mkdir(parents=True)
    script = (
        "cp /parts/kernel /parts/initrd /out/; cp /usr/share/OVMF/OVMF_VARS_4M.fd /out/variables.fd; "
        f"for file in /usr/lib/systemd/boot/efi/systemd-bootx64.efi*; do "
        f"cp $file /out/{loaders}/systemd-bootx64.efi; break; done; "
        f"chown -R {os.getuid()}:{os.getgid()} /out"
    )
    run(["docker", "run", "--rm", "--network=none", f"--volume={directory}:/out", tag, "sh", "-c", script])
    return {name: f"boot/{name}" for name in ("kernel", "initrd", "systemd")}


def image_play(**variables: Any) -> list[Any]:
    """A play with the role, for the systems in ``systems/default.nix``."""
    given = {
        "nixos_file": "systems/default.nix",
        "nixos_attr": "{host}",
        "image_esp_size": 64,
        "image_boot_loader": "systemd-boot",
        **variables,
    }
    role = {"role": "nixferry.deploy.image", "vars": given}
    return [{"hosts": "all", "gather_facts": False, "roles": [role]}]
