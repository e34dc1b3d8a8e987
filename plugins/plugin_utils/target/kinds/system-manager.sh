# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# system-manager, as root. Read from crates/system-manager-engine/src/{activate,deactivate,register}.rs,
# activate/{etc_files,services}.rs, nix/lib.nix and nix/modules/default.nix of system-manager: see
# tests/fixtures/mini-system-manager/README.md.
#
# The engine stops and removes what its state file lists and the next system lacks. It writes that file last, so after an
# activation that was cut off it does not know what is left. The driver removes that.
#
# shellcheck disable=SC3013 # dash, bash and busybox know -ef, and no other shell is /bin/sh where systemd runs

ENGINE_STATE=$ROOT/var/lib/system-manager/state/system-manager-state.json
ENGINE_ETC=$ROOT/etc
ENGINE_GC_ROOT=$ROOT/nix/var/nix/gcroots/system-manager-current

# shellcheck disable=SC2034 # other parts read them
system_manager_properties() {
    KIND_REQUIRED='bin/activate bin/register-profile'
    KIND_PROFILE=/nix/var/nix/profiles/system-manager-profiles/system-manager
    KIND_CURRENT=profile
    KIND_CHECK_UNITS=1
}

# It only logs the units that failed and exits 0.
system_manager_activate() { "$SYSTEM/bin/activate"; }

# `register-profile` adds the profile generation and the engine's own root for the garbage collector.
system_manager_commit() { make_sure_of_profile && "$SYSTEM/bin/register-profile"; }

# Both files are JSON as Nix writes it, without white space. Store paths hold none of the characters it is split at.
engine_values() { # KEY FILE
    # shellcheck disable=SC2020 # each of the characters becomes the end of a line
    if [ -f "$2" ]; then tr ',{}' '\n\n\n' <"$2" | sed -n "s/^ *\"$1\": *\"\\(.*\\)\"\$/\\1/p"; fi
}

# The unit files of a system; nothing without a system
engine_units_of() { engine_values storePath "$1/services/services.json"; }

# The tree that a system's links in /etc lead into
engine_links_of() { engine_values staticEnv "$1/etcFiles/etcFiles.json"; }

# The functions below make no files: a roll back must not need room on a disk.

# Print the units of the new system that may run and that the engine does not know.
engine_unrecorded_units() {
    engine_units_of "$SYSTEM" | grep -vxF -e "$(engine_units_of "$OLD_SYSTEM")" | while IFS= read -r unit; do
        if grep -qF "\"$unit\"" "$ENGINE_STATE" 2>/dev/null; then continue; fi
        if [ "$ENGINE_ETC/systemd/system/${unit##*/}" -ef "$unit" ]; then echo "${unit##*/}"; fi
    done
}

# Stop them. The old system's activation starts common units again: it starts all that its target wants.
engine_stop_unrecorded_units() {
    # shellcheck disable=SC2046 # names of units
    set -- $(engine_unrecorded_units)
    if [ "$#" = 0 ]; then return; fi
    systemctl stop -- "$@"
    # A unit that is stopped while it starts counts as failed. systemd would remember that after its file is gone.
    systemctl reset-failed -- "$@" 2>/dev/null
}

# Remove links of the new system that the engine does not know. Copied files cannot be told from others, and stay.
engine_remove_unrecorded_links() {
    new_links=$(engine_links_of "$SYSTEM")
    old_links=$(engine_links_of "$OLD_SYSTEM")
    if [ ! -d "$new_links" ]; then return 0; fi
    removed=$(cd "$new_links" && find -L . -type f | while IFS= read -r link; do
        link=${link#./}
        if [ -L "$ENGINE_ETC/$link" ] && [ "$ENGINE_ETC/$link" -ef "$new_links/$link" ] &&
            { [ -z "$old_links" ] || [ ! -e "$old_links/$link" ]; } &&
            ! grep -qF "\"/etc/$link\"" "$ENGINE_STATE" 2>/dev/null; then
            rm -f "$ENGINE_ETC/$link" && echo "$link"
        fi
    done)
    if [ -n "$removed" ]; then systemctl daemon-reload; fi
}

# Remove the links first: a unit that a link still wants would be started along with the old system.
system_manager_roll_back() {
    engine_stop_unrecorded_units
    engine_remove_unrecorded_links
    "$OLD_SYSTEM/bin/activate"
}

engine_go_away() {
    engine_stop_unrecorded_units
    engine_remove_unrecorded_links
    "$SYSTEM/bin/deactivate"
}

# The host had no system before. The engine exits with 0 even if it could not remove all, but its state file shows that.
system_manager_deactivate() {
    engine_go_away || return
    left=$(sed -n 's/.*"files": *\[\([^]]*\)\].*/\1/p' "$ENGINE_STATE" 2>/dev/null)
    if [ -n "$left" ]; then
        echo "system-manager has left: $left" >&2
        return 1
    fi
}

# The profile is the old one again. Only `register-profile` makes the GC root that belongs to it.
system_manager_restore_boot_default() {
    if [ -n "$OLD_TOPLEVEL" ]; then ln -sfn "$OLD_TOPLEVEL" "$ENGINE_GC_ROOT"; else rm -f "$ENGINE_GC_ROOT"; fi
}
