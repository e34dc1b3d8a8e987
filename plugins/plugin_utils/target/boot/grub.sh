# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# GRUB.
# Source: install-grub.pl and install-grub of nixpkgs: the entry `next_entry` of the environment block is taken, and
# emptied by GRUB itself before it boots. GRUB can write that block on plain disks only ("Environment block" in its
# manual); elsewhere it would boot the new system again and again, so there it is not even tried.

# A menu that waits for a human being would keep the host down after a crash (boot.loader.timeout = null).
# GRUB does not replay the journal of ext4: after a reset it may see the menu as it was before the last installation, which
# boots the old system.

GRUB_WRITABLE='ext2 ext3 ext4 vfat'

# boot.loader.grub.default = "saved" is the administrator's choice, and is not told apart from other unknown defaults.
grub_override() { :; }

grub_problem() {
    grub_device=$(findmnt --noheadings --output SOURCE --target "$ROOT$BOOT_DIRECTORY/grub" 2>/dev/null)
    grub_file_system=$(findmnt --noheadings --output FSTYPE --target "$ROOT$BOOT_DIRECTORY/grub" 2>/dev/null)
    if ! have grub-editenv || ! have awk; then
        echo "grub-editenv or awk was not found"
    elif ! grep -q 'save_env next_entry' "$ROOT$BOOT_DIRECTORY/grub/grub.cfg"; then
        echo "its GRUB is not set up to boot an entry just once (next_entry)"
    elif grep -q '^ *savedefault' "$ROOT$BOOT_DIRECTORY/grub/grub.cfg" || [ -z "$(grub_default)" ]; then
        echo "its GRUB boots by default the entry booted last (boot.loader.grub.default), so it cannot boot one just once"
    elif grep -q '^ *set timeout=-' "$ROOT$BOOT_DIRECTORY/grub/grub.cfg"; then
        echo "its GRUB waits in its menu for a key (boot.loader.timeout), so after a crash the host would not come back"
    else
        case " $GRUB_WRITABLE " in
            *" $grub_file_system "*) ;;
            *)
                echo "its GRUB cannot write to $BOOT_DIRECTORY ($grub_file_system), so it would not forget to boot an entry again"
                return
                ;;
        esac
        case $grub_device in
            /dev/mapper/* | /dev/dm-* | /dev/md*)
                echo "its GRUB cannot write to $BOOT_DIRECTORY ($grub_device), so it would not forget to boot an entry again"
                ;;
        esac
    fi
}

# Print every entry as "POSITION SYSTEM". Positions are GRUB's: 1>0 is the first entry of the second one, a submenu.
grub_entries() {
    awk '
        /^[ \t]*(submenu|menuentry)[ \t].*[{][ \t]*$/ {
            opened[++depth] = $1; here = prefix[level] count[level]++
            if ($1 == "submenu") { level++; prefix[level] = here ">"; count[level] = 0 }
            next
        }
        /[{][ \t]*$/ { opened[++depth] = "other"; next }
        /^[ \t]*[}][ \t]*$/ { if (depth > 0 && opened[depth--] == "submenu") level--; next }
        opened[depth] == "menuentry" && match($0, /[ \t"]init=[^ \t"]*\/init/) {
            print here, substr($0, RSTART + 6, RLENGTH - 11)
        }
        BEGIN { level = 0; depth = 0; count[0] = 0; prefix[0] = "" }
    ' "$ROOT$BOOT_DIRECTORY/grub/grub.cfg"
}

# Prefer the entry of a generation to the default one, which changes with every installation.
grub_entry() {
    grub_entries | while read -r grub_position grub_system; do
        if [ "$grub_system" = "$1" ]; then echo "$grub_position"; fi
    done | tail -n 1
}

grub_default() {
    grub_number=$(sed -n 's/^ *set default="\{0,1\}\([0-9][0-9]*\)"\{0,1\} *$/\1/p' "$ROOT$BOOT_DIRECTORY/grub/grub.cfg" | tail -n 1)
    grub_entries | while read -r grub_position grub_system; do
        if [ "$grub_position" = "$grub_number" ]; then echo "$grub_system"; fi
    done
}

grub_once() {
    grub-editenv "$ROOT$BOOT_DIRECTORY/grub/grubenv" set "next_entry=$1" &&
        grub-editenv "$ROOT$BOOT_DIRECTORY/grub/grubenv" list | grep -qxF "next_entry=$1"
}

grub_forget() { grub-editenv "$ROOT$BOOT_DIRECTORY/grub/grubenv" unset next_entry; }

# Its programs write over what they have left.
grub_leftovers() { :; }
