# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Fetch, as a user without privileges in a sandbox: the pointer, and the closure that it names. What this program prints is
# the pointer, which root trusts as little as the server. Nix fetches, so that the host needs no other program for it.
# Settings: PULL_URL (of the pointer), PULL_ADDRESSES (to be reached after an activation), PULL_MIN_FREE (MiB),
# PULL_CERTIFICATE (a path, or empty: the certificate with which this host logs in to servers).

# Exit codes, of which root makes the outcome (agent/activate.sh)
CODE_FORMAT=65 CODE_ABSENT=66 CODE_UNREACHABLE=69 CODE_DISK=73 CODE_CLOSURE=74 CODE_CLOCK=75 CODE_SIGNATURE=77 CODE_EXPIRED=78
CODE_FOREIGN=79 CODE_REPLAYED=80
# shellcheck disable=SC2034 # agent/build.sh reads them
CODE_INCOMPLETE=81 CODE_BUILD=82 CODE_SUBMODULES=83
CODE_CREDENTIAL=243 # as systemd itself says it
FETCH_SECONDS=120   # for a small file, with Nix's own attempts
REALISE_SECONDS=10800
FILE_BYTES=1000000  # of a pointer, or of an address that must be reached
FULL_MIB=4          # with less than this free, a failure is one of the disk

give_up() { # CODE MESSAGE
    printf 'nixferry: %s\n' "$2" >&2
    exit "$1"
}

make_fetch_work() {
    FETCH_WORK=$(mktemp -d "${TMPDIR:-/tmp}/nixferry.XXXXXX") || give_up "$CODE_DISK" "no temporary directory can be made"
    trap 'rm -rf "$FETCH_WORK"' EXIT
    trap 'exit 1' HUP INT TERM
    # A file that a server can make larger must have an end: the unit's limit applies to it (LimitFSIZE).
    TMPDIR=$FETCH_WORK HOME=$FETCH_WORK
    export TMPDIR HOME
}

# systemd opens the file with the login for the unit. Without one this is empty.
read_login() { if [ ! -t 0 ]; then head -c 65536 >"$FETCH_WORK/netrc"; fi; }

# credential NAME: print the path of what systemd has loaded for this unit alone (LoadCredential=)
credential() { printf '%s/%s\n' "${CREDENTIALS_DIRECTORY:-/nonexistent}" "$1"; }

# Where mounts do not reach other name spaces, as in some containers, systemd loads them and does not show them.
check_credentials() {
    if [ -n "$PULL_CERTIFICATE" ]; then check_credential certificate && check_credential certificate_key; fi
    if [ -n "$PULL_KNOWN_HOSTS" ]; then check_credential repository_key; fi
}

check_credential() { # NAME
    [ -r "$(credential "$1")" ] || give_up "$CODE_CREDENTIAL" "$(credential "$1"), which systemd should have made, cannot be read"
}

