# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The answer to the controller: key=value lines on descriptor 3.

NEWLINE='
'

# Bytes outside printable ASCII, and %, are written as %xx, so that every value fits on one line.
say() {
    case $2 in
        *[!\ -\$\&-~]*) say_bytes "$1" "$(printf %s "$2" | as_bytes)" ;;
        *) printf '%s=%s\n' "$1" "$2" >&3 ;;
    esac
}

as_bytes() { od -An -v -tx1 | tr -s ' \t\n' '%%%'; }

say_bytes() { printf '%s=%s\n' "$1" "${2%\%}" >&3; } # KEY BYTES

# split_lines TEXT FUNCTION WORD...: call the function with the words and the lines of TEXT that are not empty
split_lines() {
    split_text=$1
    shift
    set -f
    IFS=$NEWLINE
    # shellcheck disable=SC2086 # lines
    set -- "$@" $split_text
    # The shell splits at spaces, tabs and newlines again.
    unset IFS
    set +f
    "$@"
}

# say_lines KEY TEXT: one pair for each line
say_lines() { split_lines "$2" say_each "$1"; }

say_each() { # KEY VALUE...
    said_key=$1
    shift
    for said_line; do say "$said_key" "$said_line"; done
}

# say_end_of KEY FILE: the last 16 KiB
say_end_of() {
    if [ ! -s "$2" ]; then return 0; fi
    end_bytes=$(tail -c 16384 "$2" | as_bytes)
    end_bytes=${end_bytes%\%}
    while :; do case $end_bytes in *%0a) end_bytes=${end_bytes%\%0a} ;; *) break ;; esac; done
    say_bytes "$1" "$end_bytes"
}

# Join lines into one.
listed() {
    # shellcheck disable=SC2086 # the words are what is wanted
    echo $1
}

# True while the controller is connected: otherwise this line, which the controller ignores, cannot be written.
is_listened_to() { (trap '' PIPE; echo listened=1 >&3) 2>/dev/null; }

# A login script may have printed an unfinished line.
answer_begins() { printf "\nnixferry=1\n" >&3; }

answer_ends() {
    printf 'end=%s\n' "$VERB" >&3
    exit "${1:-0}"
}

# error CODE MESSAGE: answer with the error, and exit
error() {
    say error "$1"
    say message "$2"
    answer_ends 1
}
