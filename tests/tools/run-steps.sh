#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Run make targets one after the other: run-steps.sh TARGET[+TARGET...][,TARGET[+TARGET...]...]...
#
# Targets joined by a comma run side by side, and print when they have ended. Those joined by a plus sign run one after
# the other within that.
#
# A target that fails does not keep the following ones from running, so that one run tells everything. At the end come
# the steps and the slowest tests, which stay in .build/steps, and as the last line the test counts that people and
# machines look for.

set -u

work=.build/steps
rm -rf "$work"
mkdir -p "$work"

# Processor seconds that the whole machine has worked since its boot; nothing where the system does not tell. Two
# processors that were never idle have a run's length twice: then only less work makes the run shorter.
processor_seconds() {
    if [ -r /proc/stat ]; then
        awk -v ticks="$(getconf CLK_TCK)" '$1 == "cpu" { printf "%d", ($2 + $3 + $4 + $7 + $8) / ticks }' /proc/stat
    fi
}

run_step() {
    started=$(date +%s)
    printf '\n=== make %s\n' "$1"
    if NIXFERRY_TEST_STEP=$1 NIXFERRY_TEST_RESULTS=$PWD/$work/tests ${MAKE:-make} --no-print-directory --keep-going "$1" </dev/null; then
        outcome=ok
    else
        outcome=FAILED
        echo "$1" >>"$work/failed"
        echo "=== make $1 failed" >&2
    fi
    printf '%-18s %-7s %4d s\n' "$1" $outcome $(($(date +%s) - started)) >>"$work/summary"
}

run_side_by_side() {
    for lane; do
        for target in $(echo "$lane" | tr + ' '); do
            run_step "$target" >"$work/$target.log" 2>&1
        done &
    done
    wait
    for target in $(echo "$*" | tr + ' '); do
        cat "$work/$target.log"
    done
}

worked_before=$(processor_seconds)
for group; do
    # shellcheck disable=SC2046 # names of targets
    case $group in
    *,*) run_side_by_side $(echo "$group" | tr , ' ') ;;
    *) run_step "$group" ;;
    esac
    # Nothing works without what the set-up installs: more messages would only hide the first.
    if [ "$group" = setup ] && [ -e "$work/failed" ]; then
        exit 1
    fi
done

if [ -n "$worked_before" ]; then
    printf '%-18s %-7s %4d s\n' '(processors)' '' $(($(processor_seconds) - worked_before)) >>"$work/summary"
fi
printf '\n=== Steps\n'
cat "$work/summary"
if [ -e "$work/unsteady" ]; then
    echo "Tests that failed beside others and passed alone:"
    cat "$work/unsteady"
fi
status=0
if [ -e "$work/failed" ]; then
    echo "Failed: $(paste -s -d ' ' "$work/failed")"
    status=1
fi
"$(dirname "$0")/../../.venv/bin/python" "$(dirname "$0")/report_tests.py" "$work" || status=1
exit $status
