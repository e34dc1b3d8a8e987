# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd-boot on the host that ``guard_host`` makes: its EFI variables, entries and bootctl."""

from __future__ import annotations

from guard_host import Host

GUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

# bootctl set-oneshot writes a variable: four bytes of attributes and UTF-16, or removes it.
BOOTCTL = f"""\
#!/bin/sh
echo "$*" >>"$HOST/bootctl"
variable=$HOST/sys/firmware/efi/efivars/LoaderEntryOneShot-{GUID}
case $1 in
    --print-boot-path) echo /boot/extended ;;
    --print-esp-path) echo /boot/efi ;;
    set-oneshot)
        [ ! -e "$FAULTS/bootctl" ] || exit 1
        rm -f "$variable"
        [ -z "$2" ] || printf '\\007\\000\\000\\000%s' "$2" | sed 's/./&\\x00/g' >"$variable"
        ;;
esac
"""


def efi_variable(host: Host, name: str, content: bytes) -> None:
    path = host.directory / f"sys/firmware/efi/efivars/{name}-{GUID}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\6\0\0\0" + content)


def with_systemd_boot(
    host: Host, entries: dict[str, str], loader_conf: str, *, version: str = "260.1-1"
) -> None:
    efi_variable(host, "LoaderInfo", f"systemd-boot {version}\0".encode("utf-16-le"))
    efi_variable(host, "LoaderFeatures", b"\x7f\0\0\0\0\0\0\0")
    for name, system in entries.items():
        path = host.directory / "boot/extended" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        line = f"init={system}/init root=fstab loglevel=4"
        if name.endswith(".conf"):
            path.write_text(f"title NixOS\nversion Generation\nlinux /EFI/nixos/x.efi\noptions {line}\n")
        else:
            path.write_bytes(b"MZ\x90\0.cmdline\0\0" + line.encode() + b"\0\0\xff\xfe.linux")
    loader = host.directory / "boot/efi/loader/loader.conf"
    loader.parent.mkdir(parents=True)
    loader.write_text(loader_conf)
    host.program("bootctl", BOOTCTL)
