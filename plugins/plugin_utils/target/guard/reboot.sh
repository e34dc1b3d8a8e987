# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A reboot inside the activation:
#
#   activating               the new system becomes a generation, and the old one's own program writes the boot entries, so
#                            the old one is the default at any moment; the new entry is marked to be booted once; reboot
#   activating               the host came back with the new one: wait until it has booted, look for failed units
#   awaiting-confirmation    as without a reboot, then the commit, which makes it the default
#   rolling-back             restore the boot entries, then reboot into the old one
#
# The phase does not change while the host is down; result/rebooting is `forth` or `back`. After a crash or a power cut
# during that one boot, the next boot starts the old system.

GOING_DOWN_BY_FORCE=30      # seconds for a forced reboot, after an orderly one has failed

# --- is a reboot due and possible? ----------------------------------------------------------------------------------

# reboot_is_due: do the arguments ask for a reboot into SYSTEM? Only for a change; see is_unchanged.
reboot_is_due() {
    find_arg reboot
    case $ARG in
        always) true ;;
        if-required) [ -n "$(reboot_reasons "$KIND_BOOTED" "$SYSTEM" "$KIND_CURRENT")" ] ;;
        *) false ;;
    esac
}

# A host that already runs the requested system may still have to boot it.
has_booted_it() {
    find_arg reboot
    case $ARG in
        always) [ "$(resolved "$ROOT$KIND_BOOTED")" = "$SYSTEM" ] ;;
        *) ! reboot_is_due ;;
    esac
}

# Print why the host cannot reboot inside the activation; nothing if it can.
reboot_problem() {
    if ! kind_has prepare_boot; then
        echo "this kind of system cannot be booted just once"
    elif ! is_root || ! has_service_manager; then
        echo "it has no systemd that could continue the activation after the reboot"
    elif [ ! -e "$PROFILE" ]; then
        echo "it has no old system that it could boot again"
    elif [ "$(resolved "$PROFILE")" = "$TOPLEVEL" ] && [ -z "$(booted_generation "$KIND_BOOTED")" ]; then
        echo "the booted system is not a generation of $PROFILE any more, so a reboot could not bring it back"
    else
        boot_once_problem
    fi
}

# booted_generation BOOTED: print the link of the generation that was booted, as itself or as a specialisation
booted_generation() {
    booted_system=$(resolved "$ROOT$1")
    if [ -z "$booted_system" ]; then return; fi
    for generation_link in "$PROFILE"-*-link; do
        if [ ! -e "$generation_link" ]; then continue; fi
        for generation_system in "$generation_link" "$generation_link"/specialisation/*; do
            if [ "$(resolved "$generation_system")" = "$booted_system" ]; then
                echo "$generation_link"
                return
            fi
        done
    done
}

# The boot default is the new system already, but was not booted. Then the booted system is the old one.
record_booted_as_old() {
    old_link=$(booted_generation "$KIND_BOOTED")
    write "$DIR/old/system" "$(resolved "$ROOT$KIND_BOOTED")" &&
        write "$DIR/old/toplevel" "$(resolved "$old_link")" &&
        write "$DIR/old/boot_default" '' &&
        write "$DIR/old/profile_link" "${old_link##*/}" &&
        write "$DIR/old/generation" "$(number_of_generation "$old_link")"
}

number_of_generation() {
    link_number=${1%-link}
    echo "${link_number##*-}"
}

# --- going down -----------------------------------------------------------------------------------------------------

# Returns only if the host has not gone down in time.
reboot_now() {
    durable
    find_limit timeout_reboot
    in_seconds "$LIMIT"
    down_until=$MOMENT
    bounded "$LIMIT" "$NIXFERRY_SH" -c "$(request reboot_command)" >>"$(log_place)" 2>&1
    begin_waiting
    until passed "$down_until"; do nap; done
    false
}

# Removing a file also works on a full disk.
forget_reboot() { drop "$DIR/result/rebooting"; }

# Has the host gone down and come up since the reboot began?
has_rebooted() {
    has_result rebooting || return 1
    recall boot
    ! is_this_boot "$TEXT"
}

new_was_booted() {
    has_result boot_prepared && [ "$SYSTEM" != "$OLD_SYSTEM" ] &&
        [ "$(resolved "$ROOT$KIND_BOOTED")" = "$SYSTEM" ]
}

# Only another boot ends the running new system.
reboot_back() {
    set_result rebooting back
    note "rebooting into the old system"
    reboot_now
    bounded "$GOING_DOWN_BY_FORCE" systemctl reboot --force >>"$(log_place)" 2>&1 || reboot -f >>"$(log_place)" 2>&1
    pause "$GOING_DOWN_BY_FORCE"
    forget_reboot
    incomplete "the host did not go down for the reboot into the old system"
}

say_reboot_progress() {
    if has_result rebooting; then
        say reboot under-way
    elif has_result rebooted; then
        say reboot "done"
    elif has_result reboot_planned; then
        say reboot planned
    fi
}
