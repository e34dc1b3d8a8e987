# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Common to all boot loaders: entries are found by the `init=` of their kernel command line.

# shellcheck disable=SC2034 # the drivers read it
BOOT_DIRECTORY=/boot

# Print the system that a text boots, such as a boot entry or the command line in an EFI program.
init_of() { tr -s '\000 \t"' '\n' <"$1" | sed -n 's|^init=\(/.*\)/init$|\1|p' | head -n 1; }

without_nul() { if [ -e "$1" ]; then tr -d '\000' <"$1"; fi; }

# --- the file systems that a boot loader reads ----------------------------------------------------------------------

# place_options TABLE PLACE: set OPTIONS to the mount options that a table of file systems (proc(5), fstab(5)) has for a
# place, and FILE_SYSTEM to its type; empty if it has none. A later mount hides an earlier one. Set ON_DEMAND if something waits
# to mount it (autofs), which is itself nothing to write to.
place_options() {
    OPTIONS='' FILE_SYSTEM='' ON_DEMAND=''
    [ -r "$1" ] || return 0
    while read -r _ table_place table_type table_options _; do
        if [ "$table_place" != "$2" ]; then continue; fi
        if [ "$table_type" = autofs ]; then ON_DEMAND=1; else FILE_SYSTEM=$table_type OPTIONS=$table_options; fi
    done <"$1"
}

# Print why what a boot loader reads could not be written; nothing if it can, as far as is known.
boot_places_problem() {
    for boot_place in $BOOT_PLACES; do
        # What is mounted on demand is mounted now: a name below it is looked up.
        [ -d "$ROOT$boot_place/." ] || true
        place_options "$PROC/mounts" "$ROOT$boot_place"
        case ,$OPTIONS, in
            *,ro,*)
                echo "$boot_place is mounted read-only"
                return
                ;;
            ,,) ;;
            *) continue ;;
        esac
        mounts_on_demand=$ON_DEMAND
        place_options "$ROOT/etc/fstab" "$boot_place"
        case $mounts_on_demand,$OPTIONS, in
            *,, | ,*,noauto,* | ,noauto,*) ;;
            *)
                echo "$boot_place is not mounted, although /etc/fstab names it"
                return
                ;;
        esac
    done
}

# Let FAT write everything at once, until write_later. Programs replace boot entries by renaming, and flush the new file before
# that: the table of clusters reaches the disk, in which those of the replaced file are free, and the directory does not, which
# still names them. After a power cut then, the check of the file system would empty the entry of the old system, and the next
# installation would find a file system with errors. Linux lets `sync` be changed without a new mount, but not `dirsync`.
AT_ONCE=''
write_at_once() {
    for boot_place in $BOOT_PLACES; do
        [ -d "$ROOT$boot_place/." ] || continue
        place_options "$PROC/mounts" "$ROOT$boot_place"
        if [ -n "$ON_DEMAND" ]; then hold_open "$ROOT$boot_place"; fi
        case $FILE_SYSTEM,$OPTIONS, in
            *,sync,* | *,dirsync,*) continue ;;
            vfat,* | msdos,*) ;;
            *) continue ;;
        esac
        if mount_said=$(mount -o remount,sync "$ROOT$boot_place" 2>&1); then
            AT_ONCE="$AT_ONCE $boot_place"
        else
            note "$boot_place cannot write at once (mount -o remount,sync: $mount_said): a power cut may break its entries"
        fi
    done
}

# What is mounted on demand is unmounted after a while without use, and mounted anew without `sync`: while a program waits for
# another installation, or calculates. A directory that is open is in use. `command`: a failure does not end the shell.
HELD_OPEN=''
hold_open() { # PLACE
    HELD_OPEN=x$HELD_OPEN
    case $HELD_OPEN in
        x) command exec 7<"$1/." ;;
        xx) command exec 8<"$1/." ;;
        *) command exec 9<"$1/." ;;
    esac || true
}

write_later() {
    for boot_place in $AT_ONCE; do
        mount -o remount,async "$ROOT$boot_place" || note "$boot_place goes on to write at once, until it is mounted again"
    done 2>/dev/null
    exec 7<&- 8<&- 9<&-
    AT_ONCE='' HELD_OPEN=''
}
