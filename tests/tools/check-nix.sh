#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Check that this user may build with the Nix that is installed, and tell how to come to that if not.

set -eu

# To be asked about a path, Nix opens its store: as the owner of the store, or through the daemon.
path=/nix/store/00000000000000000000000000000000-x
if said=$(nix-store --check-validity --print-invalid "$path" 2>&1 >/dev/null); then
    exit 0
fi
printf '%s\n' "$said" | tail -n 3 >&2
if [ "$(id -u)" -ne 0 ]; then
    cat >&2 <<END
Nix is installed, but $(id -un) may not use it: an ordinary user needs the Nix daemon.
On Debian and Ubuntu:
    sudo apt-get install nix-setup-systemd
    sudo usermod --append --groups nix-users $(id -un)
then log out and in again. Elsewhere the installer on nixos.org/download brings the daemon.
END
fi
exit 1
