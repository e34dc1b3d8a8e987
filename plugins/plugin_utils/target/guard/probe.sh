# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# `probe`: report on the host and on a path that may be deployed. Changes nothing.

verb_probe() {
    use_kind_asked_for
    PROFILE=$(profile_asked_for)
    probe_current=$(current_system "$KIND_CURRENT" "$PROFILE")
    say system "$(nix_system)"
    nix_version=$(nix-store --version 2>/dev/null | head -n 1)
    say nix_version "${nix_version##* }"
    say current "$probe_current"
    if [ -n "$KIND_BOOTED" ]; then say booted "$(resolved "$ROOT$KIND_BOOTED")"; fi
    say profile "$PROFILE"
    say profile_target "$(resolved "$PROFILE")"
    say generation "$(generation_of "$PROFILE")"
    say_generations "$PROFILE"
    say_deployed "$PROFILE"
    say_lines failed_unit "$(failed_units || echo "unknown, since $UNITS_SILENT")"
    say_lines reboot_reason "$(reboot_reasons "$KIND_BOOTED" "$(resolved "$PROFILE")" "$KIND_CURRENT")"
    if lock_lives "$LOCKS/lock"; then
        read_owner "$LOCKS/lock"
        say_lock_holder
    fi
    say_lines interrupted "$(interrupted_activations)"
    if [ "$(arg closure)" = 1 ] && [ -n "$probe_current" ]; then say_closure closure_current "$probe_current"; fi
    if [ -n "$(arg toplevel)" ]; then probe_toplevel "$(arg toplevel)"; fi
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
    SYSTEM=$(system_of "$TOPLEVEL" "$(arg specialisation)")
    if [ -z "$SYSTEM" ]; then
        say toplevel_missing "specialisation/$(arg specialisation)"
        return
    fi
    say toplevel_system "$SYSTEM"
    say_lines toplevel_missing "$(missing_files "$TOPLEVEL" "$SYSTEM" "$KIND_REQUIRED")"
    say_lines toplevel_reboot_reason "$(reboot_reasons "$KIND_BOOTED" "$SYSTEM" "$KIND_CURRENT")"
    if [ "$(arg force)" != 1 ] && is_unchanged; then
        say unchanged 1
    else
        say boot_default_problem "$(boot_default_hindrance)"
        if reboot_is_due; then
            say reboot planned
            say reboot_problem "$(reboot_problem)"
        fi
    fi
    if [ "$(arg closure)" = 1 ]; then say_closure closure_toplevel "$TOPLEVEL"; fi
    if [ "$(arg dry_activate)" = 1 ]; then dry_activate dry_activate_exit_code dry_activate_log; fi
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
