# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Judge an activation by its exit code and by the units that it started.

# shellcheck disable=SC2034 # guard/settle.sh reads UNITS_FRESH
# judge_units EXIT_CODE: fail if units that have failed are a reason to roll back
judge_units() {
    UNITS_PROBLEM=
    if ! find_units; then
        UNITS_PROBLEM=$UNITS_SILENT
        if ! asked_for failed_units ignore; then return 1; fi
        note "ignored as asked: $UNITS_PROBLEM"
        return 0
    fi
    UNITS_FRESH=1
    compare_failed_units
    if [ "$1" = 0 ] && [ -n "$NEW_FAILED" ] && watches_services; then leave_failed_for_good; fi
    set_result failed_units "$NEW_FAILED"
    note_ignored
    if [ -z "$NEW_FAILED" ]; then
        if [ "$1" != 0 ] && [ -z "$NEW_IGNORED" ]; then
            note "exit code $1, but no unit failed that had not failed before"
        fi
        return 0
    fi
    if asked_for failed_units ignore; then
        note "failed units are ignored as asked: $(listed "$NEW_FAILED")"
        return 0
    fi
    return 1
}

# --- the verdict ----------------------------------------------------------------------------------------------------

abort_message() {
    abort_reason=$(get "$DIR/abort")
    echo "aborted${abort_reason:+: $abort_reason}"
}

lock_message() {
    if is_other_system; then
        echo "another activation was running, and has switched the host"
    else
        echo "another activation was running for all of $(request timeout_activation) s: it holds the lock $KIND_LOCK"
    fi
}

# judge_refusal REASON MESSAGE: the program says that it activated nothing. Believe it only if the host looks untouched.
judge_refusal() {
    if looks_untouched; then
        set_result nothing_activated 1
        REASON=$1 MESSAGE=$2
    elif is_other_system; then
        REASON=$1 MESSAGE=$2
    elif [ "$(running_system)" != "$OLD_SYSTEM" ]; then
        MESSAGE="$MESSAGE half-way: $(running_system) runs"
    else
        MESSAGE="$MESSAGE half-way: $(listed "$(stopped_services)") stopped, or the profile was changed"
    fi
}

# Fail if the activation has to be rolled back, with the cause in REASON and MESSAGE.
# shellcheck disable=SC2034 # the caller reads REASON and MESSAGE
judge_activation() {
    case $OUTCOME in timeout | aborted) ;; *) set_result exit_code "$OUTCOME" ;; esac
    case $OUTCOME in
        0)
            if [ -z "$KIND_CHECK_UNITS" ] || judge_units 0; then return 0; fi
            REASON=failed_units MESSAGE=$(units_message "units failed")
            ;;
        "$KIND_EXIT_FAILED_UNITS")
            if was_cut_short; then
                REASON=activation_failed MESSAGE="the activation ended half-way with exit code $OUTCOME"
            elif judge_units "$OUTCOME"; then
                return 0
            else
                REASON=failed_units MESSAGE=$(units_message "units failed (exit code $OUTCOME)")
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
            elif [ "$OUTCOME" = "$KIND_EXIT_REBOOT_REQUIRED" ]; then
                judge_refusal reboot_required "the new system cannot be activated without a reboot (exit code $OUTCOME)"
            # This check runs before the program changes anything. Only its output shows that it failed.
            elif has_said "Pre-switch check 'switchInhibitors' failed"; then
                judge_refusal reboot_required "the new system inhibits a switch while the old one runs (exit code $OUTCOME)"
            fi
            ;;
    esac
    return 1
}
