# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Check where secrets may lie, and which of them are placed already. Changes nothing, and tells about contents only whether
# they differ. DIRECTORIES are lines `memory|disk PATH`, ENTRIES lines with these fields, separated by tabs:
#   NUMBER  HASH  SIZE  USER  GROUP  MODE  memory|disk|sealed  must|may  PATH
# HASH is the SHA-256 of SALT and the content's SHA-256 in hexadecimal, SIZE the content's bytes; both are `-` if the content
# is not asked about. `may`: the owner need not exist yet.

HASH_DEADLINE=120 # seconds to read all contents

# is_reached DIRECTORY: does the kernel find what walk has found? Some links in /proc lead elsewhere than they say.
is_reached() {
    reached=$1
    until [ -e "$reached" ]; do reached=${reached%/*}; done
    is_same_file "$reached" "$FOUND"
}

# Names are not compared: the store may be mounted in another place as well.
is_in_store() { # DIRECTORY
    stored=$1
    while [ -n "$stored" ]; do
        if is_same_file "$stored" "$ROOT/nix/store"; then return 0; fi
        stored=${stored%/*}
    done
    return 1
}

is_in_memory() { case $(stat -f -c %T "$1") in tmpfs | ramfs) ;; *) false ;; esac; }

# Answer with an error unless all DIRECTORIES are suitable.
check_directories() {
    is_root || error not_root "only root can put secrets into their places"
    if [ "$(uname -s)" != Linux ]; then error not_linux "secrets are placed on Linux hosts only"; fi
    while read -r checked_storage checked_directory; do
        if [ -z "$checked_directory" ]; then continue; fi
        walk "$ROOT$checked_directory"
        directory_problem=
        if is_in_store "$FOUND"; then
            directory_problem='is in the Nix store, which every user can read'
        elif [ -n "$UNSAFE" ]; then
            directory_problem="is not safe: $UNSAFE"
        elif [ ! -d "$FOUND" ]; then
            directory_problem="cannot be made: ${FOUND#"$ROOT"} is not a directory"
        elif ! is_reached "$ROOT$checked_directory"; then
            directory_problem='cannot be used: a link on the way leads nowhere, or elsewhere than it says'
        fi
        if [ -n "$directory_problem" ]; then error unsafe_directory "the directory $checked_directory $directory_problem"; fi
        if [ "$checked_storage" = memory ] && ! is_in_memory "$FOUND"; then
            error not_in_memory "the directory $checked_directory is not in main memory: it lies on $(stat -f -c %T "$FOUND")"
        fi
    done <<EOT
$DIRECTORIES
EOT
}

# The owner of a secret may let it grow while it is read.
digests() { bounded "$HASH_DEADLINE" sha256sum -- "$@" | sed 's/^\\//; s/ .*//'; }

# For a sealed secret, the sealed copy has to match as well: the next boot reads it.
sealed_digest() { bounded "$UNSEAL_DEADLINE" systemd-creds decrypt --name=secret "$1" - 2>/dev/null | sha256sum | sed 's/ .*//'; }

keyed() { printf '%s' "$SALT$1" | sha256sum | sed 's/ .*//'; }

# Report what has to be changed of every entry: `entry=NUMBER WHAT OWNER MODE`, with WHAT a list of `new`, `content`,
# `owner`, `mode`, `later`, separated by commas. OWNER and MODE are the present ones.
compare_entries() {
    set --
    while IFS=$TAB read -r _ _ _ _ _ _ _ _ path; do
        if is_placed "$path"; then set -- "$@" "$ROOT$path"; fi
    done <<EOT
$ENTRIES
EOT
    found_states=''
    if [ "$#" -gt 0 ]; then found_states=$(stat -c '%u %g %U %G %a %s' -- "$@"); fi
    # The owner of a secret can make it so large that reading it would not end.
    sized_states=$found_states
    set --
    while IFS=$TAB read -r _ _ size _ _ _ _ _ path; do
        is_placed "$path" || continue
        sized_state=${sized_states%%"$NEWLINE"*} sized_states=${sized_states#*"$NEWLINE"}
        if [ "${sized_state##* }" = "$size" ]; then set -- "$@" "$ROOT$path"; fi
    done <<EOT
$ENTRIES
EOT
    found_digests='' all_same=''
    if [ "$#" -gt 0 ]; then found_digests=$(digests "$@"); fi
    if [ -n "$ALL_HASH" ] && [ "$(keyed "$found_digests")" = "$ALL_HASH" ]; then all_same=1; fi
    while IFS=$TAB read -r number hash size user group mode storage owner_rule path; do
        if [ -n "$path" ]; then compare_entry; fi
    done <<EOT
$ENTRIES
EOT
}

is_placed() { [ -n "$1" ] && [ -f "$ROOT$1" ] && [ ! -L "$ROOT$1" ]; }

compare_entry() {
    what=''
    if ! user_known "$user" || ! group_known "$group"; then
        if [ "$owner_rule" = must ]; then
            error no_owner "the user or group $user:$group for $path does not exist"
        fi
        what=,later user=root group=root mode=600
    fi
    if [ ! -e "$ROOT$path" ] && [ ! -L "$ROOT$path" ]; then
        if [ "$hash" = - ]; then say missing "$number"; else say entry "$number new$what - -"; fi
        return
    fi
    if [ -L "$ROOT$path" ] || [ ! -f "$ROOT$path" ]; then
        error not_a_file "$path exists and is not a regular file"
    fi
    found_state=${found_states%%"$NEWLINE"*} found_states=${found_states#*"$NEWLINE"}
    read -r found_uid found_gid found_user found_group found_mode found_size <<EOT
$found_state
EOT
    # The list is built from its end.
    if [ "$found_mode" != "$mode" ]; then what=",mode$what"; fi
    case $user in "$found_user" | "$found_uid") user_same=1 ;; *) user_same='' ;; esac
    case $group in "$found_group" | "$found_gid") group_same=1 ;; *) group_same='' ;; esac
    if [ -z "$user_same" ] || [ -z "$group_same" ]; then what=",owner$what"; fi
    if [ "$hash" != - ] && ! has_content; then what=",content$what"; fi
    case $what in
        '') ;;
        # Nothing more can be done until the owner exists.
        ,later) say later "$number" ;;
        *) say entry "$number ${what#,} $found_user:$found_group $found_mode" ;;
    esac
}

