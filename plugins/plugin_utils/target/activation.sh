# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The state machine:
#
#   prepared -> activating -> awaiting-confirmation -> committing -> committed
#                   |                  |                   |
#                   +------------------+-------------------+-> rolling-back -> rolled-back (or failed)
#
# Who asked for no roll back gets `failed` at once instead of `rolling-back`, until the commit has begun.
# Until `committing` nothing that decides what boots is touched (for kinds with a boot default).

# --- what became of it -------------------------------------------------------------------------------------------

# Units that are failed now and were not before; the result is kept for the status.
compare_failed_units() {
    failed_units >"$DIR/failed_now"
    NEW_FAILED=$(while IFS= read -r now_failed; do
        if ! grep -qxF -e "$now_failed" "$DIR/old/failed_units"; then echo "$now_failed"; fi
    done <"$DIR/failed_now")
    rm -f "$DIR/failed_now"
    for flapping_unit in ${FLAPPING:-}; do
        names_unit "$NEW_FAILED" "$flapping_unit" || NEW_FAILED="$NEW_FAILED
$flapping_unit"
    done
    set_result failed_units "$NEW_FAILED"
}

# judge_units EXIT_CODE: are failed units a reason to go back?
judge_units() {
    compare_failed_units
    if [ -z "$NEW_FAILED" ]; then
        if [ "$1" != 0 ]; then note "exit code $1 (failed units), but no unit failed that had not failed before"; fi
        return 0
    fi
    if [ "$(request failed_units)" = ignore ]; then
        note "failed units are ignored as asked: $(listed "$NEW_FAILED")"
        return 0
    fi
    return 1
}

# Names the cause in REASON and MESSAGE and fails if the activation has to be undone.
judge_activation() {
    case $OUTCOME in timeout | aborted) ;; *) set_result exit_code "$OUTCOME" ;; esac
    case $OUTCOME in
        0)
            if ! wanted check_units; then return 0; fi
            settle_units
            if judge_units 0; then return 0; fi
            REASON=failed_units MESSAGE="units failed: $(listed "$NEW_FAILED")"
            ;;
        "$(request exit_failed_units)")
            if was_cut_short; then
                REASON=activation_failed MESSAGE="the activation ended half-way with exit code $OUTCOME"
            elif judge_units "$OUTCOME"; then
                return 0
            else
                REASON=failed_units MESSAGE="units failed (exit code $OUTCOME): $(listed "$NEW_FAILED")"
            fi
            ;;
        timeout)
            REASON=activation_timeout MESSAGE="the activation did not end within $(request timeout_activation) s"
            if lock_is_held && has_never_begun; then judge_refusal locked "$(lock_message)"; fi
            ;;
        aborted)
            REASON=aborted MESSAGE=$(abort_message)
            ;;
        *)
            REASON=activation_failed MESSAGE="the activation failed with exit code $OUTCOME"
            if was_locked_out; then
                judge_refusal locked "$(lock_message)"
            elif [ "$OUTCOME" = "$(request exit_reboot_required)" ]; then
                judge_refusal reboot_required "the new system cannot be activated without a reboot (exit code $OUTCOME)"
            # A check that comes before anything else; its own words are the only sign.
            elif has_said "Pre-switch check 'switchInhibitors' failed"; then
                judge_refusal reboot_required "the new system inhibits a switch while the old one runs (exit code $OUTCOME)"
            fi
            ;;
    esac
    return 1
}

# judge_refusal REASON MESSAGE: the program claims that it has activated nothing, which is believed if the host agrees
judge_refusal() {
    if looks_untouched; then
        set_result nothing_activated 1
        REASON=$1 MESSAGE=$2
    elif [ -n "$(other_system)" ]; then
        REASON=$1 MESSAGE=$2
    elif [ "$(running_system)" != "$OLD_SYSTEM" ]; then
        MESSAGE="$MESSAGE half-way: $(running_system) runs"
    else
        MESSAGE="$MESSAGE half-way: $(listed "$(stopped_services)") stopped, or the profile was changed"
    fi
}

lock_message() {
    if [ -n "$(other_system)" ]; then
        echo "another activation was running, and has switched the host"
    else
        echo "another activation was running for all of $(request timeout_activation) s: it holds the lock $(request lock)"
    fi
}

abort_message() {
    abort_reason=$(get "$DIR/abort")
    echo "aborted${abort_reason:+: $abort_reason}"
}

# --- forwards ----------------------------------------------------------------------------------------------------

# The whole of it, in the process that outlives the login.
run_activation() {
    load_variables
    if [ -n "$(result rebooting)" ]; then
        come_back
        return
    fi
    if ! place_new_secrets; then
        roll_back "$REASON" "$MESSAGE"
        return
    fi
    if [ -n "$(result reboot_planned)" ]; then
        activate_by_reboot
        return
    fi
    if [ "$(request action)" != boot ]; then
        if ! set_result activation_begun 1 || ! enter_phase activating; then
            set_result activation_begun ''
            roll_back state_unwritable "the state directory $STATE takes no more writes"
            return
        fi
        run_program_when_free "$(request timeout_activation)" "$(request activate)" abortable
        if judge_activation; then
            remember_what_runs
        else
            if reboot_instead; then activate_by_reboot; else roll_back "$REASON" "$MESSAGE"; fi
            return
        fi
        if ! give_new_secrets || ! await_confirmation; then
            roll_back "$REASON" "$MESSAGE"
            return
        fi
        if [ "$(request action)" = test ]; then
            if ! may_commit; then
                roll_back "$REASON" "$MESSAGE"
                return
            fi
            note "activated as a test: the boot default is still the old system"
            end_activation committed
            return
        fi
    fi
    commit
}

