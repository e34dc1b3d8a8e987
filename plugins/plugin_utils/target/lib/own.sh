# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Find out which other user could change a file before it is run. The loader contains this part as well.

# is_ours FILE: is it not a link, owned by this user, and not writable by others?
is_ours() {
    [ ! -L "$1" ] && [ -O "$1" ] || return 1
    case $(ls -ldn "$1") in ?????w* | ????????w*) return 1 ;; esac
}

# changeable_above PATH: what others than this user and root can change of PATH and the directories above it, a line each;
# nothing if all is well. Where files are removed by their owners alone (/tmp), others cannot put anything in their place.
changeable_above() {
    above=$1
    set --
    while :; do
        [ ! -e "${above:-/}" ] || set -- "${above:-/}" "$@"
        [ -n "$above" ] || break
        above=${above%/*}
    done
    others='-perm -0002'
    [ "$USER_ID" != 0 ] || others='-perm -0002 -o -perm -0020'
    # shellcheck disable=SC2086 # an expression
    find -L "$@" -prune ! -perm -1000 \( $others \) -print
    for above; do [ -O "$above" ] || find -L "$above" -prune ! -user 0 -print; done
}

# changeable PATH: the same, also for where PATH leads if there are links in it
changeable() {
    changeable_above "$1"
    real=$(CDPATH='' cd -P "$1" 2>/dev/null && pwd -P)
    [ "${real:-$1}" = "$1" ] || changeable_above "$real"
}
