# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Which disks the machine has, what is on them, and what uses them. Changes nothing. It reads sysfs, since the usual programs
# are not the same on all systems; blkid only names what was found. Below $ROOT (tests) files stand for devices.

SYS=$ROOT/sys
BLOCK=$SYS/class/block
PROBED_BYTES=1048576 # at either end of a disk, where partition tables and signatures are

is_device() { [ -b "$1" ] || { [ -n "$ROOT" ] && [ -f "$1" ]; }; }

# Print the names of the disks. What is made of others (loop, device mapper, RAID, RAM) has no `device`.
disk_names() {
    for disk_directory in "$BLOCK"/*; do
        disk_name=${disk_directory##*/}
        case $disk_name in sr[0-9]* | fd[0-9]* | mmcblk*boot* | mmcblk*rpmb) continue ;; esac
        if [ ! -e "$disk_directory/device" ] || [ -e "$disk_directory/partition" ]; then continue; fi
        read_text "$disk_directory/size"
        case $TEXT in '' | 0 | *[!0-9]*) ;; *) echo "$disk_name" ;; esac
    done
}

# members NAME: print the device, its partitions, and all that is made of them, such as volumes of LVM
members() (
    echo "$1"
    for member in "$BLOCK/$1"/*/partition; do
        if [ ! -e "$member" ]; then continue; fi
        member=${member%/partition}
        members "${member##*/}"
    done
    for member in "$BLOCK/$1"/holders/*; do
        if [ -e "$member" ] || [ -L "$member" ]; then members "${member##*/}"; fi
    done
)

# Print the names of DISK_NAMES, separated by spaces, that a device belongs to.
disks_of() { # NAME
    for disk_candidate in $DISK_NAMES; do
        case $NEWLINE$(members "$disk_candidate")$NEWLINE in *"$NEWLINE$1$NEWLINE"*) echo "$disk_candidate" ;; esac
    done
}

# Print the links that name the disk itself by what does not change.
disk_ids() { # NAME
    for id_link in "$ROOT"/dev/disk/by-id/* "$ROOT"/dev/disk/by-path/*; do
        if [ ! -L "$id_link" ]; then continue; fi
        id_leads_to=$(readlink "$id_link")
        if [ "${id_leads_to##*/}" = "$1" ]; then printf '%s\n' "${id_link#"$ROOT"}"; fi
    done
}

# Print what uses the disk now, a line each: `mounted on PLACE` or `swap`.
disk_uses() { # NAME
    used_members=$(members "$1" | sort -u)
    used_numbers=
    for used_member in $used_members; do
        read_text "$BLOCK/$used_member/dev"
        used_numbers="$used_numbers ${TEXT:--}"
    done
    used_members=" $(listed "$used_members") "
    while read -r _ _ mount_number _ mount_point mount_rest; do
        case "$used_numbers " in
            *" $mount_number "*) printf 'mounted on %s\n' "$mount_point" && continue ;;
        esac
        # Some file systems have a number of their own.
        mount_source=${mount_rest##* - }
        mount_source=${mount_source#* }
        mount_source=${mount_source%% *}
        case $mount_source in
            /dev/*)
                mount_source=$(readlink -f "$ROOT$mount_source")
                case $used_members in *" ${mount_source##*/} "*) printf 'mounted on %s\n' "$mount_point" ;; esac
                ;;
        esac
    done <"$PROC/self/mountinfo"
    # A file system on several devices names one of them where it is mounted, or none.
    for used_file in "$SYS"/fs/btrfs/*/devices/*; do
        case $used_members in *" ${used_file##*/} "*) echo 'part of a mounted btrfs' ;; esac
    done
    for used_file in $POOL_DEVICES; do
        case $used_members in *" ${used_file##*/} "*) echo 'part of an imported ZFS pool' ;; esac
    done
    if [ ! -r "$PROC/swaps" ]; then return 0; fi
    while read -r swap_source _; do
        case $swap_source in
            /dev/*)
                swap_source=$(readlink -f "$ROOT$swap_source")
                case $used_members in *" ${swap_source##*/} "*) echo swap ;; esac
                ;;
        esac
    done <"$PROC/swaps"
}

# Set CONTENT to what is on the disk, in words; empty if nothing was found.
find_content() { # NAME
    CONTENT=
    content_device=$ROOT/dev/$1
    content_parts=0
    for content_part in "$BLOCK/$1"/*/partition; do
        if [ -e "$content_part" ]; then content_parts=$((content_parts + 1)); fi
    done
    content_holders=
    for content_holder in "$BLOCK/$1"/holders/*; do
        if [ -e "$content_holder" ] || [ -L "$content_holder" ]; then content_holders=1; fi
    done
    if have blkid; then
        CONTENT=$(bounded 30 blkid -p -o export "$content_device" 2>/dev/null |
            sed -n 's/^TYPE=//p; s/^PTTYPE=\(.*\)/partition table \1/p' | head -n 2)
        CONTENT=$(listed "$CONTENT")
    fi
    if [ "$content_parts" -gt 0 ]; then CONTENT="${CONTENT:+$CONTENT, }$content_parts partitions"; fi
    if [ -z "$CONTENT" ] && [ -n "$content_holders" ]; then CONTENT='part of a volume'; fi
    if [ -n "$CONTENT" ]; then return 0; fi
    if ! bounded 30 head -c 1 "$content_device" >/dev/null 2>&1; then
        CONTENT='something that cannot be read'
        return 0
    fi
    read_text "$BLOCK/$1/size"
    content_last=$((TEXT * 512 / PROBED_BYTES - 1))
    if [ "$content_last" -lt 0 ]; then content_last=0; fi
    content_bytes=$({
        bounded 60 head -c "$PROBED_BYTES" "$content_device"
        bounded 60 dd "if=$content_device" bs="$PROBED_BYTES" skip="$content_last" count=1
    } 2>/dev/null | tr -d '\000' | head -c 1 | wc -c)
    if [ "$content_bytes" -gt 0 ]; then CONTENT='data of an unknown kind'; fi
}

# Answer with a line for each disk: NAME, SIZE in bytes, MODEL, CONTENT, IDS, USES; lists have `|` between their words.
say_disks() {
    for said_disk in $DISK_NAMES; do
        find_content "$said_disk"
        said_content=$CONTENT
        read_text "$BLOCK/$said_disk/device/model"
        said_model=$TEXT
        read_text "$BLOCK/$said_disk/size"
        say disk "$said_disk$TAB$((TEXT * 512))$TAB$(listed "$said_model")$TAB$said_content$TAB$(
            disk_ids "$said_disk" | tr '\n' '|'
        )$TAB$(disk_uses "$said_disk" | sort -u | tr '\n' '|')"
    done
}

# Print the devices of the ZFS pools that are imported, by the names of the kernel.
pool_devices() {
    if have zpool; then bounded 30 zpool status -LP 2>/dev/null | sed -n 's|^[[:blank:]]*\(/dev/[^[:blank:]]*\).*|\1|p'; fi
}

TAB=$(printf '\t')
POOL_DEVICES=$(pool_devices)
DISK_NAMES=$(disk_names)
