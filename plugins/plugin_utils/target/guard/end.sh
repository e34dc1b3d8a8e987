# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The end of an activation.

end_activation() {
    if [ "$1" != failed ]; then remove_gc_roots; fi
    # A tested closure without profile has no other GC root: keep ours.
    if [ "$1:$KIND_CURRENT" = committed:profile ] && asked_for action test; then add_gc_root new "$TOPLEVEL"; fi
    if [ "$1" = committed ]; then forget_failed; fi
    enter_phase "$1"
    write_metrics "$1"
    give_back_room "$DIR"
    if [ "$1" != failed ] && [ -d "$STATE/secrets" ]; then prune_sets; fi
    release_lock
    remove_boot_unit
    disarm_dead_man
    forget_copy "$ID"
}

# The old system runs again, but its network may still be down. Then a reboot into it may help.
reboot_if_unreachable() {
    if ! wanted reboot_if_unreachable || is_in_phase committed || has_result rebooted; then return 0; fi
    if has_result other_system; then return 0; fi
    find_limit timeout_confirm
    in_seconds "$LIMIT"
    alone_since=$CLOCK alone_until=$MOMENT
    while ! passed "$alone_until"; do
        read_text "$STATE/contact"
        if [ "${TEXT:-0}" -ge "$alone_since" ]; then return 0; fi
        nap
    done
    note "no login reached the guard within $LIMIT s after the roll back: rebooting"
    set_result rebooted 1
    durable
    find_limit timeout_reboot
    bounded "$LIMIT" "$NIXFERRY_SH" -c "$(request reboot_command)" >>"$(log_place)" 2>&1
}
