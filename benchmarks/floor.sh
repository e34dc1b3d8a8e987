#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# floor.sh SSH_CONFIG CONTROL_DIRECTORY TARGETS: the least that a deploy can be.
#
# TARGETS is a file with a line "HOST TOPLEVEL" for each host. All hosts at once, over one ssh connection each: ask
# what runs and what the profile says; when that is not TOPLEVEL, copy what is missing, set the profile and switch.
# No health check, no way back, no lock, no explanation.
set -eu
ssh_config=$1
control_directory=$2
targets=$3
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

jobs=''
while read -r host toplevel; do
    deploy "$host" "$toplevel" &
    jobs="$jobs $!"
done <"$targets"

failed=0
for job in $jobs; do
    wait "$job" || failed=1
done
exit "$failed"
