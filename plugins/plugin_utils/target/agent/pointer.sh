# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Pointers: which store path this host should run, signed by the publisher. _keys/pointers.py describes the format, which is
# read here as strictly. Settings: PULL_SIGNERS (a file for ssh-keygen), PULL_HOST, PULL_CHANNEL, PULL_MIN_SERIAL.

POINTER_BYTES=16384
POINTER_NAMESPACE='nixferry-pointer@v1'
POINTER_FIELDS='host channel serial issued expires toplevel'
CLOCK_TOLERANCE=300 # seconds by which the clocks of publisher and host may differ

# An image for many hosts has no name of one (PULL_HOST is empty): a host is called what its network, its firmware or its
# kernel's command line has called it. Set PULL_HOST and PULL_URL. A host that has no name yet keeps them empty: systemd has
# called it after the distribution then (`nixos`), and says so in a file until it gets another name.
find_host() {
    if [ -n "$PULL_HOST" ]; then return 0; fi
    find_host_full=$(uname -n)
    find_host_name=${find_host_full%%.*}
    if [ "$find_host_name" = localhost ] || ! is_pointer_name "$find_host_name" ||
        [ "$find_host_full" = "$(first_line "$ROOT/run/systemd/default-hostname")" ]; then
        PULL_URL=''
        return 1
    fi
    PULL_HOST=$find_host_name PULL_URL=$PULL_URL/$find_host_name
}

# read_pointer FILE WORK: verify and parse the file, by way of a copy in the directory WORK. Set POINTER_HOST and the like.
# Fail with PROBLEM: `format`, or `signature` if no trusted key has signed it.
# shellcheck disable=SC2034 # the caller reads PROBLEM and POINTER_*
read_pointer() {
    PROBLEM=format
    # The copy does not change while it is read twice. More than the limit is not read.
    head -c "$((POINTER_BYTES + 1))" "$1" >"$2/pointer" 2>/dev/null || return 1
    if [ "$(wc -c <"$2/pointer")" -gt "$POINTER_BYTES" ] || [ ! -s "$2/pointer" ]; then return 1; fi
    # The shell drops a NUL, ssh-keygen does not.
    if [ "$(tr -d '\n -~' <"$2/pointer" | wc -c)" -ne 0 ]; then return 1; fi
    sed '/^-----BEGIN SSH SIGNATURE-----$/,$d' "$2/pointer" >"$2/signed" &&
        sed -n '/^-----BEGIN SSH SIGNATURE-----$/,$p' "$2/pointer" >"$2/signature" || return 1
    if [ "$(tail -n 1 "$2/signature")" != '-----END SSH SIGNATURE-----' ]; then return 1; fi
    # The signature comes first: nothing unsigned is parsed.
    PROBLEM=signature
    # shellcheck disable=SC2016 # another shell expands it
    bounded 30 "$NIXFERRY_SH" -c 'exec ssh-keygen -Y verify -n "$1" -I publisher -f "$2" -s "$3" <"$4"' sh \
        "$POINTER_NAMESPACE" "$PULL_SIGNERS" "$2/signature" "$2/signed" >/dev/null 2>&1 || return 1
    PROBLEM=format
    parse_pointer "$2/signed"
}

parse_pointer() { # FILE
    pointer_expected="header $POINTER_FIELDS"
    while IFS= read -r pointer_line || [ -n "$pointer_line" ]; do
        pointer_field=${pointer_expected%% *}
        case $pointer_expected in *' '*) pointer_expected=${pointer_expected#* } ;; *) pointer_expected='' ;; esac
        case $pointer_field:$pointer_line in
            'header:nixferry-pointer 1') continue ;;
            "$pointer_field:$pointer_field "*) take_field "$pointer_field" "${pointer_line#"$pointer_field" }" || return 1 ;;
            *) return 1 ;;
        esac
    done <"$1"
    [ -z "$pointer_expected" ] && [ "$POINTER_EXPIRES" -gt "$POINTER_ISSUED" ]
}

# shellcheck disable=SC2034 # the caller reads POINTER_*
take_field() { # NAME VALUE
    case $1 in
        host | channel) is_pointer_name "$2" || return 1 ;;
        serial | issued | expires) is_pointer_number "$2" || return 1 ;;
        toplevel) is_store_path "$2" || return 1 ;;
    esac
    case $1 in
        host) POINTER_HOST=$2 ;;
        channel) POINTER_CHANNEL=$2 ;;
        serial) POINTER_SERIAL=$2 ;;
        issued) POINTER_ISSUED=$2 ;;
        expires) POINTER_EXPIRES=$2 ;;
        toplevel) POINTER_TOPLEVEL=$2 ;;
        *) return 1 ;;
    esac
}

