# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Report the status of an activation.

# say_pair TOPLEVEL SYSTEM PROFILE OLD_TOPLEVEL OLD_SYSTEM
say_pair() {
    say id "$ID"
    say toplevel "$1"
    say system "$2"
    say profile "$3"
    say old_toplevel "$4"
    say old_system "$5"
    find_generation "$3"
    say new_generation "$GENERATION"
    # While the profile is set and the boot loader is not, the boot default is unknown.
    if is_in_phase committing; then return; fi
    if has_result boot_prepared && ! has_result commit_begun; then
        say boot_default old
        return
    fi
    resolve "$3"
    case $RESOLVED in
        # Without an earlier generation nothing is known about what boots.
        '') ;;
        "$1") say boot_default new ;;
        "$4") say boot_default old ;;
    esac
}

# say_recalled KEY PART: report a part of the record
say_recalled() {
    recall "$2"
    say "$1" "$TEXT"
}

# The same for a part with several lines.
say_lines_of() {
    recall "$2"
    say_lines "$1" "$TEXT"
}

say_status() {
    load_activation
    find_phase
    status_phase=$PHASE
    say phase "$status_phase"
    for status_key in action kind deployer; do say_recalled "$status_key" "request/$status_key"; done
    say_pair "$TOPLEVEL" "$SYSTEM" "$PROFILE" "$OLD_TOPLEVEL" "$OLD_SYSTEM"
    say_recalled old_generation old/generation
    for status_key in reason message exit_code commit_exit_code roll_back_exit_code; do
        say_recalled "$status_key" "result/$status_key"
    done
    say_lines_of failed_unit result/failed_units
    say_lines_of failed_unit_before old/failed_units
    if has_result left_running; then say left_running 1; fi
    say_recalled other_system result/other_system
    say_reboot
    say_reboot_progress
    if ! is_final "$status_phase" && ! is_attended; then
        say interrupted 1
    elif [ "$status_phase" = awaiting-confirmation ]; then
        recall deadline
        seconds_until "$TEXT"
        say seconds_left "$TIME_LEFT"
    fi
    say_lines_of note notes
    say_lines_of phase_time history
    # While a program runs, the controller shows nothing of what it prints.
    case $status_phase in
        prepared | activating | committing | rolling-back) ;;
        *) say_end_of log "$DIR/log" ;;
    esac
    say log_path "$DIR/log"
}

# Only what has been activated can lack a reboot, so the systems are compared at the end alone.
say_reboot() {
    recall result/reason
    status_reason=$TEXT
    if [ "$status_reason" != reboot_required ] && [ "$status_phase" != committed ]; then return; fi
    status_reasons=$(reboot_reasons "$KIND_BOOTED" "$SYSTEM" "$KIND_CURRENT")
    if [ "$status_reason" = reboot_required ] || [ -n "$status_reasons" ]; then
        say reboot_required 1
        say_lines reboot_reason "$status_reasons"
    fi
}