has_content() {
    if [ "$found_size" != "$size" ]; then return 1; fi
    digest=${found_digests%%"$NEWLINE"*} found_digests=${found_digests#*"$NEWLINE"}
    if [ -z "$all_same" ] && [ "$(keyed "$digest")" != "$hash" ]; then return 1; fi
    [ "$storage" != sealed ] || [ "$(keyed "$(sealed_digest "$(sealed_path "$path")")")" = "$hash" ]
}

# Report the paths that this collection has placed and not removed.
say_ours() {
    ours_set=$(get "$STATE/secrets/current")
    if [ -z "$ours_set" ] || [ ! -f "$STATE/secrets/sets/$ours_set/index" ]; then return 0; fi
    while IFS=$TAB read -r _ presence _ _ _ _ path; do
        case $presence:$path in file:"$STATE"/*) ;; file:*) say ours "${path#"$ROOT"}" ;; esac
    done <"$STATE/secrets/sets/$ours_set/index"
}

# Look each owner up only once.
KNOWN_OWNERS=' '
user_known() { owner_known "u:$1" user_exists "$1"; }
group_known() { owner_known "g:$1" group_exists "$1"; }
owner_known() {
    case $KNOWN_OWNERS in
        *" $1=0 "*) return 0 ;;
        *" $1=1 "*) return 1 ;;
    esac
    "$2" "$3"
    known_result=$?
    if [ "$known_result" -ne 0 ]; then known_result=1; fi
    KNOWN_OWNERS="$KNOWN_OWNERS$1=$known_result "
    return "$known_result"
}
