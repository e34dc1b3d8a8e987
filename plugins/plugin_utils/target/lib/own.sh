# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Who else could change what is about to be run. The loader has this part as well.

# is_ours FILE: it is no link, belongs to this user, and no other may write to it
is_ours() {
    [ ! -L "$1" ] && [ -O "$1" ] || return 1
    case $(ls -ldn "$1") in ?????w* | ????????w*) return 1 ;; esac
}

# changeable_above PATH: the first directory, from PATH up to the root, in which others than this user and root
# could put something else. Fails if there is none. Where files can be removed by their owners alone (/tmp), none can.
changeable_above() {
    above=$1
    while :; do
        if [ -e "${above:-/}" ]; then
            # shellcheck disable=SC2046 # mode, links, owner
            set -- $(ls -ldnL "${above:-/}")
            case $USER_ID:$1 in 0:?????w???[!tT]* | *:????????w[!tT]*) break ;; esac
            [ -O "${above:-/}" ] || [ "$3" = 0 ] || break
        fi
        [ -n "$above" ] || return 1
        above=${above%/*}
    done
    echo "${above:-/}"
}

# changeable PATH: the same, also for where PATH leads if there are links in it
changeable() {
    changeable_above "$1" && return
    real=$(CDPATH='' cd -P "$1" 2>/dev/null && pwd -P)
    [ "${real:-$1}" != "$1" ] && changeable_above "$real"
}
