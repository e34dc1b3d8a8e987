#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Write requirements/locked anew from requirements: every package that is installed, for each Python from 3.11 on, with the
# hashes of its files. pip takes hashes from requirements files only, not from constraints, so each file is complete.
#
# lock-requirements.sh PYTHON [OPTION...]   (PYTHON has the package uv; OPTIONs of `uv pip compile`, such as --upgrade)

set -eu

python=$1
shift
cd "$(dirname "$0")/../.."
# uv does not read pip's configuration, which says where this machine finds packages.
index=$("$python" -m pip config get global.index-url 2>/dev/null || :)
if [ -n "$index" ]; then
    UV_DEFAULT_INDEX=$index
    export UV_DEFAULT_INDEX
fi

lock() { # NAME OPTION...
    name=$1
    shift
    "$python" -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --output-file "requirements/locked/$name.txt" "$@" "requirements/$name.txt"
}

lock lock "$@"
lock test "$@"
# The versions of the largest, so that one environment satisfies them all.
for name in demo unit docs; do
    lock "$name" --constraint requirements/locked/test.txt "$@"
done
