# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""What a NixOS system needs to be booted by systemd-boot, read from its toplevel.

Sources: bootspec (RFC 125; ``boot.json``), top-level.nix, stage-1.nix and systemd-boot-builder.py of nixpkgs. A
toplevel may come from a hostile repository: nothing in it is run, no link leads out of the tree, and every text is
checked.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.boot_loaders import (
    SYSTEMD_BOOT,
    refuse_other_boot_loaders,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import clean_line
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import STORE_DIRECTORY

from .tools import STEP

AUTO = "auto"
BOOT_LOADERS = (AUTO, SYSTEMD_BOOT)
SPEC = "org.nixos.bootspec.v1"
SYSTEMD_BOOT_SPEC = "org.nixos.systemd-boot"
TEXT_BYTES = 256 * 1024
# What UEFI calls the processor of a Nix system, and the type of a root partition for it (Discoverable Partitions
# Specification of the UAPI group).
PROCESSORS = {
    "x86_64-linux": ("x64", "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"),
    "aarch64-linux": ("aa64", "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"),
}
_MOST_LINKS = 40
_ENTRY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,100}")
# Of lines in an entry: one parameter more would be one that the configuration does not have.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Entry:
    """One entry of the boot menu. Files are paths in the store."""

    name: str
    title: str
    version: str
    sort_key: str
    kernel: str
    initrd: str
    device_tree: str
    parameters: str

    def text(self) -> str:
        """Return the entry as systemd-boot-builder.py of nixpkgs writes it."""
        lines = [
            f"title {self.title}",
            f"sort-key {self.sort_key}",
            f"version {self.version}",
            f"linux /EFI/nixos/{esp_name(self.kernel)}",
            *([f"initrd /EFI/nixos/{esp_name(self.initrd)}"] if self.initrd else []),
            *([f"devicetree /EFI/nixos/{esp_name(self.device_tree)}"] if self.device_tree else []),
            f"options {self.parameters}",
        ]
        return "".join(f"{line}\n" for line in lines)

    @property
    def files(self) -> tuple[str, ...]:
        """Return the files of the store that the entry needs."""
        return tuple(filter(None, (self.kernel, self.initrd, self.device_tree)))


@dataclass(frozen=True)
class Boot:
    """How the system boots. ``loader`` is the path of systemd-boot in the store."""

    system: str
    loader: str
    entries: tuple[Entry, ...]

    @property
    def processor(self) -> str:
        """Return what UEFI calls the processor."""
        return PROCESSORS[self.system][0]

    @property
    def root_type(self) -> str:
        """Return the type of the root partition."""
        return PROCESSORS[self.system][1]


def esp_name(path: str) -> str:
    """Return the name of a store's file on the EFI system partition, as systemd-boot-builder.py of nixpkgs makes it."""
    package, _slash, below = path.removeprefix(f"{STORE_DIRECTORY}/").partition("/")
    return f"{package}-{os.path.basename(below)}.efi" if below else f"{package}.efi"


def in_tree(tree: Path, path: str) -> str:
    """Return where ``path`` leads, with ``tree`` as the root of all links. Raises ``NixferryError`` for a circle."""
    rest = [part for part in reversed(path.split("/")) if part]
    found: list[str] = []
    links = 0
    while rest:
        part = rest.pop()
        if part in (".", ".."):
            found = found[:-1] if part == ".." else found
            continue
        place = tree.joinpath(*found, part)
        if place.is_symlink():
            links += 1
            if links > _MOST_LINKS:
                raise NixferryError(f"{path} leads through too many links", step=STEP)
            target = str(place.readlink())
            found = [] if target.startswith("/") else found
            rest += [step for step in reversed(target.split("/")) if step]
        else:
            found.append(part)
    return "/" + "/".join(found)


def read_boot(tree: Path, toplevel: str, *, boot_loader: str) -> Boot:
    """Read how ``toplevel`` in the store below ``tree`` boots. Raises ``NixferryError`` if systemd-boot cannot."""
    system = _text(tree, toplevel, "system").strip()
    if system not in PROCESSORS:
        raise NixferryError(
            f"the system is for {clean_line(system, 80)!r}, for which no plain disk image can be made",
            step=STEP,
            remedy="Choose a variant of nixpkgs with `variant`.",
        )
    if boot_loader == AUTO:
        refuse_other_loaders(tree, toplevel)
    loader = f"{toplevel}/systemd/lib/systemd/boot/efi/systemd-boot{PROCESSORS[system][0]}.efi"
    if not _exists(tree, loader):
        raise NixferryError(
            f"the system does not have systemd-boot ({loader.removeprefix(toplevel + '/')})",
            step=STEP,
            remedy="Set boot.loader.systemd-boot.enable = true in the configuration of the host.",
        )
    entries = [_entry(tree, toplevel, "nixos-generation-1", "")]
    children = tree / in_tree(tree, f"{toplevel}/specialisation").lstrip("/")
    for child in sorted(children.iterdir()) if children.is_dir() else []:
        if _ENTRY_NAME.fullmatch(child.name) is None:
            raise NixferryError(f"{child.name!r} is not a valid name of a specialisation", step=STEP)
        place = in_tree(tree, f"{toplevel}/specialisation/{child.name}")
        entries.append(
            _entry(tree, place, f"nixos-generation-1-specialisation-{child.name}", f" ({child.name})")
        )
    return Boot(system, in_tree(tree, loader), tuple(entries))


