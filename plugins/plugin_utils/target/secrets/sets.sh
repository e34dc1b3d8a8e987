# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Sets of secrets. A set holds all secrets that are in place at one time:
#   /var/lib/nixferry/secrets/sets/<set>/index    a line for each secret, fields separated by tabs:
#       NUMBER  file|absent  now|later  USER:GROUP  MODE  memory|disk|sealed  PATH
#   /var/lib/nixferry/secrets/sets/<set>/staged   exists until the set is placed, or an activation takes it
#   /var/lib/nixferry/secrets/sets/<set>/units    lines NUMBER  restart|reload  UNIT
#   <directory of PATH>/.nixferry/<set>/NUMBER    the content, with its owner and mode, in reach of root alone
# Placing a set takes a hard link and a rename for each secret. That needs no room on the disk, and the wrong user can
# never read it in between. The previous secrets are a set as well (<set>-before), so a roll back works the same way.
# `later`: the owner did not exist yet. `absent`: PATH must not exist.
#   /var/lib/nixferry/secrets/current             the set that is in place
#   /var/lib/nixferry/secrets/of/<name>           the set that the toplevel of that name runs or ran with

SETS_KEPT=10
UNIT_DEADLINE=120 # seconds that all units together may take to restart or reload
UNSEAL_DEADLINE=30 # seconds for one secret: a chip that does not answer must not delay a roll back
COPY_DEADLINE=60 # seconds for one secret
TAB='	' # literally: a program would cost a process in every request

