# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A repository in place of pointers, second part: as another user without privileges, choose the commit that this host should
# run, and build its system. The first user, which deals with the network, may give what it likes: a commit counts if it is
# signed, and does not go back. What this program prints is believed by root.
# Settings: PULL_COMMIT_SIGNERS (a file for ssh-keygen, or empty), PULL_COMMIT_OPENPGP_KEYS (a file for gpg, or empty; both empty:
# no signature is wanted), PULL_COMMIT_OPENPGP_FINGERPRINTS, PULL_MIN_COMMIT (or empty), PULL_ALLOW_REWRITE (1 or 0), PULL_ATTRIBUTE, PULL_FILE (of the repository; empty for its flake).

verb_build() {
    make_fetch_work
    prepare_git
    # systemd opens the file for this user, which has no other way to it.
    cat >"$STATE_DIRECTORY/bundle" || give_up "$CODE_DISK" "there is no room for what was fetched"
    # A commit that is missing here was left out because root believes it to be here.
    git_copy fetch --quiet --no-tags --prune "$STATE_DIRECTORY/bundle" '+refs/nixferry/*:refs/nixferry/*' >&2 ||
        give_up "$CODE_INCOMPLETE" "what was fetched is not a valid bundle, or not a complete one"
    BUILD_MAIN=$(git_copy rev-parse --quiet --verify 'refs/nixferry/main^{commit}') ||
        give_up "$CODE_FORMAT" "what was fetched has no commit of $PULL_BRANCH"
    judge_main
    echo "main $BUILD_MAIN"
    choose_commit
    echo "commit $BUILD_COMMIT"
    echo "branch $BUILD_BRANCH"
    if is_quarantined "$BUILD_COMMIT"; then return; fi
    build_commit
    echo "toplevel $BUILT"
}

# is_on_top NEW OLD
is_on_top() { git_copy merge-base --is-ancestor "$2" "$1" 2>/dev/null; }

is_signed_commit() {
    if [ -z "$PULL_COMMIT_SIGNERS$PULL_COMMIT_OPENPGP_KEYS" ]; then return 0; fi
    is_signed_by_openssh "$1" || is_signed_by_openpgp "$1"
}

# No program for a signature of another kind is called.
is_signed_by_openssh() {
    [ -n "$PULL_COMMIT_SIGNERS" ] || return 1
    git_copy -c "gpg.ssh.allowedSignersFile=$PULL_COMMIT_SIGNERS" -c gpg.program=/bin/false -c gpg.x509.program=/bin/false \
        verify-commit "$1" >&2
}

is_signed_by_openpgp() {
    [ -n "$PULL_COMMIT_OPENPGP_KEYS" ] || return 1
    prepare_gnupg
    openpgp_said=$(git_copy -c gpg.program=gpg -c gpg.ssh.program=/bin/false -c gpg.x509.program=/bin/false verify-commit --raw "$1" 2>&1)
    openpgp_code=$?
    printf '%s\n' "$openpgp_said" >&2
    [ "$openpgp_code" = 0 ] && is_trusted_openpgp "$openpgp_said"
}

# A home of its own, with the given keys and no others. gpg asks no other program, and no server.
prepare_gnupg() {
    GNUPGHOME=$FETCH_WORK/gnupg
    export GNUPGHOME
    if [ -e "$GNUPGHOME/gpg.conf" ]; then return; fi
    have gpg || give_up 69 "gpg was not found in PATH ($PATH)"
    # Without common.conf some versions start a daemon for keys.
    if ! mkdir -m 700 "$GNUPGHOME" || ! true >"$GNUPGHOME/common.conf" ||
        ! printf '%s\n' batch no-autostart disable-dirmngr no-auto-key-locate no-auto-key-retrieve 'trust-model always' \
            'weak-digest SHA1' 'weak-digest RIPEMD160' >"$GNUPGHOME/gpg.conf"; then
        give_up "$CODE_DISK" "$GNUPGHOME cannot be made"
    fi
    gpg --quiet --import "$PULL_COMMIT_OPENPGP_KEYS" >&2 || give_up "$CODE_SIGNATURE" "gpg could not read the keys of committers"
}

# is_trusted_openpgp LINES: what gpg says of a signature (doc/DETAILS of GnuPG). There must be one, good now, of one of the keys
# whose whole fingerprint is given. A key that is there, but whose fingerprint is not given, does not count.
is_trusted_openpgp() {
    openpgp_good=0 openpgp_valid=0 openpgp_found=''
    while IFS= read -r openpgp_line; do
        case $openpgp_line in
            '[GNUPG:] GOODSIG '*) openpgp_good=$((openpgp_good + 1)) ;;
            '[GNUPG:] VALIDSIG '*)
                openpgp_valid=$((openpgp_valid + 1))
                openpgp_found=$(fingerprints_of "${openpgp_line#'[GNUPG:] VALIDSIG '}")
                ;;
            '[GNUPG:] BADSIG '* | '[GNUPG:] ERRSIG '* | '[GNUPG:] EXPSIG '* | '[GNUPG:] EXPKEYSIG '* | '[GNUPG:] REVKEYSIG '* | \
                '[GNUPG:] NO_PUBKEY '* | '[GNUPG:] NODATA '* | '[GNUPG:] FAILURE '*) return 1 ;;
        esac
    done <<EOF
