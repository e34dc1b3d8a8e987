# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The phases of an activation. Below each phase: the function that runs in it, from the kind's driver or the file named.
#
#    prepared ----> activating ----> awaiting-confirmation ----> committing ----> committed
#    verb_start     NAME_activate    await_confirmation          NAME_commit      end_activation
#    start.sh       judge.sh         commit.sh                   commit.sh        end.sh
#                        |  it failed,        |  no confirmation came  |  it failed
#                        |  or units did      |  in time, or abort     |
#                        v                    v                        v
#                   rolling-back   profile, boot default (roll_back.sh), NAME_roll_back ----> rolled-back, or failed
#
# After a kill in any phase the dead-man calls rescue_activation. After a power cut the next boot calls recover_activation.
# With `roll_back_on_failure` off, a failure before the commit ends in `failed` at once instead of `rolling-back`.
# For kinds with a boot default, nothing before `committing` changes what boots.

# Run the activation to its end, in the process that outlives the login.
run_activation() {
    load_activation
    if has_result rebooting; then
        come_back
        return
    fi
    if ! place_new_secrets; then
        roll_back "$REASON" "$MESSAGE"
        return
    fi
    if has_result reboot_planned; then
        activate_by_reboot
        return
    fi
    if ! asked_for action boot; then
        if ! save_result activation_begun 1 || ! enter_phase activating; then
            set_result activation_begun ''
            roll_back state_unwritable "cannot write to the state directory $STATE"
            return
        fi
        find_limit timeout_activation
        run_program_when_free "$LIMIT" activate abortable
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
        if asked_for action test; then
            if ! may_commit; then
                roll_back "$REASON" "$MESSAGE"
                return
            fi
            note "activated as a test: what boots by default is unchanged"
            end_activation committed
            return
        fi
    fi
    commit
}

# --- after a kill or a power cut ------------------------------------------------------------------------------------

# The worker is gone but the host did not go down: roll back, whatever the phase.
rescue_activation() {
    kill_program
    load_activation
    if can_read_record; then roll_back "$1" "$2"; else end_unreadable; fi
}

can_read_record() {
    for needed in request/toplevel request/profile old/system old/toplevel old/profile_link result/commit_begun; do
        if is_unreadable "$DIR/$needed"; then return 1; fi
    done
}

# Nothing tells what the activation was and what it has done. A guess could undo what was committed.
end_unreadable() {
    set_result reason interrupted
    set_result message "the record of the interrupted deploy cannot be read, so nothing was undone: $UNREADABLE"
    end_activation failed
}

# Finish or undo what an activation of an earlier boot began. Only changes of the guard are undone: a third party may
# have switched the host since then.
recover_activation() {
    if has_rebooted; then
        resume_activation
        return
    fi
    if is_this_boot "$(get "$DIR/boot")"; then
        rescue_activation guard_killed "the guard was killed in the phase $(phase)"
        return
    fi
    load_activation
    if ! can_read_record; then
        end_unreadable
        return
    fi
    if [ -z "$TOPLEVEL" ] || [ -z "$PROFILE" ]; then
        # The record reaches the disk before anything is activated. Without a complete one nothing was.
        set_result reason interrupted
        set_result message "the host went down before its record was complete"
        end_activation rolled-back
        return
    fi
    recovered_phase=$(phase)
    recovered_current=$(current_system "$KIND_CURRENT" "$PROFILE")
    case $recovered_current in "$SYSTEM" | "$TOPLEVEL") new_runs=1 ;; *) new_runs='' ;; esac
    profile_now=$(resolved "$PROFILE")
    if [ "$recovered_phase" = committing ] && [ -n "$new_runs" ] && [ "$profile_now" = "$TOPLEVEL" ]; then
        note "the host went down during the commit and came back with the new system: the commit is finished now"
        commit
        return
    fi
    if [ -n "$KIND_HAS_BOOT_DEFAULT" ]; then
        # The boot has activated the boot default. That is the new system only if the commit had begun.
        if [ -z "$new_runs" ] || [ -z "$(result commit_begun)" ]; then set_result activation_begun ''; fi
    else
        case $profile_now in "$TOPLEVEL" | "$OLD_TOPLEVEL") ;; *) set_result activation_begun '' ;; esac
    fi
    roll_back interrupted "the host went down in the phase ${recovered_phase:-prepared}"
}
