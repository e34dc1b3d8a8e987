# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Early at each boot: unseal secrets into main memory. If power was cut while an activation had placed its secrets and the
# old system boots, place the old ones; the next deploy finishes the record.

place_at_boot() {
    use_state "$(state_directory)"
    for found_id in $(interrupted_activations); do
        use_activation "$found_id"
        if [ -z "$(result secrets_begun)" ]; then continue; fi
        load_variables
        case $(current_system "$(request current)" "$PROFILE") in "$SYSTEM" | "$TOPLEVEL") continue ;; esac
        place_set "$(request secrets)-before" && put "$STATE/secrets/current" "$(old secrets)"
    done
    boot_set=$(get "$STATE/secrets/current")
    if [ -z "$boot_set" ] || place_set "$boot_set"; then return 0; fi
    echo "nixferry: some secrets could not be put into their places" >&2
    return 1
}

place_at_boot
