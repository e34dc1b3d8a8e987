# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Find out which other user could change a file before it is run, or a directory before it is written to. The loader
# contains this part as well. What cannot be examined counts as changeable: a program that is missing or was killed must not
# look like an answer. USER_ID and ROOT are set before.

# is_ours FILE: is it not a link, owned by this user, and not writable by others? With a POSIX ACL the bits of the group show
# the most that the ACL grants.
is_ours() {
    [ ! -L "$1" ] && [ -O "$1" ] || return 1
    case $(ls -ldn "$1") in [d-]????-??-*) ;; *) return 1 ;; esac
}

# walk PATH...: set UNSAFE to how users other than this one and root could change a PATH or make it lead elsewhere (empty:
# they cannot). Set REAL to where the last PATH leads, without ROOT, and FOUND to the part of it that exists.
# Every directory on the way counts, also on the way to where a link leads. A user's home may be below /tmp, where files are
# removed by their owners alone: such a directory may be on the way to what exists, if no link in it is followed.
# shellcheck disable=SC2034 # other parts read UNSAFE, REAL and FOUND
walk() {
    UNSAFE='' walk_paths=$#
    for walk_path; do
        REAL='' FOUND=$ROOT/ walk_links=0 walk_rest=${walk_path#"$ROOT"}/
        set -- "$@" "$FOUND"
        while [ -n "$walk_rest" ]; do
            walk_part=${walk_rest%%/*}
            walk_rest=${walk_rest#*/}
            case $walk_part in
                '' | .) continue ;;
                ..) REAL=${REAL%/*} && continue ;;
            esac
            if [ -L "$ROOT$REAL/$walk_part" ]; then
                walk_links=$((walk_links + 1))
                walk_target=$(readlink "$ROOT$REAL/$walk_part") && [ "$walk_links" -le 40 ] || walk_target=
                if [ -z "$walk_target" ]; then UNSAFE="$walk_path leads in circles" && return; fi
                set -- "$@" "$ROOT$REAL/."
                case $walk_target in /*) REAL='' walk_target=${walk_target#"$ROOT"} ;; esac
                walk_rest=$walk_target/$walk_rest
                continue
            fi
            REAL=$REAL/$walk_part
            if [ ! -e "$ROOT$REAL" ]; then continue; fi
            FOUND=$ROOT$REAL
            set -- "$@" "$FOUND"
            if [ ! -O "$FOUND" ] && { [ "$USER_ID" = 0 ] || [ -z "$(find "$FOUND" -prune -user 0)" ]; }; then
                UNSAFE="${FOUND#"$ROOT"} belongs to another user" && return
            fi
        done
        if [ -d "$FOUND" ]; then set -- "$@" "$FOUND/."; fi
    done
    shift "$walk_paths"
    walk_found=$(writable_by_others "$@") || walk_found='?'
    case $walk_found in
        '') return ;;
        /*) walk_found=${walk_found%%"
"*} ;;
        *) UNSAFE="it cannot be examined who can write to the directories above $walk_path" && return ;;
    esac
    walk_found=${walk_found%/.}
    UNSAFE="a group or an access control list lets others write to ${walk_found#"$ROOT"}"
    if [ -n "$(find "$walk_found" -prune -perm -0002)" ]; then UNSAFE="every user can write to ${walk_found#"$ROOT"}"; fi
}

# writable_by_others PATH...: print those that others can write to. Fails if that cannot be found out.
writable_by_others() {
    # Some finds fail if they may not go back to where they began, such as the home of the login user.
    cd / || return
    # On macOS no bit of the mode shows an ACL.
    if [ -d /System/Library ]; then case $(ls -lden "$@") in *' allow '*) echo "$1" ;; esac; fi
    if [ "$USER_ID" = 0 ]; then
        # The group of the users of Nix's builds may add to the store, but not replace anything.
        find "$@" -prune \( -perm -0002 -o -perm -0020 \( ! -perm -1000 -o \
            ! -path "$ROOT/nix/store" ! -path "$ROOT/nix/store/." \) \) -print
        return
    fi
    # Many users have a group of their own, which may write to what they make.
    case $(ls -ldn "$@") in *d????w????+*) echo "$1" ;; esac
    find "$@" -prune \( -perm -0002 -o -perm -0020 ! -group "$(id -g)" \) \( ! -perm -1000 -o -path '*/.' \) -print
}
