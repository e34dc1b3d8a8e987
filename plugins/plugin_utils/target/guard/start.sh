# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# `start`: refuse what has to be refused before anything changes. Then start the guard where no closed login, killed
# session or restarted user manager reaches it.

verb_start() {
    find_arg id
    use_activation "$ARG"
    use_kind_asked_for
    check_toplevel
    if ! arg_is action dry-activate; then refuse_pulled; fi
    if arg_is action dry-activate; then
        say phase none
        say action dry-activate
        say_pair "$TOPLEVEL" "$SYSTEM" "$PROFILE" "$(resolved "$PROFILE")" "$(current_system "$KIND_CURRENT" "$PROFILE")"
        dry_activate exit_code log
        answer_ends
    fi
    prepare_state
    if ! install_program; then error state_unwritable "cannot write to $STATE/guard"; fi
    resume_rebooted
    if [ -e "$STATE/activations/$ID" ]; then
        # The connection broke after the start, and ssh (`ssh_retries`) has sent the request again.
        use_activation "$ID"
        if ! asked_for toplevel "$TOPLEVEL"; then error id_used "the activation $ID exists already"; fi
        say_status
        answer_ends
    fi
    find_arg deployer
    take_lock "$ARG"
    if ! keeps_program; then
        release_lock
        say guard missing
        answer_ends
    fi
    recover_interrupted
    if ! arg_is force 1 && is_unchanged; then
        release_lock
        # The store may have lost what runs.
        if is_checked_later && ! is_valid; then refuse_toplevel; fi
        say phase none
        say unchanged 1
        say_lines note "$START_NOTES"
        say_pair "$TOPLEVEL" "$SYSTEM" "$PROFILE" "$(resolved "$PROFILE")" "$(current_system "$KIND_CURRENT" "$PROFILE")"
        answer_ends
    fi
    if ! may_set_profile; then
        release_lock
        error profile_unwritable "the user $(id -un) may not change the profile $PROFILE"
    fi
    check_expected
    check_boot_default
    check_revision
    check_staged_secrets
    if reboot_is_due; then
        reboot_hindrance=$(reboot_problem)
        if [ -n "$reboot_hindrance" ]; then
            release_lock
            error no_reboot "the host cannot reboot inside the deploy: $reboot_hindrance"
        fi
    fi
    protect_toplevel
    if ! is_listened_to; then
        # The controller that asked has looked for the activation, not found it, and given up.
        remove_gc_roots
        release_lock
        exit 1
    fi
    record_activation
    detach
    say_status
    answer_ends
}

# --- interrupted deploys ------------------------------------------------------------------------------------------

# Finish or undo interrupted deploys before the old system is recorded.
recover_interrupted() {
    new_id=$ID
    new_system=$SYSTEM new_toplevel=$TOPLEVEL new_profile=$PROFILE
    for interrupted_id in $(interrupted_activations); do
        use_activation "$interrupted_id"
        # The version that began it goes first, if it can still undo it.
        if [ -f "$DIR/guard.sh" ]; then "$NIXFERRY_SH" "$DIR/guard.sh" undo </dev/null 3>&-; fi
        if claim_unfinished; then recover_activation; fi
        if ! is_final "$(phase)"; then continue; fi
        start_note "the activation $interrupted_id was interrupted: it is $(phase) now"
        # If a third party has switched the host since then, this deploy starts from that system.
        if [ "$(phase)" = failed ] && [ -z "$(result other_system)" ]; then
            recovery_message=$(result message)
            # It may be one of a profile that is none of the caller's business.
            if [ -z "$INSTALLED_VERSION" ]; then say_end_of log "$DIR/log"; fi
            use_activation "$new_id"
            release_lock
            error recovery_failed "the interrupted activation $interrupted_id: $recovery_message"
        fi
    done
    use_activation "$new_id"
    SYSTEM=$new_system TOPLEVEL=$new_toplevel PROFILE=$new_profile
    use_kind_asked_for
}

# --- the record --------------------------------------------------------------------------------------------------

# abandon CODE MESSAGE: before anything is activated, remove every trace and answer with the error.
abandon() {
    disarm_dead_man
    remove_boot_unit
    remove_gc_roots
    rm -rf "$DIR" "$STATE/new"
    release_lock
    error "$1" "$2"
}

