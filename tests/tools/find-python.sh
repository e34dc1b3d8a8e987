#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Print the path of a Python interpreter that the collection's tools can run on, or fail with a remedy.
#
# find-python.sh default     what "python3" means on this machine if it is new enough, otherwise the newest there is
# find-python.sh newest      the newest interpreter that the newest supported ansible-core runs on; fails when the
#                            machine has none that is newer than what "default" prints
# find-python.sh link DIR    fill DIR with links python3.N to every interpreter from the oldest that a managed host
#                            may have up to the newest

set -eu

# ansible-core 2.19 wants Python 3.11; 2.21 runs on 3.12 to 3.14. Managed hosts may have 3.8.
OLDEST_ON_HOSTS=8
OLDEST_MINOR=11
NEWEST_MINOR=14

# Print "<minor version> <real path>" when the given program is a Python 3 that can make virtual environments.
examine() {
    "$1" -c '
import os, sys
import ensurepip, venv
if sys.version_info[0] == 3:
    print(sys.version_info[1], os.path.realpath(sys.executable))
' 2>/dev/null
}

# The same for a name that is looked up. pyenv puts wrappers on PATH that fail for every version that is not switched
# on, so it is asked where the real ones are.
describe() {
    if examine "$1"; then
        return 0
    fi
    command -v pyenv >/dev/null 2>&1 || return 1
    for version in $(pyenv whence "$1" 2>/dev/null | sort -r); do
        if examine "$(pyenv prefix "$version")/bin/$1"; then
            return 0
        fi
    done
    return 1
}

newest() {
    minor=$NEWEST_MINOR
    while [ "$minor" -ge "$1" ]; do
        if found=$(describe "python3.$minor") && [ -n "$found" ]; then
            echo "$found"
            return 0
        fi
        minor=$((minor - 1))
    done
    return 1
}

default() {
    if found=$(describe python3) && [ -n "$found" ]; then
        minor=${found%% *}
        if [ "$minor" -ge $OLDEST_MINOR ] && [ "$minor" -le $NEWEST_MINOR ]; then
            echo "$found"
            return 0
        fi
    fi
    newest $OLDEST_MINOR
}

case ${1-} in
default)
    if ! found=$(default); then
        echo "No Python from 3.$OLDEST_MINOR to 3.$NEWEST_MINOR that can make virtual environments was found on PATH." >&2
        echo "On Debian and Ubuntu: apt-get install python3 python3-venv" >&2
        exit 1
    fi
    ;;
newest)
    usual=$(default) || exit 1
    oldest=$((${usual%% *} + 1))
    [ $oldest -ge 12 ] || oldest=12
    found=$(newest $oldest) || exit 1
    ;;
link)
    mkdir -p "$2"
    minor=$OLDEST_ON_HOSTS
    while [ $minor -le $NEWEST_MINOR ]; do
        rm -f "$2/python3.$minor"
        if found=$(describe "python3.$minor") && [ -n "$found" ]; then
            ln -s "${found#* }" "$2/python3.$minor"
        fi
        minor=$((minor + 1))
    done
    exit 0
    ;;
*)
    echo "usage: find-python.sh default|newest|link DIRECTORY" >&2
    exit 2
    ;;
esac
echo "${found#* }"
