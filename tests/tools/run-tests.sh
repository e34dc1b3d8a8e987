#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Run pytest; if it runs tests side by side (--numprocesses), then those that have failed once more by themselves:
# run-tests.sh PYTHON PYTEST-ARGUMENT...
#
# A busy machine can make a host miss a deadline that it keeps when left alone. A test that fails again has failed. One
# that passes then is named at the end of the run and in the summary of run-steps.sh: its deadline is too short for this
# machine, or there is a race to look for. When many fail, the machine is not what is wrong, and nothing is run again.

set -u

most_run_again=8
python=$1
shift

case " $* " in
*" --numprocesses "*) ;;
*) exec "$python" -m pytest "$@" ;;
esac

mkdir -p .build
cache=$(mktemp -d "$PWD/.build/pytest-XXXXXX")
trap 'rm -rf "$cache"' EXIT

"$python" -m pytest -o cache_dir="$cache" "$@"
status=$?

failed=$("$python" -c 'if True:
    import json, pathlib, sys
    path = pathlib.Path(sys.argv[1], "v/cache/lastfailed")
    print(*(json.loads(path.read_text()) if path.exists() else ()), sep="\n")
' "$cache")
if [ "$status" != 1 ] || [ -z "$failed" ] || [ "$(printf '%s\n' "$failed" | wc -l)" -gt "$most_run_again" ]; then
    exit "$status"
fi

printf '\nOnce more, one after the other:\n%s\n' "$failed"
"$python" -m pytest -o cache_dir="$cache" "$@" --numprocesses 0 --last-failed --last-failed-no-failures none
status=$?
if [ "$status" = 0 ]; then
    mkdir -p .build/steps
    printf '%s\n' "$failed" >>.build/steps/unsteady
    printf 'Failed beside other tests, passed alone:\n%s\n' "$failed" >&2
fi
exit "$status"
