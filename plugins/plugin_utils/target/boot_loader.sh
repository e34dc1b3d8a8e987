# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The boot loader, as far as the guard needs it. Every driver below has the same five functions:
#   NAME_problem          why it cannot boot an entry just once; nothing if it can
#   NAME_entry SYSTEM     the name of the entry that boots SYSTEM; nothing if there is none
#   NAME_default          the system that boots by default; nothing if that cannot be told
#   NAME_once ENTRY       the next boot, and only that one, is that of ENTRY
#   NAME_forget           no, it is not
# Entries are found by the `init=` of their kernel command line, since their names have changed over the years.

BOOT_DIRECTORY=/boot

# The name of the driver, nothing for an unknown boot loader
boot_loader() {
    if [ -d "$ROOT$LAB_BOOT/entries" ]; then
        echo lab
    elif without_nul "$(efi_variable LoaderInfo)" | grep -q systemd-boot; then
        echo systemd_boot
    elif [ -e "$ROOT$BOOT_DIRECTORY/grub/grub.cfg" ]; then
        echo grub
    fi
}

boot_once_problem() {
    LOADER=$(boot_loader)
    if [ -z "$LOADER" ]; then
        echo "its boot loader is neither systemd-boot nor GRUB, so no entry can be booted just once"
        return
    fi
    "${LOADER}_problem"
}

boot_entry() { "$(boot_loader)_entry" "$1"; }
boot_default() { "$(boot_loader)_default"; }
boot_once() { "$(boot_loader)_once" "$1"; }
forget_boot_once() { "$(boot_loader)_forget"; }

# The system that a text, such as a boot entry or the command line in an EFI program, hands over to
init_of() { tr -s '\000 \t"' '\n' <"$1" | sed -n 's|^init=\(/.*\)/init$|\1|p' | head -n 1; }

without_nul() { if [ -e "$1" ]; then tr -d '\000' <"$1"; fi; }

# --- the stub of the lab hosts that this collection is tested on ---------------------------------------------------

LAB_BOOT=/boot/nixferry-lab

lab_problem() { :; }

lab_entry() {
    lab_found=
    for lab_file in "$ROOT$LAB_BOOT"/entries/*; do
        if [ "$(get "$lab_file")" = "$1" ]; then lab_found=${lab_file##*/}; fi
    done
    echo "$lab_found"
}

lab_default() { get "$ROOT$LAB_BOOT/default"; }
lab_once() { put "$ROOT$LAB_BOOT/once" "$1"; }
lab_forget() { rm -f "$ROOT$LAB_BOOT/once"; }

# --- systemd-boot ---------------------------------------------------------------------------------------------------
# Sources: systemd-boot-builder.py of nixpkgs (entries called nixos-generation-N.conf, later nixos-HASH.conf; both with
# a counter such as +3 where boot counting is on, which is no part of the name that systemd-boot knows), lanzaboote
# (programs in EFI/Linux), bootctl(1), and the Boot Loader Interface for the variables.

EFI_VARIABLES=/sys/firmware/efi/efivars
LOADER_GUID=4a67b082-0a4c-41cf-b6c7-440b29bb8c4f
ONE_SHOT_FEATURE=8      # the bit of LoaderFeatures that says so

efi_variable() { echo "$ROOT$EFI_VARIABLES/$1-$LOADER_GUID"; }

# Where the entries are, and where the configuration is: two partitions if there is an XBOOTLDR
entry_partition() { bootctl --print-boot-path 2>/dev/null || echo "$BOOT_DIRECTORY"; }
efi_partition() { bootctl --print-esp-path 2>/dev/null || echo "$BOOT_DIRECTORY"; }

systemd_boot_problem() {
    if ! have bootctl; then
        echo "bootctl was not found"
    elif loader_features=$(od -An -tu1 -j4 -N1 "$(efi_variable LoaderFeatures)" 2>/dev/null) &&
        [ $((${loader_features:-0} & ONE_SHOT_FEATURE)) = 0 ]; then
        echo "its systemd-boot is too old to boot an entry just once (bootctl update)"
    elif grep -q " $EFI_VARIABLES [^ ]* ro[, ]" "$PROC/mounts" 2>/dev/null; then
        echo "its EFI variables are mounted read-only, so systemd-boot cannot be told to boot an entry just once"
    elif [ -z "$(systemd_boot_default)" ]; then
        echo "the default entry in loader.conf of systemd-boot could not be found"
    fi
}

# The name that systemd-boot knows an entry by: that of its file without the counter
entry_name() {
    entry_file=${1##*/}
    entry_stem=${entry_file%.*}
    echo "${entry_stem%%+*}.${entry_file##*.}"
}

systemd_boot_entries() {
    for entry in "$ROOT$(entry_partition)"/loader/entries/*.conf "$ROOT$(entry_partition)"/EFI/Linux/*.efi; do
        if [ -e "$entry" ]; then echo "$entry"; fi
    done
}

systemd_boot_entry() {
    systemd_boot_entries | while IFS= read -r entry; do
        if [ "$(init_of "$entry")" = "$1" ]; then entry_name "$entry"; fi
    done | tail -n 1
}

systemd_boot_default() {
    loader_conf=$ROOT$(efi_partition)/loader/loader.conf
    default_name=$(sed -n 's/^preferred *//p' "$loader_conf" 2>/dev/null | tail -n 1)
    if [ -z "$default_name" ]; then
        default_name=$(sed -n 's/^default *//p' "$loader_conf" 2>/dev/null | tail -n 1)
    fi
    systemd_boot_entries | while IFS= read -r entry; do
        if [ "$(entry_name "$entry")" = "$default_name" ]; then init_of "$entry"; fi
    done | head -n 1
}

systemd_boot_once() {
    bootctl set-oneshot "$1" && without_nul "$(efi_variable LoaderEntryOneShot)" | grep -qF "$1"
}

systemd_boot_forget() { bootctl set-oneshot ''; }

# --- GRUB -----------------------------------------------------------------------------------------------------------
# Source: install-grub.pl and install-grub of nixpkgs: the entry `next_entry` of the environment block is taken, and
# emptied by GRUB itself before it boots. GRUB can write that block on plain disks only ("Environment block" in its
# manual); elsewhere it would boot the new system again and again, so there it is not even tried.

GRUB_WRITABLE='ext2 ext3 ext4 vfat'

grub_problem() {
    grub_device=$(findmnt --noheadings --output SOURCE --target "$ROOT$BOOT_DIRECTORY/grub" 2>/dev/null)
    grub_file_system=$(findmnt --noheadings --output FSTYPE --target "$ROOT$BOOT_DIRECTORY/grub" 2>/dev/null)
    if ! have grub-editenv || ! have awk; then
        echo "grub-editenv or awk was not found"
    elif ! grep -q 'save_env next_entry' "$ROOT$BOOT_DIRECTORY/grub/grub.cfg"; then
        echo "its GRUB is not set up to boot an entry just once (next_entry)"
    elif grep -q '^ *savedefault' "$ROOT$BOOT_DIRECTORY/grub/grub.cfg" || [ -z "$(grub_default)" ]; then
        echo "its GRUB boots by default what was booted last (boot.loader.grub.default), so that no boot is just one"
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

# Every entry as "POSITION SYSTEM"; positions as GRUB takes them: 1>0 is the first entry of the second one, a submenu.
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

# One of a generation rather than the one called default, which follows whatever is installed last
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
