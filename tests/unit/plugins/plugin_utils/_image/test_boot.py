# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a toplevel boots, read from a staged store that may be hostile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.boot import (
    AUTO,
    SYSTEMD_BOOT,
    esp_name,
    in_tree,
    read_boot,
)

STORE = "/nix/store"
HASH = "0123456789abcdfghijklmnpqrsvwxyz"
TOP = f"{STORE}/{HASH}-nixos-system-web1"
KERNEL = f"{STORE}/{HASH}-linux-6.12/bzImage"
INITRD = f"{STORE}/{HASH}-initrd/initrd"


def put(tree: Path, path: str, content: str = "") -> Path:
    place = tree / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content)
    return place


def link(tree: Path, path: str, target: str) -> None:
    place = tree / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A staged store with a system that switches with systemd-boot."""
    put(tmp_path, KERNEL)
    put(tmp_path, INITRD)
    put(tmp_path, f"{STORE}/{HASH}-systemd/lib/systemd/boot/efi/systemd-bootx64.efi", "loader")
    put(tmp_path, f"{TOP}/system", "x86_64-linux")
    put(tmp_path, f"{TOP}/nixos-version", "24.05")
    put(tmp_path, f"{TOP}/kernel-params", "quiet loglevel=4")
    put(
        tmp_path,
        f"{TOP}/bin/switch-to-configuration",
        f"#!/bin/sh\nexec {STORE}/{HASH}-install-systemd-boot.sh\n",
    )
    link(tmp_path, f"{TOP}/kernel", KERNEL)
    link(tmp_path, f"{TOP}/initrd", INITRD)
    link(tmp_path, f"{TOP}/systemd", f"{STORE}/{HASH}-systemd")
    return tmp_path


def bootspec(tree: Path, **changes: Any) -> None:
    spec = {"kernel": KERNEL, "initrd": INITRD, "kernelParams": ["root=fstab"], "label": "NixOS 24.05 web"}
    put(tree, f"{TOP}/boot.json", json.dumps({"org.nixos.bootspec.v1": {**spec, **changes}}))


def test_an_entry_is_what_nixpkgs_writes(tree: Path) -> None:
    boot = read_boot(tree, TOP, boot_loader=AUTO)
    assert boot.loader == f"{STORE}/{HASH}-systemd/lib/systemd/boot/efi/systemd-bootx64.efi"
    assert boot.entries[0].text() == (
        "title NixOS\nsort-key nixos\nversion Generation 1 NixOS 24.05\n"
        f"linux /EFI/nixos/{HASH}-linux-6.12-bzImage.efi\ninitrd /EFI/nixos/{HASH}-initrd-initrd.efi\n"
        f"options init={TOP}/init quiet loglevel=4\n"
    )


def test_a_bootspec_says_more(tree: Path) -> None:
    bootspec(tree)
    entry = read_boot(tree, TOP, boot_loader=AUTO).entries[0]
    assert entry.parameters == f"init={TOP}/init root=fstab"
    assert entry.version == "Generation 1 NixOS 24.05 web"


def test_a_system_may_have_no_initrd(tree: Path) -> None:
    (tree / TOP.lstrip("/") / "initrd").unlink()
    assert "initrd" not in read_boot(tree, TOP, boot_loader=AUTO).entries[0].text()


def test_specialisations_have_entries(tree: Path) -> None:
    child = f"{STORE}/{HASH}-nixos-system-web1-debug"
    for name in ("nixos-version", "kernel-params", "system"):
        put(tree, f"{child}/{name}", "debug")
    link(tree, f"{child}/kernel", KERNEL)
    link(tree, f"{TOP}/specialisation/debug", child)
    entry = read_boot(tree, TOP, boot_loader=AUTO).entries[1]
    assert entry.name == "nixos-generation-1-specialisation-debug"
    assert entry.title == "NixOS (debug)"
    assert entry.parameters == f"init={child}/init debug"


def test_another_boot_loader_is_refused(tree: Path) -> None:
    """The loader of the image would go on booting the first system, whatever is deployed."""
    put(tree, f"{TOP}/bin/switch-to-configuration", f"{STORE}/{HASH}-install-grub.sh")
    with pytest.raises(NixferryError, match="install-grub"):
        read_boot(tree, TOP, boot_loader=AUTO)
    assert read_boot(tree, TOP, boot_loader=SYSTEMD_BOOT).entries


@pytest.mark.parametrize("program", ["", f"{STORE}/{HASH}-install-boot-loader"])
def test_an_unknown_boot_loader_is_refused(tree: Path, program: str) -> None:
    put(tree, f"{TOP}/bin/switch-to-configuration", program)
    with pytest.raises(NixferryError, match="unknown boot loader"):
        read_boot(tree, TOP, boot_loader=AUTO)


def test_secrets_of_the_initrd_are_refused(tree: Path) -> None:
    script = "#!/bin/sh\nfunction usage {\n  exit 1\n}\n"
    put(tree, f"{TOP}/append-initrd-secrets", f"{script}cp -a /etc/secret $tmp/secret\n")
    with pytest.raises(NixferryError, match=r"boot\.initrd\.secrets"):
        read_boot(tree, TOP, boot_loader=AUTO)
    put(tree, f"{TOP}/append-initrd-secrets", f"{script}exit 0\ncp nothing\n")
    assert read_boot(tree, TOP, boot_loader=AUTO).entries


@pytest.mark.parametrize(
    "changes",
    [
        {"kernelParams": ["quiet\noptions init=/bin/sh"]},
        {"label": "NixOS\nlinux /EFI/evil.efi"},
        {"kernel": "/etc/shadow"},
        {"kernel": f"{STORE}/{HASH}-absent/bzImage"},
        {"kernel": ["a list"]},
    ],
)
def test_a_hostile_bootspec_is_refused(tree: Path, changes: dict[str, Any]) -> None:
    bootspec(tree, **changes)
    with pytest.raises(NixferryError):
        read_boot(tree, TOP, boot_loader=AUTO)


def test_a_bootspec_that_is_no_json_is_refused(tree: Path) -> None:
    put(tree, f"{TOP}/boot.json", "{")
    with pytest.raises(NixferryError, match="not valid JSON"):
        read_boot(tree, TOP, boot_loader=AUTO)


def test_links_stay_in_the_tree(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret"
    outside.write_text("of the controller")
    kernel = tree / KERNEL.lstrip("/")
    kernel.unlink()
    kernel.symlink_to(outside)
    with pytest.raises(NixferryError, match="not a file of the closure"):
        read_boot(tree, TOP, boot_loader=AUTO)
    link(tree, "/up", "../../../../nix")
    assert in_tree(tree, "/up/store") == "/nix/store"


def test_a_circle_of_links_ends(tree: Path) -> None:
    link(tree, "/one", "/two")
    link(tree, "/two", "/one")
    with pytest.raises(NixferryError, match="too many links"):
        in_tree(tree, "/one")


def test_another_platform_is_refused(tree: Path) -> None:
    put(tree, f"{TOP}/system", "riscv64-linux")
    with pytest.raises(NixferryError, match="riscv64-linux"):
        read_boot(tree, TOP, boot_loader=AUTO)


def test_a_system_without_systemd_boot_is_refused(tree: Path) -> None:
    (tree / TOP.lstrip("/") / "systemd").unlink()
    with pytest.raises(NixferryError, match="does not have systemd-boot"):
        read_boot(tree, TOP, boot_loader=AUTO)


def test_names_on_the_esp_are_those_of_nixpkgs() -> None:
    assert esp_name(KERNEL) == f"{HASH}-linux-6.12-bzImage.efi"
    assert esp_name(f"{STORE}/{HASH}-dtb/a/board.dtb") == f"{HASH}-dtb-board.dtb.efi"
