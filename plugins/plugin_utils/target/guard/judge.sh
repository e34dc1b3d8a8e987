# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Judge an activation by its exit code and by the units that it started.

# Set NEW_FAILED to the units that have failed since the activation began, and record them for the status.
compare_failed_units() {
    NEW_FAILED=$(failed_units | while IFS= read -r now_failed; do
        if ! grep -qxF -e "$now_failed" "$DIR/old/failed_units"; then echo "$now_failed"; fi
    done)
    for flapping_unit in ${FLAPPING:-}; do
        names_unit "$NEW_FAILED" "$flapping_unit" || NEW_FAILED="$NEW_FAILED
$flapping_unit"
    done
    set_result failed_units "$NEW_FAILED"
}

# judge_units EXIT_CODE: fail if units that have failed are a reason to roll back
judge_units() {
    compare_failed_units
    if [ -z "$NEW_FAILED" ]; then
        if [ "$1" != 0 ]; then note "exit code $1, but no unit failed that had not failed before"; fi
        return 0
    fi
    if [ "$(request failed_units)" = ignore ]; then
        note "failed units are ignored as asked: $(listed "$NEW_FAILED")"
        return 0
    fi
    return 1
}

# --- wait for started services --------------------------------------------------------------------------------------

SETTLE_LOOK=3       # seconds without a restart after which the started services count as running
SETTLE_DEADLINE=15  # seconds after which services that still start or restart are judged as they are

# The first word of each line of FILE that is not in OTHER. Starts no program for each line: there may be many.
changed_since() { # FILE OTHER
    changed_from="
$(cat "$2")
"
    while IFS= read -r changed_line; do
        case $changed_from in *"
$changed_line
"*) ;; *) echo "${changed_line%% *}" ;; esac
    done <"$1"
}

# Those of NEW_FAILED that systemd will not start again by itself
only_failed() {
    ask_units list-units --state=failed --plain --no-legend --no-pager --full | while read -r only_failed_unit _; do
        if names_unit "$NEW_FAILED" "$only_failed_unit"; then echo "$only_failed_unit"; fi
    done
}

# names_unit LINES UNIT: is UNIT one of the LINES?
names_unit() { case " $(listed "$1") " in *" $2 "*) ;; *) false ;; esac; }

# Wait until the services that the activation started run or have failed. Set FLAPPING to those that systemd still
# restarts at the deadline: they may run whenever the guard looks.
settle_units() {
    FLAPPING=''
    services_by InvocationID >"$DIR/services_now"
    # Each start has its own id. Without a new id no service was started.
    started_services=$(changed_since "$DIR/services_now" "$DIR/old/services")
    rm -f "$DIR/services_now"
    if [ -z "$started_services" ] && [ -z "$(restless_units)" ]; then return 0; fi
    settle_until=$(in_seconds "$SETTLE_DEADLINE")
    quiet_until=$(in_seconds "$SETTLE_LOOK")
    services_by NRestarts >"$DIR/restarts"
    begin_waiting
    until passed "$settle_until"; do
        compare_failed_units
        # Stop at a final failure only: a unit that waits for its next attempt may still succeed.
        if [ -n "$(only_failed)" ]; then break; fi
        restless=$(restless_units)
        if [ -n "$restless" ]; then
            quiet_until=$(in_seconds "$SETTLE_LOOK")
        elif passed "$quiet_until"; then
            services_by NRestarts >"$DIR/restarts_now"
            FLAPPING=$(changed_since "$DIR/restarts_now" "$DIR/restarts")
            mv -f "$DIR/restarts_now" "$DIR/restarts"
            if [ -z "$FLAPPING" ]; then break; fi
            quiet_until=$(in_seconds "$SETTLE_LOOK")
        fi
        if is_there "$DIR/abort"; then break; fi
        nap
    done
    if [ -n "${restless:-}" ]; then note "still starting or stopping after the activation: $(listed "$restless")"; fi
    rm -f "$DIR/restarts"
}

# --- the verdict ----------------------------------------------------------------------------------------------------

abort_message() {
    abort_reason=$(get "$DIR/abort")
    echo "aborted${abort_reason:+: $abort_reason}"
}

lock_message() {
    if [ -n "$(other_system)" ]; then
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
    elif [ -n "$(other_system)" ]; then
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
            if [ -z "$KIND_CHECK_UNITS" ]; then return 0; fi
            settle_units
            if judge_units 0; then return 0; fi
            REASON=failed_units MESSAGE="units failed: $(listed "$NEW_FAILED")"
            ;;
        "$KIND_EXIT_FAILED_UNITS")
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
