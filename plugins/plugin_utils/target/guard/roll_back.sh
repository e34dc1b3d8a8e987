# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Restore the exact state from before the activation, whatever the new system has done meanwhile.

RESTORE_TRIES=3     # runs of a program that restores the old state, before it counts as failed
RESTORE_PAUSE=2     # seconds between two of them

# roll_back REASON MESSAGE: restore exactly the old pair: first the system that boots, then the one that runs
roll_back() {
    set_result reason "$1"
    set_result message "$2"
    ROLLED_BACK=rolled-back
    recognise_waiting
    find_other_system
    if keeps_running && [ -z "$(result commit_begun)" ]; then
        if [ -n "$(result boot_prepared)" ]; then restore_what_boots; fi
        leave_running
        end_activation failed
        return
    fi
    enter_phase rolling-back ||
        add_message "the state directory $STATE takes no files: the record of this deploy lies in main memory"
    forget_announced_deploy
    restore_what_boots
    if ! keeps_running; then place_old_secrets; fi
    if new_was_booted && ! keeps_running && [ -z "$(result other_system)" ]; then reboot_back; fi
    restore_running_system
    if ! keeps_running; then tell_old_units; fi
    durable
    end_activation "$ROLLED_BACK"
}

restore_what_boots() {
    if [ -n "$(result boot_prepared)" ]; then forget_boot_once >>"$(log_place)" 2>&1; fi
    restore_profile
    restore_boot_default
}

# True if `rollback: false` keeps the new system running (never after a power cut).
keeps_running() {
    [ -n "$(result activation_begun)" ] && [ -z "$(result nothing_activated)$(result other_system)" ] &&
        ! wanted roll_back_on_failure && case $(result reason) in interrupted | boot_failed) false ;; esac
}

leave_running() {
    set_result left_running 1
    incomplete "it was not rolled back, as requested (rollback: false)"
    if [ "$(resolved "$PROFILE")" = "$TOPLEVEL" ]; then incomplete "the profile $PROFILE points to the new system"; fi
}

# Point the profile link at exactly the old generation again, and remove the generation that the guard made.
restore_profile() {
    if is_unknown "$PROFILE" || is_unknown "$PROFILE/"; then
        incomplete "the profile $PROFILE cannot be read: $UNKNOWN"
        return 0
    fi
    profile_link=$(link_of "$PROFILE")
    if [ "$profile_link" = "$(old profile_link)" ]; then
        make_sure_of_old_generation
        return 0
    fi
    # The programs of some kinds set the profile themselves, to their own system.
    case $(resolved "$PROFILE") in
        "$TOPLEVEL" | "$SYSTEM" | "$(resolved "$TOPLEVEL")") profile_is_ours=1 ;;
        *) profile_is_ours='' ;;
    esac
    if [ -z "$profile_is_ours" ]; then
        add_message "a third party has changed the profile $PROFILE, which is left alone"
        return 0
    fi
    restore_old_generation
    new_generation=$(generation_of "$PROFILE")
    if [ -z "$(old profile_link)" ]; then
        rm -f "$PROFILE"
    elif [ -z "$(old generation)" ] ||
        ! nix-env -p "$PROFILE" --switch-generation "$(old generation)" >>"$(log_place)" 2>&1; then
        ln -sfn "$(old profile_link)" "$PROFILE"
    fi
    if [ "$(link_of "$PROFILE")" != "$(old profile_link)" ] || [ "$(resolved "$PROFILE")" != "$OLD_TOPLEVEL" ]; then
        incomplete "the profile $PROFILE could not be put back to $(old profile_link)"
    elif [ -n "$new_generation" ] && [ "$new_generation" -gt "$(old last_generation)" ]; then
        rm -f "$PROFILE-$new_generation-link"
    fi
}

