# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Metrics of the last activation of a profile, for the textfile collector of Prometheus' node_exporter. They end as those of
# the pull agent (agent/outcome.sh). One file a profile, so that several may be deployed to one host.

METRICS_DEFAULT=$ROOT/var/lib/prometheus/node-exporter # Debian's; used where it exists
METRICS_SECONDS=20                                     # a directory may be on a network that is gone

# A failure here changes nothing about the activation.
write_metrics() { # PHASE
    is_root || return 0
    recall request/metrics_directory
    metrics_in=${TEXT:-$METRICS_DEFAULT}
    # What follows costs processes, of which most hosts have no use.
    if [ "$TEXT" = none ] || { [ -z "$TEXT" ] && [ ! -d "$METRICS_DEFAULT" ]; }; then return 0; fi
    # A label cannot hold these as they are.
    case $PROFILE in *[\"\\]* | *"$NEWLINE"*) return 0 ;; esac
    recall request/action
    metrics_outcome=$1
    if [ "$1:$TEXT" = committed:test ]; then metrics_outcome=tested; fi
    metrics_reboot=0
    if [ "$1" = committed ] && [ -n "$(reboot_reasons "$KIND_BOOTED" "$SYSTEM" "$KIND_CURRENT")" ]; then metrics_reboot=1; fi
    recall request/metrics_directory
    if ! bounded "$METRICS_SECONDS" place_metrics "$metrics_in" && [ -n "$TEXT" ]; then
        note "the metrics could not be written to $metrics_in: is it a directory, and is there room?"
    fi
} 2>/dev/null

# Another user may own the directory: a link that lies there is not followed. The collector never sees half of a file.
place_metrics() { # DIRECTORY
    [ -d "$1" ] || return 1
    metrics_name=nixferry_deploy$(printf '%s' "$PROFILE" | tr -c 'A-Za-z0-9\n' _)
    metrics_now=$(date +%s)
    metrics_good=$(sed -n 's/^nixferry_deploy_last_good_run_timestamp_seconds{.*} \([0-9]\{1,15\}\)$/\1/p' \
        "$1/$metrics_name.prom" | head -n 1)
    case $metrics_outcome in committed | tested) metrics_good=$metrics_now ;; esac
    umask 022
    set -C
    rm -f "$1/$metrics_name.new" && print_metrics >"$1/$metrics_name.new" && mv -f "$1/$metrics_name.new" "$1/$metrics_name.prom"
}

print_metrics() {
    metric last_run_timestamp_seconds 'End of the last activation.' "$metrics_now"
    metric last_good_run_timestamp_seconds 'End of the last activation that ended well.' "${metrics_good:-0}"
    metric needs_reboot 'Whether the host has to reboot to run all of its system.' "$metrics_reboot"
    metric outcome 'Outcome of the last activation.' 1 "outcome=\"$metrics_outcome\","
}

metric() { # NAME HELP VALUE [LABEL,]
    printf '# HELP nixferry_deploy_%s %s\n# TYPE nixferry_deploy_%s gauge\n' "$1" "$2" "$1"
    printf 'nixferry_deploy_%s{%skind="%s",profile="%s"} %s\n' "$1" "${4:-}" "$KIND" "$PROFILE" "$3"
}
