# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Which boot loader the deploys of a NixOS configuration install.

Its program is named in bin/switch-to-configuration of a toplevel, and in the commands of the derivation that makes it
(switchable-system.nix of nixpkgs), so that it is known before anything is built.
"""

from __future__ import annotations

import re

from .errors import NixferryError, Step

SYSTEMD_BOOT = "systemd-boot"
_SYSTEMD_BOOT_INSTALLER = "install-systemd-boot"
# The scripts that nixpkgs' modules give to switch-to-configuration to install a boot loader.
_INSTALLERS = re.compile(
    rb"/nix/store/[0-9a-z]{32}-(install-systemd-boot|install-grub|extlinux-conf-builder|init-script-builder|lanzaboote|"
    rb"install-limine|refind)"
)


def refuse_other_boot_loaders(content: bytes, *, whole: bool, step: Step) -> None:
    """Raise ``NixferryError`` if ``content`` names the program of another boot loader than systemd-boot.

    ``whole`` says that it would be named there, so that a content without any is refused as well.
    """
    found = {name.decode() for name in _INSTALLERS.findall(content)}
    if found == {_SYSTEMD_BOOT_INSTALLER} or (not found and not whole):
        return
    other = ", ".join(sorted(found - {_SYSTEMD_BOOT_INSTALLER}))
    raise NixferryError(
        f"the host's configuration does not install systemd-boot, but {other or 'an unknown boot loader'}",
        step=step,
        remedy="Set boot.loader.systemd-boot.enable = true in the configuration. For GRUB, BIOS machines and other "
        "boot loaders choose a variant of nixpkgs (`image_variant`). Say `image_boot_loader: systemd-boot` if deploys "
        "install it anyway.",
    )
