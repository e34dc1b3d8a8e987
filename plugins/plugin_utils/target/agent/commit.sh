# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A repository in place of pointers, third part: as root, without a network and without git, take what the building user says,
# and remember which commit was accepted. Setting: PULL_TIMEOUT_BUILD.

# shellcheck disable=SC2034 # agent/activate.sh and agent/outcome.sh read WANTED_* and SOURCE_*
accept_commit() {
    # The next fetch does not change what is being built.
    if [ -s "$PULL/incoming" ]; then mv -f "$PULL/incoming" "$PULL/bundle"; elif [ -e "$PULL/incoming" ]; then conclude_fetch; fi
    [ -s "$PULL/bundle" ] || conclude_fetch
    # The unit is of the type `exec`: a switch does not wait for it, but this does.
    bounded "$((PULL_TIMEOUT_BUILD + 120))" systemctl start --wait nixferry-pull-build.service >&2
    commit_built=$?
    read_built || conclude format "the building user has printed something else; journalctl --unit nixferry-pull-build says more"
    remember_main
    if [ "$commit_built" != 0 ]; then conclude_build; fi
    SOURCE_COMMIT=$BUILT_COMMIT SOURCE_BRANCH=$BUILT_BRANCH
    if is_quarantined "$BUILT_COMMIT"; then
        conclude quarantined "$BUILT_COMMIT was kept back: $(first_line "$(quarantine_file "$BUILT_COMMIT")")"
    fi
    [ -n "$BUILT_TOPLEVEL" ] || conclude build-failed "nothing was built; journalctl --unit nixferry-pull-build says more"
    WANTED_TOPLEVEL=$BUILT_TOPLEVEL
    if [ "$BUILT_BRANCH" = testing ]; then WANTED_ACTION='test'; fi
}

# Set BUILT_* to what the building user has printed, as far as it came.
read_built() {
    BUILT_MAIN='' BUILT_COMMIT='' BUILT_BRANCH='' BUILT_TOPLEVEL=''
    while read -r built_key built_value; do
        case $built_key in
            main) is_commit "$built_value" && BUILT_MAIN=$built_value ;;
            commit) is_commit "$built_value" && BUILT_COMMIT=$built_value ;;
            branch) case $built_value in main | testing) BUILT_BRANCH=$built_value ;; *) return 1 ;; esac ;;
            toplevel) is_store_path "$built_value" && BUILT_TOPLEVEL=$built_value ;;
            *) return 1 ;;
        esac || return 1
    done <"$PULL/built"
}

# From here on the main branch does not go back behind this commit.
remember_main() {
    [ -n "$BUILT_MAIN" ] || return 0
    if [ "$(first_line "$PULL/accepted_commit")" != "$BUILT_MAIN" ] && ! give_lasting "$PULL/accepted_commit" "$BUILT_MAIN"; then
        conclude state-unwritable "$PULL/accepted_commit cannot be written: make room on its file system"
    fi
    give "$PULL/have" "$BUILT_MAIN"
}

# The building user has failed: say why.
# shellcheck disable=SC2034 # agent/outcome.sh reads SOURCE_*
conclude_build() {
    SOURCE_COMMIT=$BUILT_COMMIT SOURCE_BRANCH=$BUILT_BRANCH
    build_hint="journalctl --unit nixferry-pull-build says more"
    build_problem="could not be built"
    case $(exit_code_of nixferry-pull-build.service) in
        65) conclude format "what was fetched has no such branch; $build_hint" ;;
        73) conclude disk-full "there is no room to build; $build_hint" ;;
        77) conclude signature "no trusted key has signed the commit; $build_hint" ;;
        80) conclude replayed "the branch was rewritten, or goes back; $build_hint" ;;
        81)
            rm -f "$PULL/have" "$PULL/bundle"
            conclude format "what was fetched is not complete, and the next run fetches all of it; $build_hint"
            ;;
        83) build_problem="has submodules, which are not fetched: make them inputs of the flake, or part of the repository" ;;
    esac
    if [ -n "$BUILT_COMMIT" ] && ! count_try "$BUILT_COMMIT"; then
        quarantine "$BUILT_COMMIT" "$(date -u +%Y-%m-%dT%H:%M:%SZ) it $build_problem"
    fi
    conclude build-failed "${BUILT_COMMIT:-a commit} of $PULL_REPOSITORY $build_problem; $build_hint"
}

# exit_code_of UNIT
exit_code_of() {
    bounded 30 systemctl show --property=ExecMainStatus "$1" 2>/dev/null | sed -n 's/^ExecMainStatus=\([0-9]\{1,3\}\)$/\1/p'
}
