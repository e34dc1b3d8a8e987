# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Tell the controller the status of the pull agent, for every user. Nothing is said of a host that has none.

look_at_agent() {
    # shellcheck disable=SC2034 # lib/base.sh ends the answer with it
    VERB=pull_status
    exec 3>&1 1>&2
    answer_begins
    say now "$(date +%s)"
    if [ -e "$PULL/profile" ]; then say installed 1; fi
    if have systemctl; then say timer "$(bounded 30 systemctl is-active nixferry-pull.timer 2>/dev/null)"; fi
    if [ -e "$PULL/under_way" ]; then say under_way 1; fi
    # The agent replaces the file as a whole. After damage to the disk it may contain anything.
    grep '^[a-z_]*=[ -$&-~]*\(%[0-9a-f][0-9a-f][ -$&-~]*\)*$' "$PULL/status" 2>/dev/null |
        grep -v -e '^end=' -e '^now=' -e '^installed=' -e '^timer=' -e '^under_way=' >&3
    answer_ends
}

look_at_agent
