# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GRUB on the host that ``guard_host`` makes: what installs it, its environment block, and what it boots."""

from __future__ import annotations

import subprocess
from pathlib import Path

from guard_host import Host

GRUB_BOOTS = Path(__file__).resolve().parents[2] / "lab/images/target/grub-boots"
"""What the hosts of the lab boot by."""

# The environment block as text
GRUB_EDITENV = """\
#!/bin/sh
[ "$1" = "$HOST/boot/grub/grubenv" ] || exit 2
case $2 in
    set) [ -e "$FAULTS/grub-editenv" ] || echo "$3" >"$1" ;;
    unset) rm -f "$1" ;;
    list) cat "$1" ;;
esac
"""
# Shell code for a system's program: the menu as NixOS writes it, with an entry for every generation.
INSTALL_GRUB = """
    grub_entry() { printf 'menuentry "NixOS" {\\n  linux /kernels/bzImage init=%s/init quiet\\n}\\n' "$1"; }
    mkdir -p "$HOST/boot/grub"
    {
        cat <<'END'
if [ "${next_entry}" ]; then
  set default="${next_entry}"
  set next_entry=
  save_env next_entry
else
  set default="0"
fi
END
        grub_entry "${0%/bin/*}"
        echo 'submenu "NixOS - All configurations" {'
        for link in "$HOST"/profiles/system-*-link; do grub_entry "$(readlink "$link")"; done
        echo '}'
    } >"$HOST/boot/grub/grub.cfg.tmp"
    mv "$HOST/boot/grub/grub.cfg.tmp" "$HOST/boot/grub/grub.cfg"
"""


def with_grub(host: Host, mount: str = "ext4 /dev/vda1") -> None:
    """Let the host have GRUB's programs; its directory is on ``mount``, a file system and a device."""
    kind, device = mount.split()
    host.program("findmnt", f"#!/bin/sh\ncase $3 in SOURCE) echo {device} ;; *) echo {kind} ;; esac\n")
    host.program("grub-editenv", GRUB_EDITENV)


def grub_cfg(host: Host) -> Path:
    return host.directory / "boot/grub/grub.cfg"


def grub_environment(host: Host) -> Path:
    return host.directory / "boot/grub/grubenv"


def grub_boots(host: Host, position: str = "") -> str:
    """The system that GRUB boots from a position, by default its default one."""
    argv = ["sh", str(GRUB_BOOTS), str(grub_cfg(host)), position]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def next_entry(host: Host) -> str:
    """The position that is booted next, once; empty for none."""
    environment = grub_environment(host)
    text = environment.read_text() if environment.exists() else ""
    return text.strip().removeprefix("next_entry=")


def grub_takes_over(host: Host) -> str:
    """What GRUB does once it has power: forget the entry that is for one boot, and tell the system that it boots."""
    position = next_entry(host)
    if position:
        grub_environment(host).write_text("next_entry=\n")
    return grub_boots(host, position)
