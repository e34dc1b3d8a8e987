#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The demonstration over SSH on three lab hosts: containers with systemd, sshd and Nix, and no Python.
set -eu
demo_directory=$(pwd)/.build/demo
# shellcheck source=demo/common.sh
. demo/common.sh

lab=.build/lab/demo
hosts='web1 web2 web3'
engine_ran=$(docker info >/dev/null 2>&1 && echo yes || echo no)

clean_up() {
    heading "Removing the lab hosts"
    ansible-playbook tests/lab/down.yml -e lab_name=demo >"$demo_directory/down.log" 2>&1 || cat "$demo_directory/down.log"
    rm -rf "$demo_directory"
    if [ "$engine_ran" = no ]; then tests/lab/scripts/stop-docker .build/lab; fi
}

rm -rf "$demo_directory"
mkdir -p "$demo_directory"
trap clean_up EXIT
trap 'exit 130' INT TERM

heading "Starting three lab hosts (the first time, their images are built: some minutes)"
ansible-playbook tests/lab/up.yml -e lab_name=demo >"$demo_directory/up.log" 2>&1 || {
    cat "$demo_directory/up.log"
    stop_with "the lab did not start"
}

for version in 1 2 3; do
    healthy=$([ "$version" = 3 ] && echo false || echo true)
    for host in $hosts; do
        printf '"%s": {"version": "%s", "web": {"healthy": %s}}\n' "$host" "$version" "$healthy"
    done | paste -sd, | sed 's/.*/{&}/' >"$demo_directory/hosts.json"
    tests/fixtures/mini-nixos/materialise "$demo_directory/v$version" "$demo_directory/hosts.json"
done

set_variables demo_directory "$demo_directory"
export ANSIBLE_CONFIG="$PWD/$lab/ansible.cfg"
deploy() { tell_play demo/fleet.yml -e "demo_version=$1"; }

expect_everywhere() {
    sed -n 's/^ *lab_http_port: *//p' "$lab/inventory.yml" >"$demo_directory/ports"
    while read -r port; do
        expect_version "http://127.0.0.1:$port" "$1"
    done <"$demo_directory/ports"
}

for version in 1 2; do
    heading "Version $version: build once, deploy to three hosts at once"
    expect_success "version $version was not deployed" deploy "$version"
    expect_everywhere "$version"
    remember "version $version deployed to three hosts"
done

heading "Version 2 once more: nothing to do"
expect_success "the second run failed" deploy 2
if grep -q 'changed=[1-9]' "$log"; then
    cat "$log"
    stop_with "the second run changed something"
fi
echo "  Ansible says: changed=0 on every host"
remember "version 2 again: changed=0 on every host"

heading "Version 3 is broken: its health check fails, and every host rolls back"
if deploy 3; then stop_with "a broken version was called healthy"; fi
expect_success "version 3 was not rolled back" grep -q rolled-back "$log"
expect_everywhere 2
remember "version 3 failed its health check: rolled back by themselves, version 2 still answers everywhere"

heading "Back to version 1 by hand"
expect_success "the roll-back failed" tell_play nixferry.deploy.rollback -e nixferry_hosts=lab
expect_everywhere 1
remember "rolled back by hand: version 1 answers everywhere"

heading "What runs now"
ansible-playbook nixferry.deploy.status -e nixferry_hosts=lab

print_summary
