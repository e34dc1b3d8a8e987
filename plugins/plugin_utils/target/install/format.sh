# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Run the disko script $SCRIPT, which destroys what is on the disks. SEEN has a line ID NAME CONTENT for each of them, with
# tabs between: what the controller has just seen and the user has agreed to. IDENTITY tells this run from one for other disks
# or with another script.

# shellcheck disable=SC2034 # lib/base.sh ends the answer with it
VERB=disks
# A lost connection does not stop it half-way.
trap '' HUP PIPE
exec 3>&1 1>/dev/null 2>&1
answer_begins
is_root || error not_root "only root can format disks"
make_work
take_turn
if is_recorded disks "$IDENTITY" && is_mounted "$MOUNT_POINT"; then
    end_turn
    say unchanged 1
    answer_ends
fi
read_text "$WORK/disks.begun"
began='' earlier=$TEXT
# Once it has ended, there is something to lose.
if [ "$TEXT" = "$IDENTITY" ] && [ ! -e "$WORK/disks.done" ]; then began=1; fi

# Print what uses the disk, without what an earlier run of an installation has mounted.
foreign_uses() { # NAME
    disk_uses "$1" | while IFS= read -r foreign_use; do
        if [ -n "$earlier" ]; then
            case $foreign_use in swap | 'part of '* | "mounted on $MOUNT_POINT" | "mounted on $MOUNT_POINT/"*) continue ;; esac
        fi
        printf '%s\n' "$foreign_use"
    done
}

# Disks may have got other names, and another administrator may be at work.
check_each_seen() {
    for seen_line; do
        seen_id=${seen_line%%"$TAB"*}
        seen_content=${seen_line##*"$TAB"}
        seen_name=${seen_line#*"$TAB"}
        seen_name=${seen_name%"$TAB"*}
        seen_device=$(readlink -f "$ROOT$seen_id")
        if [ "$seen_device" != "$ROOT/dev/$seen_name" ] || ! is_device "$seen_device"; then
            error other_disk "$seen_id is not $seen_name any more"
        fi
        seen_uses=$(foreign_uses "$seen_name")
        if [ -n "$seen_uses" ]; then error in_use "$seen_id is in use: $(listed "$seen_uses")"; fi
        # What the script itself has begun with, it may begin with again.
        if [ -n "$began" ]; then continue; fi
        find_content "$seen_name"
        if [ "$CONTENT" != "$seen_content" ]; then
            error other_content "$seen_id now has ${CONTENT:-nothing} on it, and had ${seen_content:-nothing}"
        fi
    done
}

if [ ! -x "$ROOT$SCRIPT" ] || [ -d "$ROOT$SCRIPT" ]; then error no_script "$SCRIPT is not a program on the machine"; fi
if ! is_listened_to; then exit 1; fi
refuse_other_programs disks "$IDENTITY"
if ! is_under_way; then
    split_lines "$SEEN" check_each_seen
    rm -f "$WORK/disks.done" "$WORK/system.done"
    put "$WORK/disks.begun" "$IDENTITY" || error no_room "$WORK cannot be written to"
fi
run_program disks "$SECONDS_AT_MOST" "$ROOT$SCRIPT"
if [ "$CODE" != 0 ]; then
    say_log
    error script_failed "the disko script ended with exit code $CODE"
fi
if ! is_mounted "$MOUNT_POINT"; then
    say_log
    error not_mounted "the disko script has succeeded, and nothing is mounted on $MOUNT_POINT"
fi

# What lies on another disk, or in main memory, would not be there after the reboot.
for target_place in "$TARGET" "$TARGET/nix"; do
    if [ ! -d "$target_place" ]; then continue; fi
    target_source=$(findmnt -n -o SOURCE --target "$target_place" 2>/dev/null)
    target_source=${target_source%%\[*}
    target_found='' target_wanted=''
    case $target_source in
        /dev/*)
            target_source=$(readlink -f "$ROOT$target_source")
            for target_disk in $(disks_of "${target_source##*/}"); do
                case "$NEWLINE$SEEN" in *"$TAB$target_disk$TAB"*) target_found=1 ;; esac
                target_wanted="$target_wanted $target_disk"
            done
            if [ -z "$target_found" ] && [ -n "$target_wanted" ]; then
                error foreign_mount "${target_place#"$ROOT"} lies on$target_wanted, which is none of the named disks"
            fi
            ;;
    esac
done
nix_place=$TARGET/nix
if [ ! -d "$nix_place" ]; then nix_place=$TARGET; fi
case $(stat -f -c %T "$nix_place") in
    tmpfs | ramfs) error in_memory "${nix_place#"$ROOT"} lies in main memory: the system would be gone after the reboot" ;;
esac
chmod 0755 "$TARGET"
put "$WORK/disks.done" "$IDENTITY" || error no_room "$WORK cannot be written to"
answer_ends
