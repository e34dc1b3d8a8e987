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
    say new_generation "$(generation_of "$3")"
    # While the profile is set and the boot loader is not, the boot default is unknown.
    if [ "$(phase)" = committing ]; then return; fi
    if [ -n "$(result boot_prepared)" ] && [ -z "$(result commit_begun)" ]; then
        say boot_default old
        return
    fi
    case $(resolved "$3") in
        # Without an earlier generation nothing is known about what boots.
        '') ;;
        "$1") say boot_default new ;;
        "$4") say boot_default old ;;
    esac
}

say_status() {
    load_activation
    status_phase=$(phase)
    say phase "$status_phase"
    say action "$(request action)"
    say kind "$(request kind)"
    say deployer "$(request deployer)"
    say_pair "$TOPLEVEL" "$SYSTEM" "$PROFILE" "$OLD_TOPLEVEL" "$OLD_SYSTEM"
    say old_generation "$(old generation)"
    for status_key in reason message exit_code commit_exit_code roll_back_exit_code; do
        say "$status_key" "$(result "$status_key")"
    done
    say_lines failed_unit "$(result failed_units)"
    say_lines failed_unit_before "$(old failed_units)"
    if [ -n "$(result left_running)" ]; then say left_running 1; fi
    say other_system "$(result other_system)"
    say_reboot
    say_reboot_progress
    if ! is_final "$status_phase" && ! is_attended; then
        say interrupted 1
    elif [ "$status_phase" = awaiting-confirmation ]; then
        seconds_until "$(get "$DIR/deadline")"
        say seconds_left "$TIME_LEFT"
    fi
    say_lines note "$(get "$DIR/notes")"
    say_lines phase_time "$(get "$DIR/history")"
    say_end_of log "$DIR/log"
    say log_path "$DIR/log"
}

say_reboot() {
    status_reasons=$(reboot_reasons "$KIND_BOOTED" "$SYSTEM" "$KIND_CURRENT")
    if [ "$(result reason)" = reboot_required ] || { [ "$(phase)" = committed ] && [ -n "$status_reasons" ]; }; then
        say reboot_required 1
        say_lines reboot_reason "$status_reasons"
    fi
}
