#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# See to it that programs are installed: ensure-programs.sh NAME...
#
# A missing one is installed by apt-get when this is root on Debian, Ubuntu or a relative of theirs; otherwise the
# message says what to install. The package manager's own configuration decides where packages come from. Set
# NIXFERRY_NO_INSTALL=1 to be told instead of having anything installed.

set -eu

# The Debian packages that supply what is asked for by name.
packages_of() {
    case $1 in
    python) echo "python3 python3-venv" ;;
    nix) echo "nix-bin" ;;
    docker) echo "docker.io" ;;
    busybox) echo "busybox-static" ;;
    mmdebstrap) echo "mmdebstrap debian-archive-keyring" ;;
    mke2fs) echo "e2fsprogs" ;;
    mksquashfs) echo "squashfs-tools" ;;
    ssh) echo "openssh-client" ;;
    dot) echo "graphviz" ;;
    sfdisk) echo "fdisk" ;;
    qemu-img) echo "qemu-utils" ;;
    git | shellcheck | podman | mtools | chromium) echo "$1" ;;
    *)
        echo "ensure-programs.sh: no package is known for $1" >&2
        exit 2
        ;;
    esac
}

present() {
    case $1 in
    python) "$(dirname "$0")/find-python.sh" default >/dev/null 2>&1 ;;
    # Debian 13 and Ubuntu split the client and the engine into two packages.
    docker) command -v docker >/dev/null 2>&1 && [ -n "$(PATH=$PATH:/usr/sbin:/sbin command -v dockerd)" ] ;;
    mke2fs | sfdisk) [ -n "$(PATH=$PATH:/usr/sbin:/sbin command -v "$1")" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

missing=
packages=
for name; do
    if ! present "$name"; then
        missing="$missing $name"
        packages="$packages $(packages_of "$name")"
    fi
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing:$missing. Install them with this system's package manager, then run make again." >&2
    case " $missing " in
    *" nix "*) echo "Nix comes from the distribution's packages or from the installer on nixos.org/download." >&2 ;;
    esac
    exit 1
fi
if [ "$(id -u)" -ne 0 ] || [ -n "${NIXFERRY_NO_INSTALL-}" ]; then
    echo "Missing:$missing. Install with: sudo apt-get install$packages" >&2
    case " $missing " in
    *" nix "*) echo "For Nix as an ordinary user also install nix-setup-systemd, which runs the Nix daemon." >&2 ;;
    esac
    exit 1
fi

echo "Installing with apt-get:$packages"
echo "  reading which packages there are"
export DEBIAN_FRONTEND=noninteractive
# The lists of a fresh machine are empty, those of an old one name packages that are gone: refresh them first. An
# unreachable third-party source makes the refresh fail; the installation then shows whether that matters.
apt-get update -qq || echo "apt-get update failed; going on with the package lists as they are." >&2
for package in $packages; do
    case $package in
    docker.io)
        # Only newer releases have the client in a package of its own.
        if apt-cache show docker-cli >/dev/null 2>&1; then
            packages="$packages docker-cli"
        fi
        ;;
    esac
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "  downloading"
# Of all that apt-get says, tell which packages it sets up.
{
    # shellcheck disable=SC2086 # a list of package names
    apt-get install -y --no-install-recommends $packages </dev/null 2>&1 || echo failed >"$work/failed"
} | while IFS= read -r line; do
    printf '%s\n' "$line" >>"$work/log"
    case $line in
    "Setting up "*)
        line=${line#Setting up }
        echo "  setting up ${line%% *}"
        ;;
    esac
done
if [ -e "$work/failed" ]; then
    cat "$work/log" >&2
    exit 1
fi
for name in $missing; do
    if ! present "$name"; then
        echo "$name is still missing after the installation of$packages." >&2
        if [ "$name" = python ]; then
            "$(dirname "$0")/find-python.sh" default >/dev/null || true
        fi
        exit 1
    fi
done
