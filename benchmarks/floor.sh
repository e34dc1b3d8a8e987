#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# floor.sh SSH_CONFIG CONTROL_DIRECTORY TARGETS FORKS: the least that a deploy can be.
#
# TARGETS is a file with a line "HOST TOPLEVEL" for each host. FORKS hosts at once, over one ssh connection each: ask
# what runs and what the profile says; when that is not TOPLEVEL, copy what is missing, set the profile and switch.
# No health check, no way back, no lock, no explanation.
#
# floor.sh SSH_CONFIG CONTROL_DIRECTORY --host HOST TOPLEVEL: one of them.
set -eu
ssh_config=$1
control_directory=$2
profile=/nix/var/nix/profiles/system

options="-F $ssh_config -o BatchMode=yes -o ControlMaster=auto -o ControlPersist=60 -o ControlPath=$control_directory/%C"

# remote HOST COMMAND...: the options are words, none of which contains a space.
remote() {
    # shellcheck disable=SC2029,SC2086  # what reaches the host is expanded here on purpose
    ssh $options "$@" </dev/null
}

deploy() {
    host=$1
    toplevel=$2
    state=$(remote "$host" "readlink -f /run/current-system $profile")
    [ "$state" != "$toplevel
$toplevel" ] || return 0
    NIX_SSHOPTS=$options nix-copy-closure --to "$host" "$toplevel"
    remote "$host" "nix-env --profile $profile --set $toplevel && $toplevel/bin/switch-to-configuration switch"
}

if [ "$3" = --host ]; then
    deploy "$4" "$5"
else
    exec xargs -r -n 2 -P "$4" -- "$0" "$ssh_config" "$control_directory" --host <"$3"
fi
