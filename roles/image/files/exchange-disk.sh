# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Let the machine MACHINE run from the disk of SYSTEM. The guard on the hypervisor runs this to activate an image and, with
# the image before, to go back. It may be cut off anywhere and run again.
#
# SYSTEM is a store path with disk.raw or disk.qcow2; or a file, which stands for the disk that the machine had before it
# was first replaced. DISK_LINK is the path that the machine's definition names. Disks lie in DISK_LINK.disks, each called
# after its store path, and DISK_LINK is a link to one of them. A disk is made once from its image, so that the machine
# finds what it has written when it comes back to it. OLD_SYSTEM is what the guard goes back to.
#
# PREPARE makes $DISK from $IMAGE ($FORMAT), STOP ends when the machine is off, START starts it.
set -eu
disks=$DISK_LINK.disks
name=${SYSTEM##*/}

if [ -d "$SYSTEM" ]; then
    for image in "$SYSTEM"/disk.*; do break; done
    disk=$disks/$name
    if [ ! -e "$disk" ]; then
        mkdir -p "$disks"
        rm -f "$disk.new"
        (
            IMAGE=$image FORMAT=${image##*.} DISK=$disk.new
            export IMAGE FORMAT DISK MACHINE
            /bin/sh -euc "$PREPARE"
        ) || {
            rm -f "$disk.new"
            echo "the disk for $MACHINE could not be made" >&2
            exit 1
        }
        sync
        mv "$disk.new" "$disk"
    fi
else
    name=before
    if [ ! -e "$disks/$name" ]; then
        echo "the first disk of $MACHINE, $disks/$name, is gone" >&2
        exit 1
    fi
fi

export MACHINE
/bin/sh -euc "$STOP"
was=$(readlink "$DISK_LINK") || was=
ln -sfn "${disks##*/}/$name" "$DISK_LINK.new"
mv -fT "$DISK_LINK.new" "$DISK_LINK"
# The guard goes back: the next attempt with the same image must not find what the failed one has written.
was=$disks/${was##*/}
if [ "$SYSTEM" = "${OLD_SYSTEM:-}" ] && [ "$was" != "$disks/$name" ] && [ "$was" != "$disks/before" ] && [ -f "$was" ]; then
    mv -f "$was" "$was.failed"
fi
sync
/bin/sh -euc "$START"
