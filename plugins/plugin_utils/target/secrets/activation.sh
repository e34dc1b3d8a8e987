# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The secrets of an activation (see secrets/sets.sh): placed before the new system is activated, and restored before the
# old one is. Nothing here can prevent a roll back.

# Print the set for the activation: the one staged for it, or for a manual roll back the one that the older system ran
# with. If it prints nothing, the placed secrets stay.
secrets_of_start() {
    find_arg secrets
    if [ -n "$ARG" ]; then
        echo "$ARG"
    elif arg_is is_rollback 1; then
        { read -r start_set start_toplevel <"$STATE/secrets/of/${TOPLEVEL##*/}"; } 2>/dev/null || return 0
        if [ "$start_toplevel" = "$TOPLEVEL" ] && [ -f "$STATE/secrets/sets/$start_set/index" ] &&
            [ "$start_set" != "$(get "$STATE/secrets/current")" ]; then
            echo "$start_set"
        fi
    fi
}

# Answer with an error if the staged set is gone.
check_staged_secrets() {
    find_arg secrets
    staged=$ARG
    if [ -z "$staged" ]; then return 0; fi
    case $staged in *[!0-9A-Za-z]*) error bad_request "not a valid set of secrets: $staged" ;; esac
    if [ -f "$STATE/secrets/sets/$staged/index" ]; then return 0; fi
    release_lock
    error no_secrets "the secrets staged for this activation are not there any more"
}

write_secrets_record() {
    read_text "$STATE/secrets/current"
    write "$DIR/old/secrets" "$TEXT" && write "$DIR/request/secrets" "$(secrets_of_start)" || return 1
    # From now on the activation keeps the set.
    find_arg secrets
    if [ -n "$ARG" ]; then rm -f "$STATE/secrets/sets/$ARG/staged"; fi
}

# Set LONGEST_SECRETS to the seconds that units may take to load the new secrets, and after a roll back the old ones.
# shellcheck disable=SC2034 # guard/units.sh reads it
find_longest_secrets() {
    recall request/secrets
    if [ -n "$TEXT" ]; then LONGEST_SECRETS=$((2 * UNIT_DEADLINE)); else LONGEST_SECRETS=0; fi
}

# Fails with REASON and MESSAGE.
place_new_secrets() {
    recall request/secrets
    new_secrets=$TEXT
    if [ -z "$new_secrets" ]; then return 0; fi
    if ! complete_set "$new_secrets" || ! keep_before "$new_secrets" || ! save_result secrets_begun 1 || ! durable; then
        REASON=secrets MESSAGE="the current secrets could not be kept for a roll back"
        return 1
    fi
    if ! place_set "$new_secrets" || ! put "$STATE/secrets/current" "$new_secrets"; then
        REASON=secrets MESSAGE="the secrets could not be put into place"
        return 1
    fi
    note_services
    note_lost_secrets
}

# A service that starts after this reads the secrets that are in place now.
note_services() { service_ids >"$DIR/services_before"; }

# Print the services that have started since note_services, each between spaces.
started_services() {
    if [ ! -s "$DIR/services_before" ]; then return 0; fi
    service_ids | grep -vxF -f "$DIR/services_before" | while read -r started_service _; do
        printf ' %s ' "$started_service"
    done
}

note_lost_secrets() {
    if [ -n "$SECRETS_LOST" ]; then
        note "secrets of that system lay in main memory, went with a reboot, and have to be placed again:$SECRETS_LOST"
    fi
}

# shellcheck disable=SC2034 # the caller reads REASON and MESSAGE, guard/settle.sh UNITS_FRESH
# The activation may have created the owners of secrets. Fails with REASON and MESSAGE.
give_new_secrets() {
    recall request/secrets
    new_secrets=$TEXT
    if [ -z "$new_secrets" ]; then return 0; fi
    ownerless=$(own_set "$new_secrets")
    if [ -n "$ownerless" ]; then
        REASON=secrets MESSAGE="the owners of these secrets do not exist in the new system: $(listed "$ownerless")"
        return 1
    fi
    UNITS_FRESH=''
    secrets_failed=$(STARTED=$(started_services) && tell_units "$new_secrets" 2>>"$(log_place)")
    if [ -n "$secrets_failed" ]; then
        REASON=secrets MESSAGE="units failed with their new secrets: $(listed "$secrets_failed")"
        return 1
    fi
}

# The roll back continues even if this fails.
place_old_secrets() {
    if ! has_result secrets_begun; then return 0; fi
    if [ ! -f "$STATE/secrets/sets/$(request secrets)-before/index" ]; then
        note "other secrets have been placed since the host went down; they were kept"
    elif place_set "$(request secrets)-before" && put "$STATE/secrets/current" "$(old secrets)"; then
        note_services
        note_lost_secrets
    else
        incomplete "not all of the old secrets could be put back"
    fi
}

# shellcheck disable=SC2034 # tell_units reads STARTED
# The old system runs again, but its units may still use the new secrets: restart or reload them.
tell_old_units() {
    if ! has_result secrets_begun; then return 0; fi
    secrets_failed=$(STARTED=$(started_services) && tell_units "$(request secrets)" 2>>"$(log_place)")
    if [ -n "$secrets_failed" ]; then note "units failed with their old secrets: $(listed "$secrets_failed")"; fi
}

# A failure here does not change the outcome of the deploy.
remember_secrets() {
    read_text "$STATE/secrets/current"
    committed_set=$TEXT
    if [ -n "$committed_set" ] && ! remember_set "$committed_set" "$TOPLEVEL" 2>/dev/null; then
        note "which secrets this system runs with could not be recorded"
    fi
}
