# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""What a machine needs of a NixOS system to boot it from the network.

Facts: nixos/modules/installer/netboot/netboot.nix and nixos/modules/system/activation/top-level.nix of nixpkgs. The
first stage of such a system mounts ``nix-store.squashfs`` of its initial RAM disk at ``/nix/.ro-store``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import built_file

STEP = Step.MAKE_RELEASE
FORMAT = 1
# Of the store in the first stage: the device of /nix/.ro-store in the system's /etc/fstab.
_STORE_IN_FSTAB = re.compile(r"^\S*nix-store\.squashfs\s", re.M)
TEXT_BYTES = 1024 * 1024
# The kernel cuts its command line there: COMMAND_LINE_SIZE of x86 and arm64, less what a trial adds.
PARAMETER_CHARACTERS = 2048 - 1024
_PARAMETERS = re.compile(r"[\x21-\x7e]+( [\x21-\x7e]+)*")
HOW_TO_NETBOOT = (
    "Import it in the configuration of the host: "
    '`imports = [ (modulesPath + "/installer/netboot/netboot.nix") ];`'
)


@dataclass(frozen=True)
class NetbootSystem:
    """A toplevel that can boot from the network, and the files in it."""

    toplevel: str
    kernel: Path
    initrd: Path
    parameters: tuple[str, ...]

    def key(self, compression: str) -> str:
        """Return what is the same for releases that would have the same content."""
        words = "\0".join((str(FORMAT), self.toplevel, compression))
        return hashlib.sha256(words.encode()).hexdigest()


def read_system(toplevel: str) -> NetbootSystem:
    """Look at a toplevel in the controller's store. Raises ``NixferryError`` if it cannot boot from the network."""
    root = Path(toplevel)
    text = _text(root, "kernel-params").strip()
    if (text and _PARAMETERS.fullmatch(text) is None) or "${" in text:
        raise NixferryError(
            f"the kernel parameters of {toplevel} cannot be written into a script of iPXE: {text!r}",
            step=STEP,
            remedy="Correct boot.kernelParams of the host: printable characters, and single blanks between words.",
        )
    if len(text) > PARAMETER_CHARACTERS:
        raise NixferryError(
            f"the kernel parameters of {toplevel} have {len(text)} characters, and {PARAMETER_CHARACTERS} fit",
            step=STEP,
            remedy="Shorten boot.kernelParams of the host.",
        )
    if _STORE_IN_FSTAB.search(_text(root, "etc/fstab")) is None:
        raise NixferryError(
            f"{toplevel} does not mount a store from its initial RAM disk: its etc/fstab has no nix-store.squashfs",
            step=STEP,
            remedy=HOW_TO_NETBOOT,
        )
    return NetbootSystem(
        toplevel=toplevel,
        kernel=_file(root, "kernel"),
        initrd=_file(root, "initrd"),
        parameters=tuple(text.split()),
    )


def manifest(system: NetbootSystem, compression: str, paths: int, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Return what ``manifest.json`` of a release says. It has no time, so that the same input gives the same file."""
    return {
        "format": FORMAT,
        "key": system.key(compression),
        "toplevel": system.toplevel,
        "parameters": list(system.parameters),
        "compression": compression,
        "store_paths": paths,
        "sizes": dict(sizes),
    }


def _file(root: Path, name: str) -> Path:
    path = built_file(root / name, root, step=STEP)
    if not path.is_file():
        raise NixferryError(
            f"{path} does not exist, so the system cannot be booted", step=STEP, remedy=HOW_TO_NETBOOT
        )
    return path


def _text(root: Path, name: str) -> str:
    try:
        with built_file(root / name, root, step=STEP).open("rb") as file:
            return file.read(TEXT_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""