def refuse_other_loaders(tree: Path, toplevel: str) -> None:
    """Refuse a system whose deploys would install another boot loader, beside which this one would go on booting."""
    program = tree / in_tree(tree, f"{toplevel}/bin/switch-to-configuration").lstrip("/")
    content = program.read_bytes() if program.is_file() else b""
    refuse_other_boot_loaders(content, whole=True, step=STEP)


def _entry(tree: Path, toplevel: str, name: str, suffix: str) -> Entry:
    _refuse_initrd_secrets(tree, toplevel)
    spec = _bootspec(tree, toplevel)
    own, loader = spec.get(SPEC, {}), spec.get(SYSTEMD_BOOT_SPEC, {})
    version = _text(tree, toplevel, "nixos-version").strip()
    parameters = own.get("kernelParams")
    if not isinstance(parameters, list):
        parameters = [_text(tree, toplevel, "kernel-params").strip()]
    return Entry(
        name=name,
        title=f"NixOS{suffix}",
        version=_line(f"Generation 1 {own.get('label') or f'NixOS {version}'}"),
        sort_key=_line(loader.get("sortKey") or "nixos"),
        kernel=_file(tree, own.get("kernel") or f"{toplevel}/kernel"),
        initrd=_file(tree, own.get("initrd") or f"{toplevel}/initrd", needed=False),
        device_tree=_file(tree, loader.get("devicetree") or "", needed=False),
        parameters=_line(" ".join([f"init={toplevel}/init", *map(str, parameters)])),
    )


def _bootspec(tree: Path, toplevel: str) -> dict[str, Any]:
    if not _exists(tree, f"{toplevel}/boot.json"):
        return {}
    try:
        spec = json.loads(_text(tree, toplevel, "boot.json"))
    except ValueError:
        spec = None
    if not isinstance(spec, dict):
        raise NixferryError(f"{toplevel}/boot.json is not valid JSON", step=STEP)
    return {name: value for name, value in spec.items() if isinstance(value, dict)}


def _refuse_initrd_secrets(tree: Path, toplevel: str) -> None:
    """Refuse secrets that the boot loader's installer takes from the host's disk: an image has no place for them.

    The script of nixpkgs (stage-1.nix) ends at once if there are none.
    """
    name = "append-initrd-secrets"
    if _exists(tree, f"{toplevel}/{name}") and "exit 0" not in _text(tree, toplevel, name).splitlines():
        raise NixferryError(
            "the system has secrets in its initrd (boot.initrd.secrets), which must not be in an image",
            step=STEP,
            remedy="Remove them from the configuration of the image; deploy them when the host runs.",
        )


def _line(text: object) -> str:
    line = str(text)
    if _CONTROL.search(line):
        raise NixferryError("the system's boot entry has a text of more than one line", step=STEP)
    return line


def _file(tree: Path, path: object, *, needed: bool = True) -> str:
    if not path and not needed:
        return ""
    found = in_tree(tree, str(path))
    if not found.startswith(f"{STORE_DIRECTORY}/") or not (tree / found.lstrip("/")).is_file():
        if needed:
            raise NixferryError(f"{clean_line(str(path), 200)} is not a file of the closure", step=STEP)
        return ""
    return found


def _exists(tree: Path, path: str) -> bool:
    return (tree / in_tree(tree, path).lstrip("/")).exists()


def _text(tree: Path, toplevel: str, name: str) -> str:
    place = tree / in_tree(tree, f"{toplevel}/{name}").lstrip("/")
    try:
        with place.open("rb") as file:
            return file.read(TEXT_BYTES).decode("utf-8", errors="replace")
    except OSError:
        raise NixferryError(
            f"{toplevel} has no file {name}",
            step=STEP,
            remedy="Give the toplevel of a NixOS system.",
        ) from None