# While the new system waits, a garbage collection with `-d` may remove the old generation's link: it keeps only the one
# that the profile points to. Without its link the old system could not boot, and the next collection would delete it.
restore_old_generation() {
    if [ -z "$(old generation)" ] || [ -z "$OLD_TOPLEVEL" ]; then return 0; fi
    old_generation_link=$(old profile_link)
    case $old_generation_link in /*) ;; *) old_generation_link=${PROFILE%/*}/$old_generation_link ;; esac
    if [ -e "$old_generation_link" ]; then return 0; fi
    if ln -sfn "$OLD_TOPLEVEL" "$old_generation_link"; then
        note "the generation $(old generation) was removed during the deploy; it was restored"
    fi
}

# The profile link is the old one: it was never changed, or was restored before. Restore what it points to.
make_sure_of_old_generation() {
    if [ -z "$(old profile_link)" ] || [ "$(resolved "$PROFILE")" = "$OLD_TOPLEVEL" ]; then return 0; fi
    restore_old_generation
    if [ "$(resolved "$PROFILE")" != "$OLD_TOPLEVEL" ]; then
        incomplete "the profile $PROFILE does not point to $OLD_TOPLEVEL any more"
    fi
}

restore_boot_default() {
    if [ -z "$(result commit_begun)$(result boot_prepared)" ] || ! kind_has restore_boot_default; then return 0; fi
    if [ -z "$OLD_TOPLEVEL" ] && [ -n "$KIND_HAS_BOOT_DEFAULT" ]; then
        incomplete "the boot default could not be restored: no old generation exists"
        return 0
    fi
    # A later generation of a third party stays in the boot menu.
    if [ "$(resolved "$PROFILE")" != "$OLD_TOPLEVEL" ]; then return 0; fi
    prepare_boot_places
    restore_with restore_boot_default boot_default_problem
    write_later
    if [ -n "$RESTORE_PROBLEM" ]; then incomplete "$RESTORE_PROBLEM$(named_lock)"; fi
}

boot_default_problem() {
    if [ "$OUTCOME" != 0 ]; then echo "the old boot default could not be restored (exit code $OUTCOME)"; fi
}

# restore_with FUNCTION PROBLEM: run the program again as long as the function PROBLEM prints why that is due. The failure
# may pass: a service manager that restarts itself drops its callers, a disk is full for a moment. Set RESTORE_PROBLEM to
# what remains. All tries together have `timeout_roll_back`.
restore_with() {
    find_limit timeout_roll_back
    in_seconds "$LIMIT"
    restore_until=$MOMENT
    restore_try=1
    while :; do
        seconds_until "$restore_until"
        run_program_when_free "$TIME_LEFT" "$1"
        RESTORE_PROBLEM=$("$2")
        seconds_until "$restore_until"
        if [ -z "$RESTORE_PROBLEM" ] || [ "$restore_try" -ge "$RESTORE_TRIES" ] || was_locked_out ||
            [ "$TIME_LEFT" -le $((RESTORE_PAUSE + SHORTEST_TRY)) ]; then return; fi
        note "$RESTORE_PROBLEM: trying again (try $restore_try of $RESTORE_TRIES)"
        pause "$RESTORE_PAUSE"
        # A third party's system stays.
        if is_other_system; then return; fi
        restore_try=$((restore_try + 1))
    done
}

restore_running_system() {
    find_other_system
    if [ -n "$(result other_system)" ]; then
        leave_other_system
        return 0
    fi
    if [ -z "$(result activation_begun)" ] || [ -n "$(result nothing_activated)" ]; then return 0; fi
    if keeps_running; then
        leave_running
        return 0
    fi
    if ! kind_has roll_back; then return 0; fi
    if [ -z "$OLD_SYSTEM" ]; then
        remove_first_system
        return 0
    fi
    forget_failures
    if has_never_begun; then never_begun=1; else never_begun=''; fi
    restore_with roll_back roll_back_problem
    # systemd still remembers failed units that the old system does not have.
    forget_failures
    find_other_system
    if [ -n "$(result other_system)" ]; then
        leave_other_system
        return 0
    fi
    if [ -n "$never_begun" ] && { was_locked_out || { [ "$OUTCOME" = timeout ] && lock_is_held; }; }; then
        add_message "nothing had been activated, and another activation holds the lock $KIND_LOCK"
        return 0
    fi
    if [ "$OUTCOME" != timeout ]; then set_result roll_back_exit_code "$OUTCOME"; fi
    if [ -n "$RESTORE_PROBLEM" ]; then
        incomplete "$RESTORE_PROBLEM$(named_lock)"
    elif [ "$OUTCOME" != 0 ]; then
        note "exit code $OUTCOME of the roll back; failed units: $(listed "$(failed_units || echo unknown)")"
    fi
}

# Print why the old system does not count as restored. Neither the exit code nor what runs proves it alone.
roll_back_problem() {
    case $OUTCOME in
        timeout) echo "the old system's activation did not end within $(request timeout_roll_back) s" ;;
        0 | "$KIND_EXIT_FAILED_UNITS")
            if [ "$OUTCOME" != 0 ] && was_cut_short; then
                echo "the old system's activation ended half-way with exit code $OUTCOME"
            elif [ "$(running_system)" != "$OLD_SYSTEM" ]; then
                echo "after the roll back $(running_system) is running, not $OLD_SYSTEM"
            fi
            ;;
        *) echo "the old system's activation failed with exit code $OUTCOME" ;;
    esac
}

leave_other_system() {
    incomplete "$(result other_system) runs, which is neither the old nor the new system: a third party has switched to it, and it is left alone"
}

# Name the lock in the message if a program has been waiting for it.
named_lock() { if lock_is_held; then echo ": another activation holds the lock $KIND_LOCK"; fi; }

# The host had no system of this kind before: remove the new one.
remove_first_system() {
    if ! kind_has deactivate; then
        incomplete "there was no old system to go back to: the changes of the activation remain${KIND_REMAINS:+ ($KIND_REMAINS)}"
        return
    fi
    restore_with deactivate removal_problem
    forget_failures
    if [ -n "$RESTORE_PROBLEM" ]; then incomplete "$RESTORE_PROBLEM"; else
        note "there was no old system to go back to: the changes of the activation were removed"
    fi
}

removal_problem() {
    case $OUTCOME in
        0) ;;
        timeout) echo "there was no old system, and removing the new one did not end within $(request timeout_roll_back) s" ;;
        *) echo "there was no old system, and removing the new one failed with exit code $OUTCOME" ;;
    esac
}

# systemd does not start units again that have failed too often, not even for the old system. Reset them.
forget_failures() {
    if [ -z "$(result failed_units)" ] || ! has_units; then return 0; fi
    # shellcheck disable=SC2046 # names of units
    bounded "$UNITS_DEADLINE" systemctl "$MANAGER_SCOPE" reset-failed -- $(result failed_units) 2>/dev/null
}
