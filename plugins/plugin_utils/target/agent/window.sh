# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Maintenance windows: lines `HH:MM-HH:MM`, on days that may stand in front, as in `Sat,Sun 22:00-04:00`. The time is that of
# the host's time zone. A window that ends before it begins ends on the next day. Its first minute belongs to it, its last
# does not.

# minutes_of HH:MM
minutes_of() {
    case $1 in [01][0-9]:[0-5][0-9] | 2[0-3]:[0-5][0-9] | 24:00) ;; *) return 1 ;; esac
    minutes_hour=${1%:*} minutes_rest=${1#*:}
    # A shell reads 08 as an octal number, and fails.
    echo "$((${minutes_hour#0} * 60 + ${minutes_rest#0}))"
}

# is_in_window LINES DAY HH:MM: DAY is Mon, Tue... No line at all is a window that is always open.
is_in_window() {
    [ -n "$1" ] || return 0
    window_day=$2
    window_now=$(minutes_of "$3") || return 1
    case $2 in
        Mon) window_yesterday=Sun ;; Tue) window_yesterday=Mon ;; Wed) window_yesterday=Tue ;; Thu) window_yesterday=Wed ;;
        Fri) window_yesterday=Thu ;; Sat) window_yesterday=Fri ;; Sun) window_yesterday=Sat ;; *) return 1 ;;
    esac
    while IFS= read -r window_line; do
        if is_in_line "$window_line"; then return 0; fi
    done <<EOT
$1
EOT
    return 1
}

is_in_line() {
    window_days=Mon,Tue,Wed,Thu,Fri,Sat,Sun
    case $1 in *' '*) window_days=${1%% *} ;; esac
    window_hours=${1##* }
    window_begin=$(minutes_of "${window_hours%-*}") && window_end=$(minutes_of "${window_hours#*-}") || return 1
    if [ "$window_begin" -lt "$window_end" ]; then
        has_day "$window_day" && [ "$window_now" -ge "$window_begin" ] && [ "$window_now" -lt "$window_end" ]
    else
        { has_day "$window_day" && [ "$window_now" -ge "$window_begin" ]; } ||
            { has_day "$window_yesterday" && [ "$window_now" -lt "$window_end" ]; }
    fi
}

has_day() { case ,$window_days, in *,"$1",*) ;; *) return 1 ;; esac; }

# is_open LINES: is it now?
is_open() {
    # shellcheck disable=SC2046 # two words
    is_in_window "$1" $(date '+%a %H:%M')
}
