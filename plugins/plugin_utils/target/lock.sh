# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Who may change the host, and who works on an activation. Both are claimed by the same means: a file with one line
#   <activation id> <process> <its start time> <identity of the boot> <seconds since the epoch>
# that appears as a whole (a hard link fails if the name is taken). A claim whose process or boot is gone is stale.
# Whoever wants to replace a stale claim first claims the right to do so, under a name made of the stale one: two
# that find the same stale claim cannot both win, and the one that was too late notices.

# Only root has a place that every boot empties; /run/user goes away when the user logs out.
use_state() {
    STATE=$1
    if is_root && [ -d "$ROOT/run" ]; then LOCKS=$ROOT/run/nixferry; else LOCKS=$STATE; fi
}

# read_owner FILE: the claim in OWNER_*; fails if there is none, or if it makes no sense
read_owner() {
    OWNER_ID='' OWNER_PID='' OWNER_START='' OWNER_BOOT='' OWNER_SINCE=''
    { read -r OWNER_ID OWNER_PID OWNER_START OWNER_BOOT OWNER_SINCE <"$1"; } 2>/dev/null || return 1
    case $OWNER_ID in '' | *[!0-9A-Za-z-]*) return 1 ;; esac
    case $OWNER_PID$OWNER_SINCE in '' | *[!0-9]*) return 1 ;; esac
}

owner_lives() {
    read_owner "$1" && [ "$OWNER_BOOT" = "$(boot_identity)" ] && alive "$OWNER_PID" "$OWNER_START"
}

# The deploy lock outlives the process that took it: then the activation's worker stands for it.
lock_lives() {
    if owner_lives "$1"; then return 0; fi
    [ -n "$OWNER_ID" ] && [ "$OWNER_BOOT" = "$(boot_identity)" ] || return 1
    (
        use_activation "$OWNER_ID"
        ! is_final "$(phase)" && owner_lives "$DIR/worker"
    )
}

# For `recover`: the lock of the very activation that it is about is no hindrance.
lock_held_by_another() { lock_lives "$1" && [ "$OWNER_ID" != "$ID" ]; }

# claim FILE LIVES: make FILE ours unless `LIVES FILE` says that its owner is still there.
# Fails if so (the owner is in OWNER_*), or with 2 if the file system takes no more files.
claim() {
    claim_mine=$1.$ID.$$
    printf '%s %s %s %s %s\n' "$ID" "$$" "$(process_start "$$")" "$(boot_identity)" "$(date +%s)" >"$claim_mine" || return 2
    if [ -d "$1" ]; then mv "$1" "$1.garbage.$$"; fi
    claim_tries=0
    # What is judged below is what is read here. It is read again only if it goes away meanwhile.
    while ! ln "$claim_mine" "$1" 2>/dev/null; do
        if ! claim_seen=$(cat "$1" 2>/dev/null); then
            claim_tries=$((claim_tries + 1))
            if [ "$claim_tries" -le 20 ]; then continue; fi
            rm -f "$claim_mine"
            return 2
        fi
        if ! "$2" "$1"; then claim_stale "$1"; else false; fi
        claim_result=$?
        rm -f "$claim_mine"
        return "$claim_result"
    done
    rm -f "$claim_mine"
}

# The second half of `claim`: FILE is stale. A claimant of the right to replace it may have died as well, and so on.
claim_stale() {
    claim_after=$1.after.$(as_name "$claim_seen")
    while ! ln "$claim_mine" "$claim_after" 2>/dev/null; do
        claim_holder=$(get "$claim_after")
        if owner_lives "$claim_after" || [ -z "$claim_holder" ]; then return 1; fi
        claim_after=$1.after.$(as_name "$claim_holder")
    done
    if [ "$(get "$1")" != "$claim_seen" ]; then
        rm -f "$claim_after"
        read_owner "$1"
        return 1
    fi
    mv -f "$claim_mine" "$1" && rm -f "$1".after.*
}

as_name() { printf '%s' "$1" | tr -cs '0-9A-Za-z-' _ | cut -c 1-120; }

# Become the one that works on the activation. The phase counts only once that is settled: a guard that was still
# there a moment ago may have come to its end meanwhile. A full disk must not keep anybody from rolling back.
claim_unfinished() {
    claim "$DIR/worker" owner_lives
    if [ $? -eq 1 ]; then return 1; fi
    ! is_final "$(phase)"
}

# --- the deploy lock ---------------------------------------------------------------------------------------------

# Takes the lock, or answers with its holder and stops.
take_lock() {
    mkdir -p "$LOCKS" || error state_unwritable "cannot make the directory $LOCKS"
    claim "$LOCKS/lock" lock_held_by_another
    case $? in
        0) put "$LOCKS/deployer" "$1" ;;
        1)
            say_lock_holder
            error lock_held "somebody else is deploying to this host"
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
