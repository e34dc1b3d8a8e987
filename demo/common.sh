# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What both demonstrations share: the story, checks that end the demonstration when they fail, and the environment.

began=$(date +%s)

# Root on a machine where no Nix installer made build users builds as itself.
if [ "$(id -u)" = 0 ] && ! getent group nixbld >/dev/null 2>&1; then
    NIX_CONFIG="build-users-group =
sandbox = false
${NIX_CONFIG:-}"
fi
# Everything that the demonstration builds, it builds from what is here.
NIX_CONFIG="substituters =
${NIX_CONFIG:-}"
export NIX_CONFIG
export ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_INVENTORY_UNPARSED_WARNING=false

heading() { printf '\n=== %s\n' "$1"; }

# What the last playbook printed.
log=${demo_directory:?}/log

# tell_play PLAYBOOK ARGUMENT...: run a playbook with the variables of the demonstration. What the collection says while
# it works is the story, one line a step; what Ansible prints about it goes to the log.
tell_play() {
    {
        ansible-playbook "$@" -e "@$demo_directory/variables.json" 2>&1 >"$log" && echo 0 >"$log.code" || echo $? >"$log.code"
    } | while IFS= read -r line; do
        printf '  %s\n' "${line#\[localhost\] }"
    done
    return "$(cat "$log.code")"
}

# expect_success WHAT COMMAND...: run the command; if it fails, show the log and end the demonstration.
expect_success() {
    what=$1
    shift
    "$@" || {
        cat "$log"
        stop_with "$what"
    }
}

# set_variables NAME VALUE...: keep the variables of the demonstration as JSON: a value may have any character.
set_variables() {
    python3 -c 'import json, sys; print(json.dumps(dict(zip(sys.argv[1::2], sys.argv[2::2]))))' "$@" \
        >"$demo_directory/variables.json"
}

summary=''
remember() { summary="$summary
  $1"; }

stop_with() {
    printf '\nThe demonstration failed: %s\n' "$1" >&2
    exit 1
}

# The page that a URL answers with; tries for five seconds.
page() {
    python3 - "$1" <<'PYTHON'
import sys, time, urllib.request
deadline = time.monotonic() + 5
while True:
    try:
        print(urllib.request.urlopen(sys.argv[1], timeout=2).read().decode().strip())
        break
    except OSError as error:
        if time.monotonic() > deadline:
            sys.exit(f"{sys.argv[1]}: {error}")
        time.sleep(0.1)
PYTHON
}

# expect_version URL VERSION
expect_version() {
    seen=$(page "$1/version") || stop_with "nothing answers on $1"
    echo "  $1/version says: $seen"
    [ "$seen" = "$2" ] || stop_with "$1 should answer with version $2, not $seen"
}

print_summary() {
    heading "Summary, after $(($(date +%s) - began)) s"
    printf '%s\n' "${summary#?}"
}
