# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Make the disk that a machine has the first generation of its profile, so that the guard can go back to it. The machine goes
# on running: the file is the same one, under one more name. Prints `kept` if it changed something.
set -eu
PATH=$PATH:/nix/var/nix/profiles/default/bin:/run/current-system/sw/bin
if [ -e "$PROFILE" ]; then exit 0; fi
disks=$DISK_LINK.disks
if [ ! -L "$DISK_LINK" ]; then
    if [ ! -f "$DISK_LINK" ]; then
        echo "$DISK_LINK is not a file: give the disk of the machine, as its definition names it, in image_machine_disk" >&2
        exit 1
    fi
    mkdir -p "$disks"
    ln -f "$DISK_LINK" "$disks/before"
    ln -sfn "${disks##*/}/before" "$DISK_LINK.new"
    mv -fT "$DISK_LINK.new" "$DISK_LINK"
elif [ ! -e "$disks/before" ]; then
    echo "$DISK_LINK is a link already: give the file that it leads to in image_machine_disk" >&2
    exit 1
fi
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
echo "the disk of $MACHINE before it was first replaced" >"$directory/first-disk-of-$MACHINE"
path=$(nix-store --add "$directory/first-disk-of-$MACHINE")
mkdir -p "${PROFILE%/*}"
nix-env --profile "$PROFILE" --set "$path"
echo kept