record_activation() {
    DIR=$STATE/new
    if [ -e "$DIR" ]; then rm -rf "$DIR"; fi
    # Nothing could be compared with what is not known.
    if ! find_units || ! split_lines "$LIVE_SERVICES" find_states; then
        abandon units_unknown "$UNITS_SILENT (systemctl list-units, systemctl show)"
    fi
    if ! { mkdir -p "$DIR/request" "$DIR/old" "$DIR/result" "$DIR/phases" "$DIR/spare" && prepare_phases &&
        write_record; }; then
        abandon state_unwritable "cannot write to the state directory $STATE"
    fi
    if ! mv "$DIR" "$STATE/activations/$ID"; then abandon state_unwritable "cannot write to $STATE/activations"; fi
    use_activation "$ID"
    load_variables
    if { ! is_checked_later && ! add_gc_root new "$TOPLEVEL"; } || ! add_gc_root old "$OLD_SYSTEM" ||
        { [ "$OLD_TOPLEVEL" != "$OLD_SYSTEM" ] && ! add_gc_root profile "$OLD_TOPLEVEL"; }; then
        abandon gc_root_failed "cannot make roots for the garbage collector"
    fi
    # A garbage collection may have run between the check and the root.
    if ! is_checked_later && ! is_valid; then abandon invalid_toplevel "$TOPLEVEL has just been garbage-collected"; fi
    prune_activations
    if has_result reboot_planned; then
        reboot_hindrance=$(install_reboot_unit) || abandon no_reboot "the host cannot reboot inside the deploy: $reboot_hindrance"
    else
        install_boot_unit
    fi
    if ! durable; then abandon state_unwritable "cannot write to the state directory $STATE"; fi
    copy_record
}

# The units are those of find_units and find_states.
# shellcheck disable=SC2154 # find_generation sets profile_leads_to
write_record() {
    for field in kind activate_command action specialisation \
        timeout_activation timeout_confirm timeout_reboot timeout_roll_back failed_units ignored_units settle reboot \
        reboot_if_unreachable roll_back_on_failure deployer deploy is_rollback metrics_directory; do
        find_arg "$field"
        write "$DIR/request/$field" "$ARG" || return 1
    done
    find_arg reboot_command
    reboot=$ARG
    find_arg revision
    revision=$ARG
    if [ -z "$revision" ] && arg_is is_rollback 1; then revision=$(recorded_revision "$PROFILE" "$TOPLEVEL"); fi
    resolve "$PROFILE"
    profile_target=$RESOLVED
    find_running "$KIND_CURRENT" "$PROFILE"
    find_generation "$PROFILE"
    variables_asked_for >"$DIR/request/variables" &&
        write "$DIR/request/current" "$KIND_CURRENT" &&
        write "$DIR/request/reboot_command" "${reboot:-systemctl reboot || reboot}" &&
        write "$DIR/request/revision" "$revision" &&
        write "$DIR/request/toplevel" "$TOPLEVEL" &&
        write "$DIR/request/system" "$SYSTEM" &&
        write "$DIR/request/profile" "$PROFILE" &&
        write "$DIR/old/system" "$RUNNING" &&
        write "$DIR/old/toplevel" "$profile_target" &&
        write "$DIR/old/boot_default" "$([ -z "$KIND_HAS_BOOT_DEFAULT" ] || known_default "$profile_target" 2>/dev/null)" &&
        write "$DIR/old/profile_link" "$profile_leads_to" &&
        write "$DIR/old/generation" "$GENERATION" &&
        write "$DIR/old/last_generation" "$(last_generation "$PROFILE")" &&
        { ! reboot_is_due || write_planned_reboot; } &&
        write_secrets_record &&
        write "$DIR/old/failed_units" "$FAILED_UNITS" &&
        write "$DIR/old/services" "$STATES" &&
        write "$DIR/old/services_active" "$ACTIVE_SERVICES" &&
        put_program "$DIR/guard.sh" &&
        keep_room &&
        printf %s "$START_NOTES" >"$DIR/notes" &&
        find_boot_identity &&
        write "$DIR/boot" "$BOOT_IDENTITY" &&
        find_longest_duration &&
        in_seconds "$LONGEST_DURATION" &&
        write "$DIR/dead_man" "$MOMENT" &&
        in_seconds "$START_DEADLINE" &&
        write "$DIR/reports_by" "$MOMENT" &&
        enter_phase prepared
}

write_planned_reboot() {
    write "$DIR/result/reboot_planned" 1 || return 1
    [ "$(resolved "$PROFILE")" != "$TOPLEVEL" ] || record_booted_as_old
}

# --- detaching from the login ------------------------------------------------------------------------------------

# Start the guard and its dead-man, and wait until the guard has reported.
detach() {
    # If the new system lacks a tool, use that of the old one.
    PATH=$PATH:$OLD_SYSTEM/sw/bin
    if ! detach_output=$(begin_work 2>&1); then
        abandon runner_not_started "the service manager did not start the guard: $detach_output"
    fi
    if ! await_worker; then
        stop_unit "nixferry-$ID.service"
        abandon runner_not_started "the detached guard did not report within $START_DEADLINE s"
    fi
}
