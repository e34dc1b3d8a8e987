# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Activate by a reboot: boot the new system once, then judge it when the host is back.

# Reboot after all: the new system's program refused, activated nothing, and asks for a reboot that was not predicted.
reboot_instead() {
    if [ "$REASON" != reboot_required ] || [ "$(request reboot)" = never ] || [ -z "$(request reboot)" ]; then return 1; fi
    hindrance=$(reboot_problem)
    if [ -z "$hindrance" ] && hindrance=$(install_reboot_unit); then
        note "$MESSAGE: rebooting into it instead"
        set_result reboot_planned 1
        set_result activation_begun ''
        set_result nothing_activated ''
        return 0
    fi
    MESSAGE="$MESSAGE; the host cannot reboot inside the deploy: $hindrance"
    return 1
}

activate_by_reboot() {
    if ! enter_phase activating || ! save_result boot_prepared 1 || ! durable; then
        roll_back state_unwritable "cannot write to the state directory $STATE"
        return
    fi
    find_limit timeout_activation
    prepare_boot_places
    run_program_when_free "$LIMIT" prepare_boot abortable
    write_later
    if ! judge_preparation || ! mark_entry; then
        roll_back "$REASON" "$MESSAGE"
        return
    fi
    await_answer
    note "rebooting into the new system, for one boot"
    if ! reboot_now; then
        forget_reboot
        roll_back reboot_failed "the host did not go down for the reboot within $(request timeout_reboot) s"
    fi
}

# The controller that started the activation gets its answer before the connection goes away.
await_answer() {
    in_seconds "$START_DEADLINE"
    answered_until=$MOMENT
    begin_waiting
    while owner_lives "$LOCKS/lock" && [ "$OWNER_PID" != "$$" ] && ! passed "$answered_until"; do nap; done
}

judge_preparation() {
    case $OUTCOME in
        0) return 0 ;;
        aborted) REASON=aborted MESSAGE=$(abort_message) ;;
        timeout)
            REASON=boot_not_prepared
            MESSAGE="the boot entry of the new system was not written within $(request timeout_activation) s"
            ;;
        *) REASON=boot_not_prepared MESSAGE="the boot entry of the new system was not written (exit code $OUTCOME)" ;;
    esac
    return 1
}

mark_entry() {
    if is_there "$DIR/abort"; then
        REASON=aborted MESSAGE=$(abort_message)
        return 1
    fi
    REASON=boot_not_prepared
    default_system=$(boot_default)
    case $default_system in
        '') MESSAGE="the boot default could not be determined" ;;
        "$OLD_TOPLEVEL" | "$OLD_SYSTEM" | "$OLD_BOOT_DEFAULT") MESSAGE='' ;;
        *) MESSAGE="the boot default would be $default_system and not the old system" ;;
    esac
    if [ -n "$MESSAGE" ]; then return 1; fi
    new_entry=$(boot_entry "$SYSTEM")
    if [ -z "$new_entry" ]; then
        MESSAGE="the boot loader has no entry for $SYSTEM"
        return 1
    fi
    # From here on the next boot may start the new system.
    if ! save_result rebooting forth || ! durable; then
        forget_reboot
        REASON=state_unwritable MESSAGE="cannot write to the state directory $STATE"
        return 1
    fi
    if ! boot_once "$new_entry" >>"$(log_place)" 2>&1; then
        forget_reboot
        MESSAGE="the boot loader cannot be told to boot the entry $new_entry once"
        return 1
    fi
}

# --- the host is back -----------------------------------------------------------------------------------------------

# Resume after a reboot. Called by the boot unit, the controller or the next deploy; the first caller wins. A deploy then
# finds the host locked.
resume_activation() {
    claim "$DIR/resumer" owner_lives
    # A full disk (exit code 2) must not prevent it.
    if [ $? -eq 1 ] || ! has_rebooted; then return 0; fi
    mkdir -p "$LOCKS"
    if claim "$LOCKS/lock" lock_held_by_another; then put_once "$LOCKS/deployer" "$(request deployer)"; fi
    drop "$DIR/worker"
    drop "$DIR/child"
    find_longest_duration
    in_seconds "$LONGEST_DURATION"
    keep "$DIR/dead_man" "$MOMENT"
    in_seconds "$START_DEADLINE"
    keep "$DIR/reports_by" "$MOMENT"
    find_boot_identity
    keep "$DIR/boot" "$BOOT_IDENTITY"
    copy_record
    if ! begin_work >>"$(log_place)" 2>&1; then begin_work_alone; fi
    await_worker || note "the guard did not report after the reboot"
}

resume_rebooted() {
    for rebooted_id in $(interrupted_activations); do
        (
            use_activation "$rebooted_id"
            if has_rebooted; then resume_activation; fi
        )
    done
}

# The first step of the guard after a reboot
come_back() {
    came_from=$(result rebooting)
    forget_boot_once >>"$(log_place)" 2>&1
    set_result rebooted 1
    booted_now=$(resolved "$ROOT$KIND_BOOTED")
    note "the host has rebooted and came back with $booted_now"
    forget_reboot
    if [ "$came_from" = back ]; then
        end_roll_back
    elif [ "$booted_now" != "$SYSTEM" ]; then
        case $booted_now in
            "$OLD_TOPLEVEL" | "$OLD_SYSTEM")
                MESSAGE="the host came back with the old system by itself: the new one crashed, did not come up, or was reset"
                if [ "$(current_system "$KIND_CURRENT" "$PROFILE")" != "$OLD_SYSTEM" ]; then
                    set_result activation_begun 1
                fi
                ;;
            *) MESSAGE="the host came back with $booted_now, neither the new nor the old system" ;;
        esac
        roll_back boot_failed "$MESSAGE"
    else
        set_result activation_begun 1
        if ! await_end_of_boot || ! judge_units_after_boot || ! give_new_secrets || ! await_confirmation; then
            roll_back "$REASON" "$MESSAGE"
        else
            commit
        fi
    fi
}

await_end_of_boot() {
    find_limit timeout_activation
    in_seconds "$LIMIT"
    boot_until=$MOMENT
    begin_waiting
    while has_service_manager; do
        # No word at all, or an unexpected one, is not a proof.
        case $(bounded 30 systemctl is-system-running 2>/dev/null) in
            running | degraded) return 0 ;;
            maintenance)
                REASON=boot_failed MESSAGE="the new system came up in maintenance mode"
                return 1
                ;;
        esac
        if is_there "$DIR/abort"; then
            REASON=aborted MESSAGE=$(abort_message)
            return 1
        fi
        if passed "$boot_until"; then
            REASON=activation_timeout
            MESSAGE="the new system had not finished booting after $(request timeout_activation) s"
            return 1
        fi
        nap
    done
}

judge_units_after_boot() {
    if judge_units 0; then return 0; fi
    REASON=failed_units MESSAGE=$(units_message "units failed in the new system")
    return 1
}

end_roll_back() {
    ROLLED_BACK=rolled-back
    if [ -n "$(result incomplete)" ]; then ROLLED_BACK=failed; fi
    if [ "$(resolved "$ROOT$KIND_BOOTED")" = "$SYSTEM" ] && [ "$SYSTEM" != "$OLD_SYSTEM" ]; then
        incomplete "the host came back with the new system again, although the old one is the boot default"
    elif [ "$(current_system "$KIND_CURRENT" "$PROFILE")" != "$OLD_SYSTEM" ]; then
        restore_running_system
    fi
    end_activation "$ROLLED_BACK"
}
