# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What has to be known, and refused, before a start changes anything.

# Sets TOPLEVEL, SYSTEM and PROFILE from the arguments, or answers with an error.
check_toplevel() {
    find_arg toplevel
    TOPLEVEL=$ARG
    find_profile_asked_for
    have nix-store || error no_nix "nix-store was not found in PATH ($PATH)"
    if [ ! -e "$TOPLEVEL" ] || { ! is_checked_later && ! is_valid; }; then refuse_toplevel; fi
    find_arg specialisation
    find_system_of "$TOPLEVEL" "$ARG"
    if [ -z "$SYSTEM" ]; then
        error no_specialisation "$TOPLEVEL has no specialisation $(arg specialisation)"
    fi
    missing=$(missing_files "$TOPLEVEL" "$SYSTEM" "$KIND_REQUIRED")
    if [ -n "$missing" ]; then
        error missing_files "$TOPLEVEL is not a system of the kind $(arg kind): it lacks $(listed "$missing")"
    fi
    read_text "$TOPLEVEL/system"
    if ! runs_here "$TEXT"; then
        error wrong_system "$TOPLEVEL was built for $TEXT, but this host is $NIX_SYSTEM"
    fi
}

is_valid() { nix-store --check-validity "$TOPLEVEL" 2>/dev/null; }

refuse_toplevel() { error invalid_toplevel "$TOPLEVEL is not in this host's store, or not complete"; }

# Root makes a root for the garbage collector first and asks Nix then, once (protect_toplevel). Other users cannot: Nix makes
# their roots, and would fetch what is missing.
is_checked_later() { is_root && ! arg_is action dry-activate; }

# Keep the garbage collector from the toplevel, and make sure that it is valid. Answers with an error if that fails.
protect_toplevel() {
    if ! is_checked_later; then return 0; fi
    if ! add_gc_root new "$TOPLEVEL"; then
        release_lock
        error gc_root_failed "cannot make roots for the garbage collector"
    fi
    if is_valid; then return 0; fi
    remove_gc_roots
    release_lock
    refuse_toplevel
}

# Checked before anything changes: a user who may not set the profile could not roll it back either.
may_set_profile() {
    writable_directory=${PROFILE%/*}
    while [ -n "$writable_directory" ] && [ ! -e "$writable_directory" ]; do
        writable_directory=${writable_directory%/*}
    done
    [ -d "${writable_directory:-/}" ] && [ -w "${writable_directory:-/}" ]
}

# A plan saw what runs and what the profile points to: the review was of the change from there.
check_expected() {
    find_arg expected_current
    if [ -n "$ARG" ]; then
        find_running "$KIND_CURRENT" "$PROFILE"
        if [ "$ARG" != "${RUNNING:-none}" ]; then
            release_lock
            error not_as_planned "the host runs ${RUNNING:-nothing of this kind}, not $ARG as planned"
        fi
    fi
    find_arg expected_profile
    if [ -n "$ARG" ]; then
        resolve "$PROFILE"
        if [ "$ARG" != "${RESOLVED:-none}" ]; then
            release_lock
            error not_as_planned "$PROFILE points to ${RESOLVED:-nothing}, not to $ARG as planned"
        fi
    fi
}

# A system that is committed and does not boot would be half a deploy.
check_boot_default() {
    if [ -z "$KIND_HAS_BOOT_DEFAULT" ]; then return 0; fi
    default_hindrance=$(boot_default_hindrance)
    if [ -z "$default_hindrance" ]; then return 0; fi
    release_lock
    error no_boot_default "the new system would not become the boot default: $default_hindrance"
}

# Print why the requested action would not change what boots, as it should; nothing if it would.
boot_default_hindrance() {
    if [ -n "$KIND_HAS_BOOT_DEFAULT" ] && ! arg_is action test; then boot_choice_problem; fi
}

use_kind_asked_for() {
    find_arg activate_command
    # shellcheck disable=SC2034 # kinds/profile.sh reads it
    ACTIVATE_COMMAND=$ARG
    find_arg kind
    use_kind "$ARG" || error bad_request "unknown kind $ARG"
}

# Set PROFILE to the requested one, or to the kind's default, which only the host may know.
find_profile_asked_for() {
    find_arg profile
    PROFILE=${ARG:-$KIND_PROFILE}
    if [ -z "$ARG" ] && kind_has find_profile; then PROFILE=$("${KIND}_find_profile" </dev/null); else
        case $PROFILE in "~"*) PROFILE=$(expanded "$PROFILE") ;; esac
    fi
}

# Does the host already run and boot the requested system?
is_unchanged() {
    if ! has_booted_it; then return 1; fi
    resolve "$PROFILE"
    if ! arg_is action test && [ "$RESOLVED" != "$TOPLEVEL" ]; then return 1; fi
    if arg_is action boot && [ "$SYSTEM" = "$TOPLEVEL" ]; then return 0; fi
    find_running "$KIND_CURRENT" "$PROFILE"
    [ "$RUNNING" = "$SYSTEM" ] && ! failed_last
}

# After a failure the running system counts as half-activated, whatever the links say.
failed_last() {
    for found_id in $(activations); do
        read_text "$STATE/activations/$found_id/request/profile"
        if [ "$TEXT" != "$PROFILE" ]; then continue; fi
        read_text "$STATE/activations/$found_id/phase"
        [ "$TEXT" = failed ]
        return
    done
    false
}
