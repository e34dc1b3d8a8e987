# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The deploy lock: its holder alone may change the host.

# Is the lock held? It outlives the process that took it: then it is held while the activation's worker lives.
lock_lives() {
    if owner_lives "$1"; then return 0; fi
    [ -n "$OWNER_ID" ] && is_this_boot "$OWNER_BOOT" || return 1
    (
        use_activation "$OWNER_ID"
        find_phase
        ! is_final "$PHASE" && worker_lives
    )
}

# For `recover`: the lock of the activation to recover does not count.
lock_held_by_another() { lock_lives "$1" && [ "$OWNER_ID" != "$ID" ]; }

# take_lock DEPLOYER [anyway]: take the lock, or answer with its holder and exit. `anyway`: a place that takes no file does
# not prevent it, for what undoes an activation.
take_lock() {
    make_sure_of_directory "$LOCKS" || [ "${2:-}" = anyway ] || error state_unwritable "cannot make the directory $LOCKS"
    claim "$LOCKS/lock" lock_held_by_another
    lock_result=$?
    if [ "$lock_result:${2:-}" = 2:anyway ]; then
        if ! lock_held_by_another "$LOCKS/lock"; then return 0; fi
        lock_result=1
    fi
    case $lock_result in
        0) put_once "$LOCKS/deployer" "$1" || rm -f "$LOCKS/deployer" ;;
        1)
            say_lock_holder
            error lock_held "another deploy to this host is running"
            ;;
        *) error state_unwritable "cannot write to $LOCKS" ;;
    esac
}

release_lock() {
    if read_owner "$LOCKS/lock" && [ "$OWNER_ID" = "$ID" ]; then rm -f "$LOCKS/lock"; fi
}

say_lock_holder() {
    say lock_id "${OWNER_ID:-unknown}"
    say lock_deployer "$(get "$LOCKS/deployer")"
    if [ -n "$OWNER_SINCE" ]; then say lock_age "$(($(date +%s) - OWNER_SINCE))"; fi
}

# Claim the activation for this process. The phase counts only after that: until then another guard may have ended the
# activation. A disk that takes no claim (exit code 2) must not prevent a roll back: then the claim lies in main memory.
claim_unfinished() {
    claim "$DIR/worker" owner_lives 2>/dev/null
    case $? in
        1) return 1 ;;
        2)
            if worker_lives; then return 1; fi
            find_unsaved "$DIR/worker"
            if [ -n "$UNSAVED_FILE" ] && mkdir -p "${UNSAVED_FILE%/*}"; then
                claim "$UNSAVED_FILE" owner_lives
                if [ $? -eq 1 ]; then return 1; fi
            fi
            ;;
        *) put_copy "$DIR/worker" "$(first_line "$DIR/worker")" ;;
    esac
    ! has_ended
}
