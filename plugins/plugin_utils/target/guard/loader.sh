# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Runs the guard that lies on this host; sent with every request. Before it come
#   verb, id   the verb, and the activation that it is about (empty for `probe` and `start`)
#   name       the first digits of the SHA-256 of the program that the controller has
#   request    a function that prints the request
#   NIXFERRY_PROGRAM   the program's text, or empty
# and lib/own.sh, behind it guard/loader_record.sh or guard/loader_program.sh, which set `program`, and guard/loader_run.sh.
# These few lines are sent often: they are short.
#
# An activation is asked with the program that began it. `probe` and `start` run the one that `name` says, if it is there
# and is what its name says. If not, the answer is `guard=missing`: then the controller sends everything once more, with
# the text. The text is run from memory, and `start` puts it in its place (guard/place.sh). So each version of the program
# costs a host one more round trip and is sent once. `probe` leaves nothing on the host: check mode changes nothing.

umask 077
unset INSTALLED_VERSION
export LC_ALL=C
PATH=${PATH:+$PATH:}/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/bin:/bin
ROOT=${NIXFERRY_ROOT:-}
# As in lib/base.sh
USER_ID=
[ -n "$ROOT" ] || while read -r key _ USER_ID _ && [ "$key" != Uid: ]; do :; done 2>/dev/null </proc/self/status
[ -n "$USER_ID" ] || USER_ID=$(id -u)
state=$ROOT/var/lib/nixferry
[ "$USER_ID" = 0 ] || state=${XDG_STATE_HOME:-${HOME:-/nonexistent}/.local/state}/nixferry

# shellcheck disable=SC2154 # see above
answer() {
    printf '\nnixferry=1\n'
    printf '%s\n' "$@" "end=$verb"
    exit
}

walk "$state"
if [ -n "$UNSAFE" ]; then answer error=unsafe_state "message=$(echo "$UNSAFE" | tr -c ' -$&-~\n' '?')"; fi