# Set KEPT to the file with a secret's content: SET NUMBER PATH
find_kept() { KEPT=${3%/*}/.nixferry/$1/$2; }

user_exists() { id -u -- "$1" >/dev/null 2>&1; }
group_exists() {
    case $1 in '' | *[!0-9]*) ;; *) return 0 ;; esac
    if have getent; then getent group -- "$1" >/dev/null; else grep -q "^$1:" "$ROOT/etc/group"; fi
}

make_directory() {
    if [ -d "$1" ]; then return 0; fi
    (umask 022 && mkdir -p "${1%/*}") && mkdir "$1" || return 1
    # The mode that NixOS uses. Elsewhere only root can list it, and the owner of a secret can open that one.
    if group_exists keys && chgrp keys "$1"; then chmod 750 "$1"; else chmod 711 "$1"; fi
}

# Print where the sealed copy of the secret at PATH lies.
sealed_path() { printf '%s/secrets/sealed/%s\n' "$STATE" "$(printf '%s' "${1#"$ROOT"}" | sed 's/%/%25/g; s,/,%2f,g')"; }

# unseal SET NUMBER PATH OWNER MODE: restore a secret that a reboot has removed from main memory. An owner that does not
# exist yet gets it later.
unseal() {
    unsealed_path=$(sealed_path "$3")
    unsealed_from=${unsealed_path%/*}/.nixferry/$1/$2
    [ -f "$unsealed_from" ] && make_directory "${3%/*}" && make_kept_directory "$1" "$3" || return 1
    find_kept "$1" "$2" "$3"
    rm -f "$KEPT.new"
    if ! { true >"$KEPT.new" && chown "$4" "$KEPT.new" && chmod "$5" "$KEPT.new"; } 2>/dev/null; then
        rm -f "$KEPT.new"
        true >"$KEPT.new" || return 1
    fi
    bounded "$UNSEAL_DEADLINE" systemd-creds decrypt --name=secret "$unsealed_from" - </dev/null >"$KEPT.new" && mv -f "$KEPT.new" "$KEPT"
}

make_kept_directory() { # SET PATH
    kept_in=${2%/*}/.nixferry
    if [ -d "$kept_in/$1" ]; then return 0; fi
    (umask 077 && mkdir -p "$kept_in/$1") || return 1
    # A default ACL replaces the umask. The users that it names could read a secret beside its owner and group.
    case $(ls -ldn "$kept_in/$1") in drwx--[-S]---*) return 0 ;; esac
    echo "${2%/*} passes an access control list on to new files: remove it, for instance with setfacl --remove-default" >&2
    return 1
}

# shellcheck disable=SC3013 # every shell has -ef, and POSIX has taken it up
is_same_file() { [ "$1" -ef "$2" ]; }

# keep_as FILE KEPT: a hard link; a copy if FILE has as many as the file system allows, all made by its owner.
keep_as() { ln -f "$1" "$2" 2>/dev/null || bounded "$COPY_DEADLINE" cp -p "$1" "$2"; }

# complete_set SET: mark as absent what is placed now and not in the set
complete_set() {
    completed=$STATE/secrets/sets/$1/index
    complete_from=$STATE/secrets/sets/$(get "$STATE/secrets/current")/index
    if [ ! -f "$complete_from" ] || is_same_file "$complete_from" "$completed"; then return 0; fi
    cp "$completed" "$completed.new" || return 1
    paths=$NEWLINE$(cut -f 7 "$completed")$NEWLINE
    # Numbers that are not used in the set
    complete_count=$(wc -l <"$completed")
    while IFS=$TAB read -r number presence _ owner mode storage path; do
        complete_count=$((complete_count + 1))
        case $presence:$paths in absent:* | *"$NEWLINE$path$NEWLINE"*) continue ;; esac
        printf '%s\t%s\tnow\t%s\t%s\t%s\t%s\n' "a$complete_count" absent "$owner" "$mode" "$storage" "$path" || return 1
    done <"$complete_from" >>"$completed.new" || return 1
    mv -f "$completed.new" "$completed"
}

# keep_before SET: record in <SET>-before what lies now at the paths of SET
keep_before() {
    before_in=$STATE/secrets/sets/$1-before
    mkdir -p "$before_in" || return 1
    while IFS=$TAB read -r number _ _ owner mode storage path; do
        if [ -f "$path" ] && [ ! -L "$path" ]; then
            find_kept "$1-before" "$number" "$path"
            make_kept_directory "$1-before" "$path" && keep_as "$path" "$KEPT" || return 1
            found="file"
        elif [ -e "$path" ] || [ -L "$path" ]; then
            return 1
        else
            found=absent
        fi
        printf '%s\t%s\tnow\t%s\t%s\t%s\t%s\n' "$number" "$found" "$owner" "$mode" "$storage" "$path" || return 1
    done <"$before_in/../$1/index" >"$before_in/index.new" || return 1
    if [ -e "$before_in/../$1/units" ]; then cp "$before_in/../$1/units" "$before_in/units" || return 1; fi
    mv -f "$before_in/index.new" "$before_in/index"
}

# place_set SET: place every secret of the set. Set SECRETS_LOST to those that lay in main memory when the host went down.
# Fails if one could not be placed; the others are placed all the same.
place_set() {
    SECRETS_LOST=
    place_failed=0
    [ -f "$STATE/secrets/sets/$1/index" ] || return 1
    while IFS=$TAB read -r number presence _ owner mode storage path; do
        if [ "$presence" = absent ]; then
            if [ -e "$path" ] || [ -L "$path" ]; then rm -f "$path" || place_failed=1; fi
            continue
        fi
        find_kept "$1" "$number" "$path"
        if [ ! -e "$KEPT" ] && [ "$storage" = sealed ] && ! unseal "$1" "$number" "$path" "$owner" "$mode"; then
            place_failed=1
        elif [ ! -e "$KEPT" ]; then
            SECRETS_LOST="$SECRETS_LOST $path"
        elif ! is_same_file "$KEPT" "$path"; then
            # `mv` would move it into a directory.
            { [ ! -d "$path" ] && ln -f "$KEPT" "$KEPT.placing" && mv -f "$KEPT.placing" "$path"; } || place_failed=1
        fi
    done <"$STATE/secrets/sets/$1/index"
    return "$place_failed"
}

# own_set SET: give secrets to owners that did not exist before. Print the owners that still do not exist.
own_set() {
    while IFS=$TAB read -r number presence when owner mode _ path; do
        if [ "$presence:$when" != file:later ]; then continue; fi
        find_kept "$1" "$number" "$path"
        if [ ! -e "$KEPT" ]; then continue; fi
        { chown "$owner" "$KEPT" && chmod "$mode" "$KEPT"; } 2>/dev/null || echo "$owner ($path)"
    done <"$STATE/secrets/sets/$1/index"
}

# Services that have started with the new secrets, each between spaces
STARTED=''

# changed_units SET: print "restart UNIT" or "reload UNIT" for units whose secrets differ from those in <SET>-before. A unit in
# STARTED has read its secret, unless the secret did not belong to its owner then.
changed_units() {
    [ -s "$STATE/secrets/sets/$1/units" ] || return 0
    while IFS=$TAB read -r number presence when _ _ _ path; do
        find_kept "$1" "$number" "$path"
        changed_new=$KEPT
        find_kept "$1-before" "$number" "$path"
        # Unchanged if it is the same file, or a copy of it for another owner.
        if is_same_file "$changed_new" "$KEPT" || cmp -s "$changed_new" "$KEPT"; then continue; fi
        if [ "$presence" = absent ] && [ ! -e "$KEPT" ]; then continue; fi
        while IFS=$TAB read -r unit_number unit_verb unit_name; do
            case $when:$STARTED in now:*" $unit_name "*) continue ;; esac
            if [ "$unit_number" = "$number" ]; then echo "$unit_verb $unit_name"; fi
        done <"$STATE/secrets/sets/$1/units"
    done <"$STATE/secrets/sets/$1/index" | sort -r -u
}

# tell_units SET: restart or reload units whose secrets have changed. Print the names of those that fail.
tell_units() {
    { have systemctl && [ -d "$ROOT/run/systemd/system" ]; } || return 0
    told_units=' '
    in_seconds "$UNIT_DEADLINE"
    tell_until=$MOMENT
    changed_units "$1" | while read -r told_verb told_unit; do
        case $told_units in *" $told_unit "*) continue ;; esac
        told_units="$told_units$told_unit "
        # A unit that does not run cannot be reloaded.
        case $told_verb in reload) told_verb=reload-or-restart ;; esac
        seconds_until "$tell_until"
        if [ "$TIME_LEFT" -le 0 ] || ! bounded "$TIME_LEFT" systemctl "$told_verb" -- "$told_unit" </dev/null >&2; then
            echo "$told_unit"
        fi
    done
}

forget_kept() { # SET DIRECTORY
    if [ ! -d "$2/.nixferry/$1" ]; then return 0; fi
    rm -rf "$2/.nixferry/${1:?}"
    rmdir "$2/.nixferry" 2>/dev/null
}

# forget_set SET: remove the set; placed secrets stay
forget_set() {
    forgotten=$STATE/secrets/sets/${1:?}
    if [ -f "$forgotten/index" ]; then
        while IFS=$TAB read -r _ _ _ _ _ _ path; do
            forget_kept "$1" "${path%/*}"
        done <"$forgotten/index"
    fi
    rm -rf "$forgotten"
}

# Remove sets that were staged for an activation that never started.
forget_staged() {
    for staged in "$STATE/secrets/sets"/*/staged; do
        if [ -e "$staged" ]; then
            staged=${staged%/staged}
            forget_set "${staged##*/}"
        fi
    done
}

# remember_set SET TOPLEVEL: record SET as the current set, and as the one that TOPLEVEL runs with
remember_set() {
    mkdir -p "$STATE/secrets/of" && put "$STATE/secrets/current" "$1" || return 1
    if [ -n "$2" ]; then put "$STATE/secrets/of/${2##*/}" "$1 $2" && put "$STATE/secrets/toplevel" "$2"; fi
}

# Remove sets that no system uses any more, and the oldest of the others.
prune_sets() {
    sets_wanted=
    for remembered in "$STATE/secrets/of"/*; do
        remembered_set='' remembered_toplevel=''
        { read -r remembered_set remembered_toplevel <"$remembered"; } 2>/dev/null
        if [ -e "$remembered_toplevel" ]; then sets_wanted="$sets_wanted $remembered_set"; else rm -f "$remembered"; fi
    done
    sets_seen=0
    # shellcheck disable=SC2010 # a glob cannot sort by time; whatever is not the name of a set is left out
    for pruned_set in $(ls -1t "$STATE/secrets/sets" 2>/dev/null | grep -v '[^0-9A-Za-z-]'); do
        if [ "$pruned_set" = "$(get "$STATE/secrets/current")" ] || [ -e "$STATE/secrets/sets/${pruned_set%-before}/staged" ]; then
            continue
        fi
        case "$sets_wanted " in *" $pruned_set "*) sets_seen=$((sets_seen + 1)) ;; *) forget_set "$pruned_set" ;; esac
        if [ "$sets_seen" -gt "$SETS_KEPT" ]; then forget_set "$pruned_set"; fi
    done
}
