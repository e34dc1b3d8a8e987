# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# systemd-boot.
# Sources: systemd-boot-builder.py of nixpkgs (entries called nixos-generation-N.conf, later nixos-HASH.conf; both with
# a counter such as +3 where boot counting is on, which systemd-boot does not count as part of the name), lanzaboote
# (programs in EFI/Linux), bootctl(1), and the Boot Loader Interface for the variables.

EFI_VARIABLES=/sys/firmware/efi/efivars
LOADER_GUID=4a67b082-0a4c-41cf-b6c7-440b29bb8c4f
ONE_SHOT_FEATURE=8      # the bit of LoaderFeatures for one-shot entries

efi_variable() { echo "$ROOT$EFI_VARIABLES/$1-$LOADER_GUID"; }

# The directories of the entries and of the configuration: two partitions if there is an XBOOTLDR
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

# Print the name of an entry for systemd-boot: its file name without the counter.
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
