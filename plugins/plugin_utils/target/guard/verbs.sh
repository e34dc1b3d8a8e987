# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The verbs: requests of the controller, and arguments of the detached processes.

# Load the activation that a verb is about, and record the contact for reboot_if_unreachable.
use_named_activation() {
    find_arg id
    use_activation "$ARG"
    if ! is_there "$DIR/phase"; then error no_activation "this host knows no activation $ID"; fi
    read_clock
    keep "$STATE/contact" "$CLOCK"
    save_unsaved 2>/dev/null
}

# wait_while SECONDS PHASE...: until the phase is another one, or no process works on it any more
wait_while() {
    in_seconds "${1:-0}"
    wait_until=$MOMENT
    begin_waiting
    shift
    while ! passed "$wait_until"; do
        find_phase
        case " $* " in *" $PHASE "*) ;; *) break ;; esac
        if ! is_attended; then break; fi
        rest request "$wait_until"
    done
    end_rest
}

# --- verbs -------------------------------------------------------------------------------------------------------

verb_status() {
    use_named_activation
    find_arg wait_while
    status_while=$ARG
    find_arg seconds
    # shellcheck disable=SC2086 # phases are words
    wait_while "$ARG" $status_while
    say_status
    answer_ends
}

verb_confirm() {
    use_named_activation
    find_phase
    case $PHASE in
        awaiting-confirmation)
            keep "$DIR/confirm" '' || error state_unwritable "cannot write to $DIR"
            wake worker
            ;;
        *)
            # After a lost connection the controller may confirm once more.
            if ! is_there "$DIR/confirm"; then error not_awaiting "the activation is $PHASE: $(result message)"; fi
            ;;
    esac
    find_arg seconds
    wait_while "$ARG" awaiting-confirmation committing rolling-back
    say_status
    answer_ends
}

verb_abort() {
    use_named_activation
    find_phase
    case $PHASE in
        committing | committed) error too_late "the activation is $PHASE" ;;
        prepared | activating | awaiting-confirmation)
            keep "$DIR/abort" "$(arg reason)" || error state_unwritable "cannot write to $DIR"
            wake worker
            ;;
    esac
    find_arg seconds
    wait_while "$ARG" prepared activating awaiting-confirmation committing rolling-back
    say_status
    answer_ends
}

# More time to confirm, for a controller that waits for other hosts. The dead-man's deadline moves first.
verb_hold() {
    use_named_activation
    if ! is_in_phase awaiting-confirmation; then error not_awaiting "the activation is $(phase): $(result message)"; fi
    find_arg seconds
    in_seconds "${ARG:-0}"
    hold_until=$MOMENT
    if ! { keep "$DIR/dead_man" "$(($(get "$DIR/dead_man") + hold_until - $(get "$DIR/deadline")))" &&
        keep "$DIR/held" "$hold_until" && keep "$DIR/deadline" "$hold_until"; }; then
        error state_unwritable "cannot write to $DIR"
    fi
    await_settled
    say_status
    answer_ends
}

# All hosts of a transaction have to know whether the services stay up before one of them is confirmed.
await_settled() {
    find_settle_time
    in_seconds "$LONGEST_SETTLING"
    settled_until=$MOMENT
    begin_waiting
    until is_there "$DIR/settled" || ! is_in_phase awaiting-confirmation || passed "$settled_until"; do
        rest request "$settled_until"
    done
    end_rest
}

verb_recover() {
    use_named_activation
    if has_rebooted; then
        resume_activation
    elif ! is_final "$(phase)"; then
        take_lock "$(request deployer)" anyway
        # If the claim fails, another process works on it already.
        if claim_unfinished; then recover_activation; fi
    fi
    say_status
    answer_ends
}

# --- detached processes, called as `sh <activation>/guard.sh VERB`, or by the copy of it --------------------------

verb_run() {
    if claim_unfinished; then
        # The request that has started this process waits for its report.
        wake request
        run_activation
        reboot_if_unreachable
    fi
}

# Roll back if the guard is gone. Called by its unit when it stops, and regularly by the dead-man.
verb_rescue() {
    recall boot
    if ! is_this_boot "$TEXT" || has_ended; then
        disarm_dead_man
        return
    fi
    # A host that shuts down boots the old boot default next. Activating now would only disturb the shutdown.
    if has_service_manager && [ "$(bounded 30 systemctl "$MANAGER_SCOPE" is-system-running)" = stopping ]; then return; fi
    # On a busy host the dead-man may look before the guard has reported. The guard has as long as `start` waits for it.
    recall reports_by
    if ! is_there "$DIR/worker" && ! passed "${TEXT:-0}"; then return; fi
    # Look twice: two guards at work at the same time would be worst.
    if worker_lives || { pause 1 && worker_lives; }; then
        recall dead_man
        if ! passed "$TEXT"; then return; fi
        kill -KILL "$OWNER_PID"
        nap
    fi
    if claim_unfinished; then
        rescue_activation guard_killed "the guard was killed in the phase $(phase)"
        reboot_if_unreachable
    fi
}

# Called when the guard's unit stops, for any reason. The rescue gets its own unit: this one counts as a job of the
# service manager until it returns, and some programs wait until no job is left.
verb_stopped() {
    if has_ended; then return; fi
    find_text "$DIR/guard.sh"
    run_unit "nixferry-$ID-rescue" "$NIXFERRY_SH" "$FOUND" rescue || verb_rescue
}

# Called at a boot before the activation has ended. A later deploy may have recovered it already.
verb_boot() {
    if has_rebooted && ! is_final "$(phase)"; then
        resume_activation
        return
    fi
    if is_final "$(phase)" || is_this_boot "$(get "$DIR/boot")"; then return; fi
    if (take_lock "$(request deployer)" anyway) && claim_unfinished; then recover_activation; fi
    # The unit must not show up as failed.
    return 0
}

# Called by `start` of another version, which holds the lock and found this activation interrupted.
verb_undo() { if claim_unfinished; then recover_activation; fi; }

# The dead-man on hosts without a service manager. It ends when an administrator deletes the record.
verb_watch() {
    until is_there "$DIR/worker" || is_deleted "$DIR" || passed "$(get "$DIR/dead_man")"; do nap; done
    until has_ended || is_deleted "$DIR"; do
        verb_rescue
        pause 1
    done
}

# --- entry point ---------------------------------------------------------------------------------------------------

main() {
    case ${1:-} in
        run | rescue | stopped | watch | boot | undo)
            use_own_activation
            exec 3>/dev/null
            make_memory_place
            "verb_$1"
            # The unit must not count as failed because the last file to remove was missing.
            exit 0
            ;;
        answer)
            # Nothing but the answer goes to standard output.
            exec 3>&1 1>&2
            use_state "$(state_directory)"
            use_memory_place
            answer_begins
            read_request
            # shellcheck disable=SC2034 # guard/place.sh reads it
            if [ -z "${NIXFERRY_PROGRAM:-}" ]; then PROGRAM=$0; fi
            if [ -n "$INSTALLED_VERSION" ]; then
                judge_version
                refuse_reach
            fi
            judge_request
            if [ -n "$INSTALLED_VERSION" ]; then restrict_request; fi
            "verb_$VERB"
            ;;
        *)
            echo "nixferry guard: called with \`${1:-}\` instead of \`answer\` and a request on standard input" >&2
            exit 2
            ;;
    esac
}

main "$@"
