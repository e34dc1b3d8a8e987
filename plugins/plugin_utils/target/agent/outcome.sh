# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The end of a run, for administrators, for the controller, and for monitoring: the file `status`, and metrics for the
# textfile collector of Prometheus' node_exporter. Setting: PULL_METRICS (a directory, or empty).
#
# Outcomes. Good ones: committed unchanged held waiting. Of the guard: rolled-back failed locked not-signed refused-by-guard.
# Of the pointer: format signature foreign replayed clock expired. Of the fetch: absent unreachable disk-full closure.
# Of a repository: also build-failed; replayed is a branch that was rewritten.
# Others: quarantined interrupted state-unwritable not-fetched.

# shellcheck disable=SC2034 # agent/activate.sh reads them
OUTCOME='' MESSAGE='' ACTIVATION='' NEEDS_REBOOT='' WANTED_TOPLEVEL='' WANTED_ACTION=switch
# Of a repository: the commit that was chosen, and main or testing
SOURCE_COMMIT='' SOURCE_BRANCH=''

is_good() { case $1 in committed | unchanged | held | waiting) ;; *) return 1 ;; esac; }

# conclude OUTCOME MESSAGE: write the status, and end
conclude() {
    OUTCOME=$1 MESSAGE=$2
    if [ -n "$2" ]; then printf 'nixferry: %s: %s\n' "$1" "$2" >&2; else printf 'nixferry: %s\n' "$1" >&2; fi
    read_accepted
    write_status
    if [ -n "$PULL_METRICS" ]; then write_metrics; fi
    if [ -n "$PULL_REPORT" ]; then bounded 30 systemctl --no-block start nixferry-pull-report.service >&2; fi
    if is_good "$1"; then exit 0; fi
    exit 1
}

# The value KEY of the status before this run; only such as need no decoding
old_status() { sed -n "s/^$1=\([0-9A-Za-z/._+-]*\)\$/\1/p" "$PULL/status" 2>/dev/null | tail -n 1; }

status_lines() {
    say format 1
    say version "$PULL_VERSION"
    say host "$PULL_HOST"
    say channel "$PULL_CHANNEL"
    say kind "$PULL_KIND"
    say profile "$PULL_PROFILE"
    say outcome "$OUTCOME"
    say message "$MESSAGE"
    say time "$status_now"
    say good_time "$status_good"
    say serial "$ACCEPTED_SERIAL"
    say issued "$ACCEPTED_ISSUED"
    say expires "${POINTER_EXPIRES:-}"
    say wanted "${ACCEPTED_TOPLEVEL:-$WANTED_TOPLEVEL}"
    say commit "$SOURCE_COMMIT"
    say branch "$SOURCE_BRANCH"
    say accepted_commit "$(first_line "$PULL/accepted_commit")"
    say current "$(resolved "$PULL_PROFILE")"
    say activation "$ACTIVATION"
    say needs_reboot "${NEEDS_REBOOT:-0}"
    read_hold "$status_now"
    say held "$HELD"
    for status_file in "$PULL/quarantine"/*; do
        if [ ! -f "$status_file" ]; then continue; fi
        status_name=${status_file##*/}
        if is_commit "$status_name"; then say quarantined "$status_name"; else say quarantined "$ROOT/nix/store/$status_name"; fi
    done
    say end status
}

write_status() {
    status_now=$(date +%s)
    status_good=$(old_status good_time)
    if is_good "$OUTCOME"; then status_good=$status_now; fi
    give "$PULL/status" "$(status_lines 3>&1)"
}

metric() { # NAME HELP VALUE
    printf '# HELP nixferry_pull_%s %s\n# TYPE nixferry_pull_%s gauge\nnixferry_pull_%s %s\n' "$1" "$2" "$1" "$1" "$3"
}

metrics_text() {
    metric last_run_timestamp_seconds 'End of the last run of the agent.' "$status_now"
    metric last_good_run_timestamp_seconds 'End of the last run that ended well.' "${status_good:-0}"
    metric serial 'Serial of the last accepted pointer.' "${ACCEPTED_SERIAL:-0}"
    metric pointer_issued_timestamp_seconds 'Time at which the last accepted pointer was issued.' "$ACCEPTED_ISSUED"
    metric pointer_expires_timestamp_seconds 'Time at which it expires.' "${POINTER_EXPIRES:-0}"
    metric needs_reboot 'Whether the host has to reboot to run all of its system.' "${NEEDS_REBOOT:-0}"
    metric held 'Whether an administrator holds activations back.' "$(if [ -n "$HELD" ]; then echo 1; else echo 0; fi)"
    metric quarantined_paths 'Store paths that are not activated again until they are cleared.' \
        "$(find "$PULL/quarantine" -type f 2>/dev/null | wc -l | tr -d ' ')"
    printf '# HELP nixferry_pull_outcome Outcome of the last run.\n# TYPE nixferry_pull_outcome gauge\n'
    printf 'nixferry_pull_outcome{outcome="%s"} 1\n' "$OUTCOME"
}

# The collector reads files that end with .prom: it never sees half of one.
write_metrics() { give "$PULL_METRICS/nixferry_pull.prom" "$(metrics_text)"; }
