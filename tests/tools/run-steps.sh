#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Run make targets one after the other: run-steps.sh TARGET[,TARGET...]...
#
# Targets joined by a comma run side by side, and print when they have ended.
#
# A target that fails does not keep the following ones from running, so that one run tells everything. The summary
# comes before the last target, because that one ends with the test counts that people and machines look for.

set -u

work=.build/steps
rm -rf "$work"
mkdir -p "$work"

run_step() {
    started=$(date +%s)
    printf '\n=== make %s\n' "$1"
    if ${MAKE:-make} --no-print-directory --keep-going "$1" </dev/null; then
        outcome=ok
    else
        outcome=FAILED
        echo "$1" >>"$work/failed"
        echo "=== make $1 failed" >&2
    fi
    printf '%-18s %-7s %4d s\n' "$1" $outcome $(($(date +%s) - started)) >>"$work/summary"
}

run_side_by_side() {
    for target; do
        run_step "$target" >"$work/$target.log" 2>&1 &
    done
    wait
    for target; do
        cat "$work/$target.log"
    done
}

while [ $# -gt 1 ]; do
    # shellcheck disable=SC2046 # names of targets
    case $1 in
    *,*) run_side_by_side $(echo "$1" | tr , ' ') ;;
    *) run_step "$1" ;;
    esac
    # Nothing works without what the set-up installs: more messages would only hide the first.
    if [ "$1" = setup ] && [ -e "$work/failed" ]; then
        exit 1
    fi
    shift
done
printf '\n=== Steps so far\n'
cat "$work/summary"
run_step "$1"
if [ -e "$work/unsteady" ]; then
    echo "Tests that failed beside others and passed alone:" >&2
    cat "$work/unsteady" >&2
fi
if [ -e "$work/failed" ]; then
    echo "Failed: $(paste -s -d ' ' "$work/failed")" >&2
    exit 1
fi
