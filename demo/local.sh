#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The demonstration on this machine alone: no container, no SSH, and no root beyond the installation of Nix.
set -eu
demo_directory=$(pwd)/.build/demo
# shellcheck source=demo/common.sh
. demo/common.sh

if [ "$(id -u)" = 0 ]; then guard_state=/var/lib/nixferry; else
    guard_state=${XDG_STATE_HOME:-$HOME/.local/state}/nixferry
fi
guard_state_was_there=$([ -e "$guard_state" ] && echo yes || echo no)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port

clean_up() {
    if [ -x "$demo_directory/profile/bin/service" ]; then
        SERVICE_STATE=$demo_directory/state "$demo_directory/profile/bin/service" stop || true
    fi
    if [ "$guard_state_was_there" = no ]; then rm -rf "$guard_state"; fi
    rm -rf "$demo_directory"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

rm -rf "$demo_directory"
mkdir -p "$demo_directory"
tests/fixtures/web-service/materialise "$demo_directory/service"
set_variables demo_directory "$demo_directory" demo_port "$port"
deploy() { tell_play demo/service.yml -e "demo_version=$1"; }

heading "Version 1: build it and switch it on"
expect_success "version 1 was not deployed" deploy 1
expect_version "$url" 1
remember "version 1 deployed, answers on $url"

heading "Version 2: the same command"
expect_success "version 2 was not deployed" deploy 2
expect_version "$url" 2
remember "version 2 deployed"

heading "Version 2 once more: nothing to do"
expect_success "the second run failed" deploy 2
expect_success "the second run changed something" grep -q 'changed=0 ' "$log"
echo "  Ansible says: changed=0"
remember "version 2 again: changed=0"

heading "Version 3 is broken: its health check fails, and it is rolled back"
if deploy 3; then stop_with "a broken version was called healthy"; fi
expect_success "version 3 was not rolled back" grep -q rolled-back "$log"
expect_version "$url" 2
remember "version 3 failed its health check: rolled back by itself, version 2 still answers"

heading "Back to version 1 by hand"
expect_success "the roll-back failed" tell_play demo/rollback.yml -e to=previous
expect_version "$url" 1
remember "rolled back by hand: version 1 answers"

print_summary
