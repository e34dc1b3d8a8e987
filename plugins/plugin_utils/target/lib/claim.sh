# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Claims: which process works on what. A claim is a file with one line
#   <activation id> <process> <its start time> <identity of the boot> <seconds since the epoch>
# that appears as a whole (a hard link fails if the name is taken). A claim whose process or boot is gone is stale.
# To replace a stale claim, a process first claims the right to do so, under a name made from the stale claim. So of two
# processes that find the same stale claim only one wins, and the other one notices.

# read_owner FILE: read the claim into OWNER_*; fails if it is missing or malformed
read_owner() {
    OWNER_ID='' OWNER_PID='' OWNER_START='' OWNER_BOOT='' OWNER_SINCE=''
    { read -r OWNER_ID OWNER_PID OWNER_START OWNER_BOOT OWNER_SINCE <"$1"; } 2>/dev/null || return 1
    case $OWNER_ID in '' | *[!0-9A-Za-z-]*) return 1 ;; esac
    case $OWNER_PID$OWNER_SINCE in '' | *[!0-9]*) return 1 ;; esac
}

owner_lives() { read_owner "$1" && is_this_boot "$OWNER_BOOT" && alive "$OWNER_PID" "$OWNER_START"; }

# claim FILE LIVES: claim FILE for this process unless `LIVES FILE` says that its owner is alive. Then fail, with the owner
# in OWNER_*. Fail with 2 if no file can be written.
claim() {
    claim_mine=$1.$ID.$$
    find_boot_identity
    find_process_start "$$"
    printf '%s %s %s %s %s\n' "$ID" "$$" "$PROCESS_START" "$BOOT_IDENTITY" "$(date +%s)" >"$claim_mine" || {
        rm -f "$claim_mine"
        return 2
    }
    if [ -d "$1" ]; then mv "$1" "$1.garbage.$$"; fi
    claim_tries=0
    # The claim that is read here is judged below. It is read again only if it disappears meanwhile.
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

# The second half of `claim`: FILE is stale. The process with the right to replace it may have died as well, and so on.
claim_stale() {
    claim_after=$1.after.$(as_name "$claim_seen")
    while ! ln "$claim_mine" "$claim_after" 2>/dev/null; do
        read_text "$claim_after"
        claim_holder=$TEXT
        if owner_lives "$claim_after" || [ -z "$claim_holder" ]; then return 1; fi
        claim_after=$1.after.$(as_name "$claim_holder")
    done
    read_text "$1"
    if [ "$TEXT" != "$claim_seen" ]; then
        rm -f "$claim_after"
        read_owner "$1"
        return 1
    fi
    mv -f "$claim_mine" "$1" && rm -f "$1".after.*
}

as_name() { printf '%s' "$1" | tr -cs '0-9A-Za-z-' _ | cut -c 1-120; }
