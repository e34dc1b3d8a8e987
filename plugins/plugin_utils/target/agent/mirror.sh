# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A repository in place of pointers, first part: as the fetching user, copy the branches of this host from the server, and
# print them as a bundle of git's. What a server says is not trusted here, and nothing of it is run.
# Settings: PULL_REPOSITORY (its address; empty without one), PULL_BRANCH, PULL_TESTING_BRANCH (or empty), PULL_KNOWN_HOSTS (a
# file for ssh; empty without ssh).

GIT_SECONDS=1800 # for a fetch

# Both users that work with git begin here. Neither settings of the system's nor those of a user count.
prepare_git() {
    have git || give_up 69 "git was not found in PATH ($PATH)"
    ln -sf netrc "$FETCH_WORK/.netrc"
    GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=$FETCH_WORK/gitconfig GIT_TERMINAL_PROMPT=0 GIT_ASKPASS=/bin/false
    GIT_ALLOW_PROTOCOL=https:http:file:ssh GIT_NO_REPLACE_OBJECTS=1
    export GIT_CONFIG_NOSYSTEM GIT_CONFIG_GLOBAL GIT_TERMINAL_PROMPT GIT_ASKPASS GIT_ALLOW_PROTOCOL GIT_NO_REPLACE_OBJECTS
    # A repository on this host (file://) may belong to another user.
    cat >"$GIT_CONFIG_GLOBAL" <<'EOF'
[safe]
    directory = *
[http]
    lowSpeedLimit = 1000
    lowSpeedTime = 60
[gc]
    autoDetach = false
[core]
    hooksPath = /dev/null
EOF
    if [ -s "$(credential certificate)" ]; then
        printf '[http]\n    sslCert = %s\n    sslKey = %s\n' "$(credential certificate)" "$(credential certificate_key)" >>"$GIT_CONFIG_GLOBAL"
    fi
    if [ -n "$PULL_KNOWN_HOSTS" ]; then prepare_ssh; fi
    GIT_COPY=$STATE_DIRECTORY/repository
    if [ "$(git_copy rev-parse --is-bare-repository 2>/dev/null)" != true ]; then
        rm -rf "$GIT_COPY"
        git init --quiet --bare --template= "$GIT_COPY" || give_up "$CODE_DISK" "$GIT_COPY cannot be made"
    fi
}

# Only the key and the host keys that the administrator has given count. The command has their paths, not their content.
prepare_ssh() {
    GIT_SSH_VARIANT=ssh GIT_SSH_COMMAND="ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o UpdateHostKeys=no \
-o UserKnownHostsFile=$PULL_KNOWN_HOSTS -o GlobalKnownHostsFile=/dev/null -o IdentityFile=$(credential repository_key) \
-o IdentitiesOnly=yes -o IdentityAgent=none -o ClearAllForwardings=yes -o ControlPath=none \
-o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
    export GIT_SSH_VARIANT GIT_SSH_COMMAND
}

git_copy() { git --git-dir="$GIT_COPY" "$@"; }

is_commit() { case $1 in "" | *[!0-9a-f]*) return 1 ;; *) [ "${#1}" = 40 ] || [ "${#1}" = 64 ] ;; esac; }

# head_of BRANCH: print the commit at its head, of what `git ls-remote` has said
head_of() {
    while read -r head_commit head_name; do
        if [ "$head_name" = "refs/heads/$1" ] && is_commit "$head_commit"; then echo "$head_commit"; fi
    done <"$FETCH_WORK/heads"
}

# ask_heads SECONDS: ask the server for the heads of its branches
ask_heads() {
    bounded "$1" git ls-remote --quiet "$PULL_REPOSITORY" "refs/heads/$PULL_BRANCH" \
        "refs/heads/${PULL_TESTING_BRANCH:-$PULL_BRANCH}" >"$FETCH_WORK/heads" || return "$CODE_UNREACHABLE"
    [ -n "$(head_of "$PULL_BRANCH")" ] || return "$CODE_ABSENT"
}

mirror() {
    prepare_git
    ask_heads "$FETCH_SECONDS"
    case $? in
        0) ;;
        "$CODE_ABSENT") give_up "$CODE_ABSENT" "$PULL_REPOSITORY has no branch $PULL_BRANCH" ;;
        *) give_up "$CODE_UNREACHABLE" "$PULL_REPOSITORY could not be read: git says above why" ;;
    esac
    check_reserve
    set -- "+refs/heads/$PULL_BRANCH:refs/nixferry/main"
    if [ -n "$PULL_TESTING_BRANCH" ] && [ -n "$(head_of "$PULL_TESTING_BRANCH")" ]; then
        set -- "$@" "+refs/heads/$PULL_TESTING_BRANCH:refs/nixferry/testing"
    else
        git_copy update-ref -d refs/nixferry/testing
    fi
    bounded "$GIT_SECONDS" git --git-dir="$GIT_COPY" fetch --quiet --no-tags "$PULL_REPOSITORY" "$@" >&2 ||
        give_up "$CODE_UNREACHABLE" "$PULL_REPOSITORY could not be fetched: git says above why"
    print_bundle
}

# Without what the building user has already, but always with a commit: git makes no empty bundle, and leaves out a branch
# that went back behind what is left out.
print_bundle() {
    set -- refs/nixferry/main
    if git_copy rev-parse --quiet --verify refs/nixferry/testing >/dev/null; then set -- "$@" refs/nixferry/testing; fi
    bundle_known=$(first_line "$PULL/have")
    if is_commit "$bundle_known"; then bundle_known=$(git_copy merge-base refs/nixferry/main "$bundle_known" 2>/dev/null); fi
    if is_commit "$bundle_known"; then set -- "$@" "^$bundle_known^@"; fi
    git_copy bundle create --quiet - "$@" || give_up "$CODE_DISK" "no bundle could be made: git says above why"
}

reaches_repository() {
    prepare_git
    ask_heads "$PULL_TIMEOUT_REACH"
}
