# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The end of an activation.

end_activation() {
    if [ "$1" != failed ]; then remove_gc_roots; fi
    # A tested closure without profile has no other GC root: keep ours.
    if [ "$1" = committed ] && [ "$(request action):$KIND_CURRENT" = test:profile ]; then add_gc_root new "$TOPLEVEL"; fi
    if [ "$1" = committed ]; then forget_failed; fi
    enter_phase "$1"
    give_back_room "$DIR"
    if [ "$1" != failed ] && [ -d "$STATE/secrets" ]; then prune_sets; fi
    release_lock
    remove_boot_unit
    disarm_dead_man
    forget_copy "$ID"
}

# The old system runs again, but its network may still be down. Then a reboot into it may help.
reboot_if_unreachable() {
    if ! wanted reboot_if_unreachable || [ "$(phase)" = committed ] || [ -n "$(result rebooted)" ]; then return 0; fi
    if [ -n "$(result other_system)" ]; then return 0; fi
    in_seconds "$(request timeout_confirm)"
    alone_since=$NOW alone_until=$MOMENT
    while ! passed "$alone_until"; do
        last_contact=$(get "$STATE/contact")
        if [ "${last_contact:-0}" -ge "$alone_since" ]; then return 0; fi
        nap
    done
    note "no login reached the guard within $(request timeout_confirm) s after the roll back: rebooting"
    set_result rebooted 1
    durable
    bounded "$(request timeout_reboot)" "$NIXFERRY_SH" -c "$(request reboot_command)" >>"$(log_place)" 2>&1
}