# get_file URL: print the path of its content. Fail with the code.
get_file() {
    case $PULL_CERTIFICATE:$1 in
        /*:https://*) get_file_as_client "$1" ;;
        *) get_file_by_nix "$1" ;;
    esac
}

# Nix shows a server no certificate here; curl does.
get_file_as_client() {
    got_url=$1
    set -- --disable --silent --show-error --fail --location --proto '=https' --connect-timeout 10 --speed-limit 1 --speed-time 30 \
        --retry 2 --retry-connrefused --max-filesize "$FILE_BYTES" --output "$FETCH_WORK/got" --write-out '%{http_code}' \
        --cert "$(credential certificate)" --key "$(credential certificate_key)"
    if [ -s "$FETCH_WORK/netrc" ]; then set -- "$@" --netrc-file "$FETCH_WORK/netrc"; fi
    got_said=$(bounded "$FETCH_SECONDS" curl "$@" -- "$got_url" 2>"$FETCH_WORK/said") || {
        tail -n 5 "$FETCH_WORK/said" >&2
        case $got_said in *404 | *410) return "$CODE_ABSENT" ;; esac
        return "$CODE_UNREACHABLE"
    }
    printf '%s\n' "$FETCH_WORK/got"
}

# Nix puts it into the store.
get_file_by_nix() {
    got_url=$1
    shift
    if [ -s "$FETCH_WORK/netrc" ]; then set -- --option netrc-file "$FETCH_WORK/netrc"; fi
    got_said=$(bounded "$FETCH_SECONDS" nix-prefetch-url --print-path --name nixferry-pointer \
        --option connect-timeout 10 --option stalled-download-timeout 30 --option download-attempts 4 "$@" \
        "$got_url" 2>"$FETCH_WORK/said") || {
        tail -n 5 "$FETCH_WORK/said" >&2
        if grep -q -e 'HTTP error 404' -e 'HTTP error 410' "$FETCH_WORK/said"; then return "$CODE_ABSENT"; fi
        return "$CODE_UNREACHABLE"
    }
    printf '%s\n' "$got_said" | tail -n 1
}

# Set POINTER_FILE and POINTER_* to the pointer behind PULL_URL, or give up.
get_pointer() {
    POINTER_FILE=$(get_file "$PULL_URL") || give_up "$?" "the pointer $PULL_URL could not be fetched"
    read_accepted
    if ! read_pointer "$POINTER_FILE" "$FETCH_WORK"; then
        if [ "$PROBLEM" = signature ]; then give_up "$CODE_SIGNATURE" "no trusted key has signed $PULL_URL"; fi
        give_up "$CODE_FORMAT" "$PULL_URL is not a valid pointer"
    fi
}

verb_fetch() {
    make_fetch_work
    read_login
    check_credentials
    if [ -n "$PULL_REPOSITORY" ]; then
        mirror
        return
    fi
    get_pointer
    if ! judge_pointer "$(date +%s)"; then
        case $PROBLEM in
            clock) give_up "$CODE_CLOCK" "$MESSAGE" ;;
            expired) give_up "$CODE_EXPIRED" "$MESSAGE" ;;
            foreign) give_up "$CODE_FOREIGN" "$MESSAGE" ;;
            *) give_up "$CODE_REPLAYED" "$MESSAGE" ;;
        esac
    fi
    realise
    cat "$POINTER_FILE" || give_up "$CODE_DISK" "the pointer could not be written: make room on the file system with /var/lib"
}

# Nix checks the signature of every path before the path becomes valid.
realise() {
    if nix-store --check-validity "$POINTER_TOPLEVEL" 2>/dev/null; then
        keep_from_collection
        return
    fi
    check_room
    bounded "$REALISE_SECONDS" nix-store --realise "$POINTER_TOPLEVEL" --add-root "$STATE_DIRECTORY/next" >/dev/null && return
    # Others write to the disk as well, so that there may be less room than there was.
    need_room "$((PULL_MIN_FREE > FULL_MIB ? PULL_MIN_FREE : FULL_MIB))"
    give_up "$CODE_CLOSURE" "the closure of $POINTER_TOPLEVEL could not be fetched: Nix says above why"
}

keep_from_collection() {
    nix-store --realise "$POINTER_TOPLEVEL" --add-root "$STATE_DIRECTORY/next" >/dev/null ||
        give_up "$CODE_CLOSURE" "$POINTER_TOPLEVEL could not be kept from the garbage collector"
}

# Nix prints `(1.50 MiB download, 12.30 MiB unpacked)`; newer versions choose the unit.
check_room() {
    room_needed=$(nix-store --realise --dry-run "$POINTER_TOPLEVEL" 2>&1 |
        sed -n 's/.*(.* download, \([0-9]*\)\.[0-9]* \([KMGT]\)iB unpacked).*/\1 \2/p' | head -n 1)
    room_number=${room_needed% *}
    case $room_needed in
        [0-9]*' K') room_number=$((room_number / 1024)) ;;
        [0-9]*' M') ;;
        [0-9]*' G') room_number=$((room_number * 1024 + 1024)) ;;
        [0-9]*' T') room_number=$((room_number * 1048576 + 1048576)) ;;
        # What Nix needs is not known: at least the reserve must be there.
        *) room_number=0 ;;
    esac
    need_room "$((room_number + room_number / 5 + PULL_MIN_FREE))"
}

need_room() { # MIB
    room_free=$(df -Pk "$ROOT/nix/store" | awk 'NR == 2 { print int($4 / 1024) }')
    if [ "${room_free:-0}" -lt "$1" ]; then
        give_up "$CODE_DISK" "the store has ${room_free:-0} MiB free, and $1 MiB are needed"
    fi
}

# What a build needs is not known beforehand.
check_reserve() { need_room "$PULL_MIN_FREE"; }

# After an activation: can this host still find what to run next? Only with that it can be helped from afar.
verb_reach() {
    make_fetch_work
    read_login
    check_credentials
    in_seconds "$PULL_TIMEOUT_REACH"
    reach_until=$MOMENT
    while ! reaches_all; do
        if passed "$reach_until"; then
            give_up "$CODE_UNREACHABLE" "after the activation this was not reached within $PULL_TIMEOUT_REACH s: $reach_missed"
        fi
        pause 2
    done
}

reaches_all() {
    if [ -n "$PULL_REPOSITORY" ]; then
        reach_missed=$PULL_REPOSITORY
        (reaches_repository) || return 1
    else
        reach_missed=$PULL_URL
        (get_pointer) || return 1
    fi
    # A question mark in an address is not a pattern.
    set -f
    for reach_missed in $PULL_ADDRESSES; do get_file "$reach_missed" >/dev/null || return 1; done
}
