# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# `probe`: report on the host and on a path that may be deployed. Changes nothing.

verb_probe() {
    use_kind_asked_for
    find_profile_asked_for
    find_running "$KIND_CURRENT" "$PROFILE"
    probe_current=$RUNNING
    find_nix_system
    say system "$NIX_SYSTEM"
    nix_version=$(nix-store --version 2>/dev/null | head -n 1)
    say nix_version "${nix_version##* }"
    say current "$probe_current"
    if [ -n "$KIND_BOOTED" ]; then
        resolve "$ROOT$KIND_BOOTED"
        say booted "$RESOLVED"
    fi
    say profile "$PROFILE"
    resolve "$PROFILE"
    probe_target=$RESOLVED
    say profile_target "$probe_target"
    find_generation "$PROFILE"
    say generation "$GENERATION"
    say_generations "$PROFILE"
    say_deployed "$PROFILE"
    say_lines failed_unit "$(failed_units || echo "unknown, since $UNITS_SILENT")"
    say_lines reboot_reason "$(reboot_reasons "$KIND_BOOTED" "$probe_target" "$KIND_CURRENT")"
    if lock_lives "$LOCKS/lock"; then
        read_owner "$LOCKS/lock"
        say_lock_holder
    fi
    say_lines interrupted "$(interrupted_activations)"
    if arg_is closure 1 && [ -n "$probe_current" ]; then say_closure closure_current "$probe_current"; fi
    find_arg toplevel
    if [ -n "$ARG" ]; then probe_toplevel "$ARG"; fi
    answer_ends
}

probe_toplevel() {
    TOPLEVEL=$1
    if ! nix-store --check-validity "$TOPLEVEL" 2>/dev/null; then
        say toplevel_valid 0
        say boot_default_problem "$(boot_default_hindrance)"
        return
    fi
    say toplevel_valid 1
    find_arg specialisation
    find_system_of "$TOPLEVEL" "$ARG"
    if [ -z "$SYSTEM" ]; then
        say toplevel_missing "specialisation/$ARG"
        return
    fi
    say toplevel_system "$SYSTEM"
    say_lines toplevel_missing "$(missing_files "$TOPLEVEL" "$SYSTEM" "$KIND_REQUIRED")"
    say_lines toplevel_reboot_reason "$(reboot_reasons "$KIND_BOOTED" "$SYSTEM" "$KIND_CURRENT")"
    if ! arg_is force 1 && is_unchanged; then
        say unchanged 1
    else
        say boot_default_problem "$(boot_default_hindrance)"
        if reboot_is_due; then
            say reboot planned
            say reboot_problem "$(reboot_problem)"
        fi
    fi
    if arg_is closure 1; then say_closure closure_toplevel "$TOPLEVEL"; fi
    if arg_is dry_activate 1; then dry_activate dry_activate_exit_code dry_activate_log; fi
}

# Report number, time and path of every generation. The time is that of the link, not of its target.
say_generations() {
    for generation_link in "$1"-*-link; do
        number=${generation_link#"$1"-}
        number=${number%-link}
        case $number in '' | *[!0-9]*) continue ;; esac
        [ -L "$generation_link" ] || continue
        say generations "$number $(stat -c %Y "$generation_link" 2>/dev/null || stat -f %m "$generation_link") $(resolved "$generation_link")"
    done
}

# Report each path of a closure with its size. Both commands keep the order of the paths.
say_closure() {
    closure_paths=$(nix-store -qR "$2") || return 0
    # shellcheck disable=SC2046 # sizes are words
    set -- "$1" $(printf '%s\n' "$closure_paths" | xargs nix-store -q --size)
    closure_key=$1
    for closure_path in $closure_paths; do
        shift
        printf '%s=%s %s\n' "$closure_key" "$closure_path" "$1" >&3
    done
}
