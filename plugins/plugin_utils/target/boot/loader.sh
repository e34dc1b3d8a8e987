# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The boot loader, as far as the guard needs it. Every driver below has the same seven functions:
#   NAME_override         print what chooses the boot default instead of what a system installs; nothing if nothing does
#   NAME_problem          print why it cannot boot an entry just once; nothing if it can
#   NAME_entry SYSTEM     print the name of the entry that boots SYSTEM; nothing without one
#   NAME_default          print the system that boots by default; nothing if unknown
#   NAME_once ENTRY       boot ENTRY at the next boot only
#   NAME_forget           revoke NAME_once
#   NAME_leftovers        print the files by which an installation that was cut off makes all later ones fail
# Entries are found by the `init=` of their kernel command line, since their names have changed over the years.

# Print the name of the driver; nothing for an unknown boot loader.
boot_loader() {
    loader_info=$(efi_variable LoaderInfo)
    if [ -e "$loader_info" ] && without_nul "$loader_info" | grep -q systemd-boot; then
        echo systemd_boot
    # A menu of GRUB may be left from before systemd-boot, which cannot be told without the variables.
    elif [ -e "$ROOT$BOOT_DIRECTORY/grub/grub.cfg" ] && ! efi_is_hidden; then
        echo grub
    fi
}

# Print why a commit would not decide what boots by default; nothing if it would, as far as is known.
boot_choice_problem() {
    LOADER=$(boot_loader)
    if [ -z "$LOADER" ]; then return; fi
    default_problem=$(boot_places_problem)
    echo "${default_problem:-$("${LOADER}_override")}"
}

boot_once_problem() {
    LOADER=$(boot_loader)
    if [ -n "$LOADER" ]; then
        once_problem=$(boot_choice_problem)
        echo "${once_problem:-$("${LOADER}_problem")}"
    elif efi_is_hidden; then
        echo "its EFI variables cannot be read ($EFI_VARIABLES is not mounted), so its boot loader is unknown"
    else
        echo "its boot loader is neither systemd-boot nor GRUB, so no entry can be booted just once"
    fi
}

boot_entry() { "$(boot_loader)_entry" "$1"; }
boot_default() { "$(boot_loader)_default"; }

# Print which of TOPLEVEL and its specialisations boots by default; nothing if that is unknown, or if it has none.
known_default() {
    for known_child in "$1"/specialisation/*; do
        if [ -e "$known_child" ] && [ -n "$(boot_loader)" ]; then
            boot_default
            return
        fi
    done
}
boot_once() { "$(boot_loader)_once" "$1"; }

# Call it before a boot loader is installed, and write_later after that: let a power cut break nothing, and remove what an
# earlier one has left, unless another program is installing.
prepare_boot_places() {
    if [ -z "$KIND_HAS_BOOT_DEFAULT" ]; then return; fi
    write_at_once
    LOADER=$(boot_loader)
    if [ -z "$LOADER" ] || lock_is_held; then return; fi
    "${LOADER}_leftovers" | while IFS= read -r leftover; do
        if [ -f "$leftover" ] && rm -f "$leftover"; then
            note "removed $leftover, left by an installation of the boot loader that was cut off"
        fi
    done
}

forget_boot_once() { "$(boot_loader)_forget"; }
