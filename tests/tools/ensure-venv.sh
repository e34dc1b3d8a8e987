#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Make a virtual environment hold what a requirements file asks for, in the versions and with the contents of its lock file
# (requirements/locked, made by lock-requirements.sh): pip refuses a file whose hash is not there.
#
# ensure-venv.sh DIRECTORY PYTHON REQUIREMENTS   (paths from the top of the checkout; PYTHON may be empty)
#
# Nothing is done when the environment was made by the same interpreter and the requirements file (with those it
# includes) has not changed since: a checksum of both is kept in the environment. pip finds its index where its own
# configuration says.

set -eu

if [ $# -ne 3 ]; then
    echo "usage: ensure-venv.sh DIRECTORY PYTHON REQUIREMENTS" >&2
    exit 2
fi
directory=$1 python=$2 requirements=$3
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

if [ -z "$python" ]; then
    python=$("$here/find-python.sh" default)
fi

# A requirements file and those that it includes by "-r NAME", one path a line.
files_of() {
    echo "$1"
    # shellcheck disable=SC2013 # one name a line, without spaces
    for included in $(sed -n 's/^-r //p' "$1"); do
        files_of "$(dirname "$requirements")/$included"
    done
}

locked() {
    echo "requirements/locked/$(basename "$1")"
}

stamp_of() {
    echo "$directory/.installed-$(basename "$1" .txt)"
}

# What the stamp of a requirements file holds when the environment satisfies it.
wanted_by() {
    (
        "$python" -c 'import sys; print(sys.version)'
        # shellcheck disable=SC2046 # paths without spaces
        cat $(files_of "$1") "$(locked "$1")"
    ) | cksum
}

wanted=$(wanted_by "$requirements")

ready() {
    [ -x "$directory/bin/python" ] && "$directory/bin/python" -c '' 2>/dev/null &&
        [ "$(cat "$(stamp_of "$requirements")" 2>/dev/null)" = "$wanted" ]
}

if ready; then
    exit 0
fi

# Two runs of make must not fill one environment at the same time. The lock is held as long as this process lives.
if command -v flock >/dev/null 2>&1; then
    mkdir -p .build/locks
    exec 9>".build/locks/$(basename "$directory")"
    flock 9
    if ready; then
        exit 0
    fi
fi

echo "Setting up $directory with $("$python" --version) from $requirements: downloading packages"
if ! [ -x "$directory/bin/python" ] || ! "$directory/bin/python" -c '' 2>/dev/null ||
    [ "$("$directory/bin/python" -c 'import sys; print(sys.version)')" != "$("$python" -c 'import sys; print(sys.version)')" ]; then
    "$python" -m venv --clear "$directory"
fi
"$directory/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
    --requirement "$(locked "$requirements")" 9>&-
for file in $(files_of "$requirements"); do
    wanted_by "$file" >"$(stamp_of "$file")"
done
