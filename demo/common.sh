# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What both demonstrations share: headings, checks that end the demonstration when they fail, and the environment.

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
    echo "$1/version says: $seen"
    [ "$seen" = "$2" ] || stop_with "$1 should answer with version $2, not $seen"
}

print_summary() {
    heading "Summary, after $(($(date +%s) - began)) s"
    printf '%s\n' "${summary#?}"
}