is_pointer_name() { case $1 in [A-Za-z0-9_]*) only A-Za-z0-9._- "$1" 128 ;; *) return 1 ;; esac; }

# Without a leading zero, and small enough for every shell to calculate with
is_pointer_number() { case $1 in 0 | [1-9]*) only 0-9 "$1" 15 ;; *) return 1 ;; esac; }

# Set ACCEPTED_SERIAL, ACCEPTED_ISSUED and ACCEPTED_TOPLEVEL from the last accepted pointer. Root wrote it after it had
# verified it: the signature is not looked at again, since its key may have been replaced.
read_accepted() {
    ACCEPTED_SERIAL='' ACCEPTED_ISSUED=0 ACCEPTED_TOPLEVEL='' POINTER_EXPIRES=''
    # One that is left from before the host followed a repository does not count.
    [ -z "$PULL_REPOSITORY" ] && [ -s "$PULL/accepted" ] || return 0
    if parse_pointer "$PULL/accepted"; then
        ACCEPTED_SERIAL=$POINTER_SERIAL ACCEPTED_ISSUED=$POINTER_ISSUED ACCEPTED_TOPLEVEL=$POINTER_TOPLEVEL
    fi
}

# judge_pointer NOW: is the pointer that was read for this host, not older than what was accepted, and valid now? If not,
# fail with PROBLEM and MESSAGE.
# shellcheck disable=SC2034 # the caller reads PROBLEM and MESSAGE
judge_pointer() {
    PROBLEM=foreign
    if [ "$POINTER_HOST:$POINTER_CHANNEL" != "$PULL_HOST:$PULL_CHANNEL" ]; then
        MESSAGE="the pointer is for $POINTER_HOST in channel $POINTER_CHANNEL, not for $PULL_HOST in $PULL_CHANNEL"
        return 1
    fi
    PROBLEM=replayed
    judged_floor=${ACCEPTED_SERIAL:-$PULL_MIN_SERIAL}
    if [ "$judged_floor" -lt "$PULL_MIN_SERIAL" ]; then judged_floor=$PULL_MIN_SERIAL; fi
    if [ "$POINTER_SERIAL" -lt "$judged_floor" ]; then
        MESSAGE="the pointer has the serial $POINTER_SERIAL, below $judged_floor, which this host has seen or starts with"
        return 1
    fi
    if [ "$POINTER_SERIAL" = "$ACCEPTED_SERIAL" ] && [ "$POINTER_TOPLEVEL" != "$ACCEPTED_TOPLEVEL" ]; then
        MESSAGE="two pointers with the serial $POINTER_SERIAL name different systems"
        return 1
    fi
    judge_clock "$1" && judge_expiry "$1"
}

# A host without a battery for its clock boots in the past. The clock is wrong if it is before a time that has certainly
# been: an expiry cannot be told then, in either direction.
# shellcheck disable=SC2034 # the caller reads PROBLEM and MESSAGE
judge_clock() {
    PROBLEM=clock
    clock_known=$ACCEPTED_ISSUED
    clock_installed=$(first_line "$PULL/not_before")
    if is_pointer_number "$clock_installed" && [ "$clock_installed" -gt "$clock_known" ]; then clock_known=$clock_installed; fi
    # The publisher has signed this time.
    if [ "$POINTER_ISSUED" -gt "$clock_known" ]; then clock_known=$POINTER_ISSUED; fi
    if [ "$(($1 + CLOCK_TOLERANCE))" -lt "$clock_known" ]; then
        MESSAGE="the clock of this host, or that of the publisher, is wrong: it is $1 here, and $clock_known has been"
        return 1
    fi
}

# shellcheck disable=SC2034 # the caller reads PROBLEM and MESSAGE
judge_expiry() {
    PROBLEM=expired
    if [ "$1" -ge "$POINTER_EXPIRES" ]; then
        MESSAGE="the pointer has expired: the publisher has not renewed it, or the server keeps new ones back"
        return 1
    fi
    PROBLEM=''
}