$1
EOF
    [ "$openpgp_good:$openpgp_valid" = 1:1 ] || return 1
    for openpgp_fingerprint in $openpgp_found; do
        case " $PULL_COMMIT_OPENPGP_FINGERPRINTS " in *" $openpgp_fingerprint "*) return 0 ;; esac
    done
    return 1
}

# fingerprints_of WORDS: print those of the signing key and of its primary key, if the signature is one of a document
fingerprints_of() {
    set -f
    # shellcheck disable=SC2086 # words
    set -- $1
    [ $# = 10 ] || return 1
    fingerprint_signing=$1
    case $9 in 00 | 01) shift 9 && echo "$fingerprint_signing $1" ;; esac
}

judge_main() {
    build_accepted=$(first_line "$PULL/accepted_commit")
    if [ -n "$build_accepted" ] && ! is_on_top "$BUILD_MAIN" "$build_accepted" && [ "$PULL_ALLOW_REWRITE" != 1 ]; then
        give_up "$CODE_REPLAYED" "$PULL_BRANCH was rewritten, or goes back: $BUILD_MAIN does not follow on $build_accepted"
    fi
    if [ -n "$PULL_MIN_COMMIT" ] && ! is_on_top "$BUILD_MAIN" "$PULL_MIN_COMMIT"; then
        give_up "$CODE_REPLAYED" "$BUILD_MAIN does not follow on $PULL_MIN_COMMIT, with which this host starts"
    fi
    is_signed_commit "$BUILD_MAIN" || give_up "$CODE_SIGNATURE" "no trusted key has signed the commit $BUILD_MAIN"
}

# The testing branch counts while it is on top of the main one. One that fails leaves the host to the main one.
choose_commit() {
    BUILD_COMMIT=$BUILD_MAIN BUILD_BRANCH=main
    build_testing=$(git_copy rev-parse --quiet --verify 'refs/nixferry/testing^{commit}') || return 0
    if [ "$build_testing" = "$BUILD_MAIN" ] || is_quarantined "$build_testing"; then return; fi
    if ! is_on_top "$build_testing" "$BUILD_MAIN"; then
        echo "nixferry: $PULL_TESTING_BRANCH is not on top of $PULL_BRANCH, and does not count" >&2
    elif ! is_signed_commit "$build_testing"; then
        echo "nixferry: no trusted key has signed $build_testing of $PULL_TESTING_BRANCH, which does not count" >&2
    else
        BUILD_COMMIT=$build_testing BUILD_BRANCH=testing
    fi
}

# Set BUILT to the system of BUILD_COMMIT. One commit is one system, so that it is built once.
build_commit() {
    built_what="$BUILD_COMMIT $PULL_FILE#$PULL_ATTRIBUTE"
    BUILT=$(sed -n '2p' "$STATE_DIRECTORY/built" 2>/dev/null)
    if [ "$(first_line "$STATE_DIRECTORY/built")" = "$built_what" ] && nix-store --check-validity "$BUILT" 2>/dev/null; then return; fi
    refuse_submodules
    check_reserve
    if [ -n "$PULL_FILE" ]; then BUILT=$(build_file); else BUILT=$(build_flake); fi ||
        give_up "$CODE_BUILD" "$BUILD_COMMIT could not be built: Nix says above why"
    is_store_path "$BUILT" || give_up "$CODE_BUILD" "$PULL_ATTRIBUTE of $BUILD_COMMIT is not one store path"
    printf '%s\n' "$built_what" "$BUILT" >"$STATE_DIRECTORY/built"
}

# Their content is not part of what was fetched: a directory that is empty here could make another system.
refuse_submodules() {
    build_submodule=$(git_copy ls-tree -r "$BUILD_COMMIT" | grep '^160000 ' | head -n 1 | cut -f 2)
    [ -z "$build_submodule" ] || give_up "$CODE_SUBMODULES" "$BUILD_COMMIT has submodules, such as $build_submodule"
}

# Nix reads the copy with git, so that the flake knows its revision. The repository cannot give Nix settings.
build_flake() {
    git_copy update-ref refs/heads/chosen "$BUILD_COMMIT" && git_copy symbolic-ref HEAD refs/heads/chosen || return 1
    nix --extra-experimental-features 'nix-command flakes' build --option accept-flake-config false --no-update-lock-file \
        --print-build-logs --print-out-paths --out-link "$STATE_DIRECTORY/next" \
        "git+file://$GIT_COPY?ref=chosen&rev=$BUILD_COMMIT#$PULL_ATTRIBUTE"
}

build_file() {
    mkdir "$FETCH_WORK/source" && git_copy archive "$BUILD_COMMIT" | tar -x -f - -C "$FETCH_WORK/source" || return 1
    nix-build --out-link "$STATE_DIRECTORY/next" "$FETCH_WORK/source/$PULL_FILE" --attr "$PULL_ATTRIBUTE"
}
