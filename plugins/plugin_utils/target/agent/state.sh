# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The state of the pull agent. It belongs to root; every user may read it, since it holds no secrets.
#   /var/lib/nixferry-pull/
#     incoming      what the fetching user has printed: a pointer that is not trusted. systemd opens the file for it, so that
#                   this user can make neither a link nor a pipe of it.
#     accepted      the last pointer whose signature, host, channel, serial and times were right
#     bundle        with a repository: what was fetched last, which is not trusted
#     built         what the building user has printed
#     accepted_commit  the last commit of the main branch that was right: the branch does not go back behind it
#     have          a commit that the building user has, so that it need not be fetched again
#     under_way     ID SERIAL TOPLEVEL of an activation whose end is not recorded yet; with a repository a commit for SERIAL
#     tries         TOPLEVEL NUMBER: how often its activation was interrupted; or a commit, and how often it was not built
#     quarantine/   one file a store path that was rolled back, with the reason; a path in it is not activated again.
#                   A file that is named after a commit keeps that from being built again.
#     hold          UNTIL REASON: nothing is activated until this time; 0 is for ever
#     not_before    the time of the installation: a clock before it is wrong
#     status        the end of the last run, as key=value lines (lib/answer.sh)
# All times are in seconds since the epoch.

PULL=$ROOT/var/lib/nixferry-pull
PULL_RUN=$ROOT/run/nixferry-pull
TRIES=2 # so often may an activation of one path be interrupted

# give FILE TEXT: replace FILE as a whole, readable for every user
give() {
    if printf '%s\n' "$2" >"$1.new" && chmod 644 "$1.new" && mv -f "$1.new" "$1"; then return 0; fi
    rm -f "$1.new"
    return 1
} 2>/dev/null

# give_lasting FILE TEXT: the same, and fail if a power cut could forget it
give_lasting() { give "$1" "$2" && on_disk "$PULL"; }

# quarantined_name TOPLEVEL: the name of its file
quarantine_file() { echo "$PULL/quarantine/${1##*/}"; }

is_quarantined() { [ -e "$(quarantine_file "$1")" ]; }

# quarantine TOPLEVEL REASON. A disk that takes no file must not let the path be activated for ever: it lies in main memory
# then.
quarantine() {
    (umask 022 && mkdir -p "$PULL/quarantine") 2>/dev/null
    give_lasting "$(quarantine_file "$1")" "$2" || { mkdir -p "$PULL_RUN" && give "$PULL_RUN/quarantined" "$1"; }
}

# Is TOPLEVEL kept back, on the disk or in main memory?
is_kept_back() { is_quarantined "$1" || [ "$(first_line "$PULL_RUN/quarantined")" = "$1" ]; }

# count_try TOPLEVEL: fail if it was interrupted too often
count_try() {
    tried_path='' tried_times=0
    { read -r tried_path tried_times <"$PULL/tries"; } 2>/dev/null
    if [ "$tried_path" != "$1" ]; then tried_times=0; fi
    case $tried_times in [0-9]) ;; *) tried_times=0 ;; esac
    tried_times=$((tried_times + 1))
    give_lasting "$PULL/tries" "$1 $tried_times"
    [ "$tried_times" -lt "$TRIES" ]
}

# read_hold NOW: set HELD to the reason if nothing may be activated; empty otherwise
# shellcheck disable=SC2034 # the caller reads HELD
read_hold() {
    HELD='' held_until='' held_reason=''
    [ -e "$PULL/hold" ] || return 0
    { read -r held_until held_reason <"$PULL/hold"; } 2>/dev/null
    # A file that cannot be read holds: an administrator made it.
    case $held_until in
        '' | *[!0-9]*) HELD=${held_reason:-no reason given} ;;
        0) HELD=${held_reason:-no reason given} ;;
        *) if [ "${#held_until}" -gt 15 ] || [ "$1" -lt "$held_until" ]; then HELD=${held_reason:-no reason given}; fi ;;
    esac
}
