# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The answer to the controller: key=value lines on descriptor 3.

# Other bytes are written as %xx, so that every value fits on one line.
say() {
    case $2 in
        *[!A-Za-z0-9/._:@,+=\ -]*)
            said_bytes=$(printf %s "$2" | od -An -v -tx1 | tr -s ' \t\n' '%%%')
            printf '%s=%s\n' "$1" "${said_bytes%\%}" >&3
            ;;
        *) printf '%s=%s\n' "$1" "$2" >&3 ;;
    esac
}

# say_lines KEY TEXT: one pair for each line
say_lines() {
    printf '%s\n' "$2" | while IFS= read -r said_line; do
        if [ -n "$said_line" ]; then say "$1" "$said_line"; fi
    done
}

# say_end_of KEY FILE: the last 16 KiB
say_end_of() {
    if [ -s "$2" ]; then say "$1" "$(tail -c 16384 "$2")"; fi
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