await_confirmation() {
    confirm_until=$(in_seconds "$(request timeout_confirm)")
    if ! put "$DIR/deadline" "$confirm_until" || ! enter_phase awaiting-confirmation; then
        REASON=state_unwritable MESSAGE="the state directory $STATE takes no more writes"
        return 1
    fi
    confirm_message="nobody confirmed within $(request timeout_confirm) s"
    begin_waiting
    while [ ! -e "$DIR/confirm" ]; do
        if [ -e "$DIR/abort" ]; then
            REASON=aborted MESSAGE=$(abort_message)
            return 1
        fi
        # Somebody who has been here has asked for more time.
        held_until=$(get "$DIR/held")
        case $held_until in
            '' | *[!0-9]*) ;;
            *) confirm_until=$held_until confirm_message="nobody confirmed in the time for which it was held" ;;
        esac
        if passed "$confirm_until"; then
            REASON=not_confirmed MESSAGE=$confirm_message
            return 1
        fi
        nap
    done
}

commit() {
    if ! may_commit; then
        roll_back "$REASON" "$MESSAGE"
        return
    fi
    if ! set_result commit_begun 1 || ! enter_phase committing; then
        roll_back state_unwritable "the state directory $STATE takes no more writes"
        return
    fi
    announce_deploy
    durable
    OUTCOME=0
    if [ -n "$(request commit)" ]; then
        run_program_when_free "$(request timeout_activation)" "$(request commit)"
    fi
    if [ "$OUTCOME" = timeout ]; then
        roll_back commit_timeout "the commit did not end within $(request timeout_activation) s"
        return
    fi
    set_result commit_exit_code "$OUTCOME"
    if [ "$OUTCOME" != 0 ]; then
        roll_back commit_failed "the commit failed with exit code $OUTCOME"
    elif [ "$(resolved "$PROFILE")" != "$TOPLEVEL" ]; then
        roll_back commit_failed "the commit did not set the profile $PROFILE"
    else
        record_deploy
        remember_secrets
        durable
        end_activation committed
    fi
}

# --- the end -----------------------------------------------------------------------------------------------------

end_activation() {
    if [ "$1" != failed ]; then remove_gc_roots; fi
    # What only runs, and has neither the profile nor a link of its own, is nobody else's to keep.
    if [ "$1" = committed ] && [ "$(request action):$(request current)" = test:profile ]; then add_gc_root new "$TOPLEVEL"; fi
    if [ "$1" = committed ]; then forget_failed; fi
    enter_phase "$1"
    rm -f "$DIR/room" "$DIR/child" "$DIR"/exit.*
    if [ "$1" != failed ] && [ -d "$STATE/secrets" ]; then prune_sets; fi
    release_lock
    remove_boot_unit
    disarm_dead_man
}

# The old system runs again, but that may not have brought the network back: then the boot default may.
reboot_if_unreachable() {
    if ! wanted reboot_if_unreachable || [ "$(phase)" = committed ] || [ -n "$(result rebooted)" ]; then return 0; fi
    if [ -n "$(result other_system)" ]; then return 0; fi
    alone_since=$(now)
    alone_until=$(in_seconds "$(request timeout_confirm)")
    while ! passed "$alone_until"; do
        last_contact=$(get "$STATE/contact")
        if [ "${last_contact:-0}" -ge "$alone_since" ]; then return 0; fi
        nap
    done
    note "nobody got in within $(request timeout_confirm) s after the roll back: rebooting"
    set_result rebooted 1
    durable
    "$NIXFERRY_SH" -c "$(request reboot_command)" >>"$DIR/log" 2>&1
}

# --- after a kill or a power cut ---------------------------------------------------------------------------------

# The worker is gone but the host did not go down: undo, whatever it was about to do.
rescue_activation() {
    kill_program
    load_variables
    roll_back "$1" "$2"
}

# Finish or undo what an activation of an earlier boot began. Only what is ours is undone: since then somebody may
# have deployed by other means.
recover_activation() {
    if has_rebooted; then
        resume_activation
        return
    fi
    if [ "$(get "$DIR/boot")" = "$(boot_identity)" ]; then
        rescue_activation guard_killed "the guard was killed in the phase $(phase)"
        return
    fi
    load_variables
    if [ -z "$TOPLEVEL" ] || [ -z "$PROFILE" ]; then
        # The record reaches the disk before anything is activated: this one never got that far.
        set_result reason interrupted
        set_result message "the host went down before its record was complete"
        end_activation rolled-back
        return
    fi
    recovered_phase=$(phase)
    recovered_current=$(current_system "$(request current)" "$PROFILE")
    case $recovered_current in "$SYSTEM" | "$TOPLEVEL") new_runs=1 ;; *) new_runs='' ;; esac
    profile_now=$(resolved "$PROFILE")
    if [ "$recovered_phase" = committing ] && [ -n "$new_runs" ] && [ "$profile_now" = "$TOPLEVEL" ]; then
        note "the host went down during the commit and came back with the new system: the commit is finished now"
        commit
        return
    fi
    if wanted has_boot_default; then
        # The boot has activated the boot default, which is the new system only if the commit had begun.
        if [ -z "$new_runs" ] || [ -z "$(result commit_begun)" ]; then set_result activation_begun ''; fi
    else
        case $profile_now in "$TOPLEVEL" | "$OLD_TOPLEVEL") ;; *) set_result activation_begun '' ;; esac
    fi
    roll_back interrupted "the host went down in the phase ${recovered_phase:-prepared}"
}
