# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Look at what runs. A program's exit code proves nothing: that of NixOS may be the errno of the last fault, before the
# activation or after it. And a third party (another administrator, an automatic upgrade, the console) may switch the
# host while the guard waits. Only the state of the host decides.

# --- what runs ------------------------------------------------------------------------------------------------------

running_system() { current_system "$KIND_CURRENT" "$PROFILE"; }

# Set OTHER_SYSTEM to the running system if it is neither the old nor the new one, else to nothing. After a failed
# activation either may run. The boot default counts as the old system: after a power cut the host boots it.
look_for_other_system() {
    OTHER_SYSTEM=
    find_running "$KIND_CURRENT" "$PROFILE"
    case $RUNNING in
        '' | "$SYSTEM" | "$TOPLEVEL" | "$OLD_SYSTEM" | "$OLD_TOPLEVEL") ;;
        "$(resolved "$SYSTEM")" | "$(resolved "$TOPLEVEL")" | "$(result runs)") ;;
        *) OTHER_SYSTEM=$RUNNING ;;
    esac
}

# Set OTHER_PROFILE to the target of the profile if neither the guard nor a program of the deployed system can have set it.
look_for_other_profile() {
    OTHER_PROFILE=
    resolve "$PROFILE"
    case $RESOLVED in
        '' | "$TOPLEVEL" | "$SYSTEM" | "$OLD_TOPLEVEL" | "$(resolved "$TOPLEVEL")") ;;
        *) OTHER_PROFILE=$RESOLVED ;;
    esac
}

is_other_system() {
    look_for_other_system
    [ -n "$OTHER_SYSTEM" ]
}

# For kinds without a boot default, the link to the running system may move at the commit only: record it now.
remember_what_runs() { if [ -z "$KIND_HAS_BOOT_DEFAULT" ]; then set_result runs "$(running_system)"; fi; }

# Record a third party's system for the status.
find_other_system() {
    if is_other_system; then set_result other_system "$OTHER_SYSTEM"; fi
}

# Set COMMIT_PROBLEM to why the new system must not be made permanent; empty if it may.
look_for_commit_problem() {
    COMMIT_PROBLEM=
    look_for_other_profile
    if [ -n "$KIND_HAS_BOOT_DEFAULT" ]; then resolve "$SYSTEM"; else RESOLVED=$(result runs); fi
    expected_system=$RESOLVED
    look_for_other_system
    if [ -n "$OTHER_SYSTEM" ]; then
        COMMIT_PROBLEM="the new system was not committed, since it does not run any more"
    elif ! asked_for action boot && [ "$RUNNING" != "$expected_system" ]; then
        COMMIT_PROBLEM="the new system was not committed, since $RUNNING runs and not $SYSTEM"
    elif [ -n "$OTHER_PROFILE" ]; then
        COMMIT_PROBLEM="the new system was not committed, since the profile leads to $OTHER_PROFILE now"
    fi
}

# shellcheck disable=SC2034 # the caller reads REASON and MESSAGE
# Fails with REASON and MESSAGE. A commit that has begun is always finished.
may_commit() {
    if has_result commit_begun; then return 0; fi
    look_for_commit_problem
    REASON=other_system MESSAGE=$COMMIT_PROBLEM
    [ -z "$MESSAGE" ]
}

# --- whether anything was activated ---------------------------------------------------------------------------------

# has_said WORDS: did the last program print WORDS?
has_said() { [ -n "$RUN_BEGAN" ] && tail -c "+$((RUN_BEGAN + 1))" "$DIR/log" | grep -qF -e "$1"; }

# Print the services that ran before the activation and do not run now, except those that come and go with logins.
stopped_services() {
    recall old/services_active
    active_before=$TEXT
    if [ -z "$active_before" ]; then return 0; fi
    if ! find_units; then
        echo "(unknown, since $UNITS_SILENT)"
        return
    fi
    split_lines "$active_before" print_stopped
}

print_stopped() {
    for stopped_service; do
        if ! is_login_service "$stopped_service" && ! names_line "$ACTIVE_SERVICES" "$stopped_service"; then
            printf '%s\n' "$stopped_service"
        fi
    done
}

is_login_service() { case $1 in ssh@* | sshd@* | user@* | user-runtime-dir@*) ;; *) false ;; esac; }

# Is the host as it was before the activation, as far as can be told?
looks_untouched() {
    [ "$(running_system)" = "$OLD_SYSTEM" ] && [ "$(resolved "$PROFILE")" = "$OLD_TOPLEVEL" ] &&
        [ -z "$(stopped_services)" ]
}

# True if the new system's program has not yet changed anything. Only its output can tell: without the output, false.
has_never_begun() {
    [ -n "$KIND_BEGUN_WORDS" ] && [ -z "$(result unheard)" ] &&
        ! grep -qF -e "$KIND_BEGUN_WORDS" "$DIR/log" && looks_untouched
}

# Does a process hold the lock of the kind's own program?
lock_is_held() {
    program_lock=$ROOT$KIND_LOCK
    [ -n "$KIND_LOCK" ] && [ -e "$program_lock" ] || return 1
    if [ -r "$PROC/locks" ]; then
        grep -q " $(locked_name "$program_lock") " "$PROC/locks"
    else
        have flock && ! flock --nonblock --shared "$program_lock" true
    fi
}

# Name a file as /proc/locks does: the major and minor number of its device in hexadecimal, and its inode
locked_name() {
    lock_device=$(stat -c %d "$1")
    printf '%02x:%02x:%s\n' "$((lock_device >> 8 & 0xfff))" "$((lock_device & 0xff | lock_device >> 12 & 0xfff00))" \
        "$(stat -c %i "$1")"
}

# Did the last program end because another activation holds its lock? The exit code alone does not prove it.
was_locked_out() {
    [ -n "$KIND_EXIT_LOCKED" ] && [ "$OUTCOME" = "$KIND_EXIT_LOCKED" ] && has_said "$KIND_LOCKED_WORDS"
}

# True if the program left the list that it removes at its end.
was_cut_short() { [ -n "$KIND_UNFINISHED" ] && [ -s "$ROOT$KIND_UNFINISHED" ]; }

# Some programs wait for the lock instead of refusing. Then nothing was activated, and nothing has to be rolled back: the
# old system's program would only wait for the same lock.
recognise_waiting() {
    if [ -n "$(result activation_begun)" ] && [ -z "$(result nothing_activated)" ] && lock_is_held && has_never_begun; then
        set_result nothing_activated 1
        add_message "nothing was activated, since another activation holds the lock $KIND_LOCK"
    fi
}
