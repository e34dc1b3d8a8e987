# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Wait for the confirmation, then commit.

# Fails with REASON and MESSAGE.
# shellcheck disable=SC2034 # the caller reads REASON and MESSAGE
await_confirmation() {
    find_limit timeout_confirm
    in_seconds "$LIMIT"
    confirm_until=$MOMENT
    if ! put "$DIR/deadline" "$confirm_until" || ! enter_phase awaiting-confirmation; then
        REASON=state_unwritable MESSAGE="cannot write to the state directory $STATE"
        return 1
    fi
    confirm_message="no confirmation came within $LIMIT s"
    begin_settling
    begin_waiting
    watch_until_confirmed
    awaited_code=$?
    end_rest
    return "$awaited_code"
}

# shellcheck disable=SC2034,SC2154 # the caller reads REASON and MESSAGE; settle.sh sets next_look
watch_until_confirmed() {
    until is_there "$DIR/confirm" && [ -z "$SETTLING" ]; do
        if is_there "$DIR/abort"; then
            REASON=aborted MESSAGE=$(abort_message)
            return 1
        fi
        if ! settle; then
            REASON=failed_units MESSAGE=$(units_message "units failed after the activation")
            return 1
        fi
        # The controller may have asked for more time (verb_hold).
        recall held
        if is_number "$TEXT"; then confirm_until=$TEXT confirm_message="the hold ended without a confirmation"; fi
        answer_until=$confirm_until
        if is_there "$DIR/confirm"; then
            if [ -z "$SETTLING" ]; then return 0; fi
            answer_until=$next_look
        elif passed "$confirm_until"; then
            REASON=not_confirmed MESSAGE=$confirm_message
            return 1
        elif [ -n "$SETTLING" ] && [ "$next_look" -lt "$confirm_until" ]; then
            answer_until=$next_look
        fi
        rest worker "$answer_until"
    done
}

# Only the flush tells whether the record has reached the disk.
begin_commit() {
    save_result commit_begun 1 && enter_phase committing || return
    announce_deploy
    durable
}

commit() {
    if ! may_commit; then
        roll_back "$REASON" "$MESSAGE"
        return
    fi
    if ! begin_commit; then
        roll_back state_unwritable "cannot write to the state directory $STATE"
        return
    fi
    OUTCOME=0
    if kind_has commit; then
        find_limit timeout_activation
        prepare_boot_places
        run_program_when_free "$LIMIT" commit
        write_later
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
        if ! is_all_durable; then
            on_disk "$STATE"
            if ! is_system_durable; then
                roll_back commit_failed "the disk did not take the commit: its I/O fails"
                return
            fi
        fi
        end_activation committed
    fi
}
