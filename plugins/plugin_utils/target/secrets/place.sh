# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Make a set of the received secrets, and place it (APPLY=1) or leave that to the guard. All of it or nothing.
# ENTRIES are lines with these fields, separated by tabs:
#   NUMBER  now|later  USER:GROUP  MODE  memory|disk|sealed  SOURCE  PATH
# SOURCE is OFFSET:SIZE in the received bytes, `keep` (unchanged), `copy` (the same content for another owner or mode) or
# `absent`. UNITS are lines NUMBER  restart|reload  UNIT. With EXCLUSIVE=1 secrets that are not an entry are removed.
# $NIXFERRY_RECEIVED is a file that begins with this very script. The contents follow after $NIXFERRY_SKIP bytes.

each_entry() { # FUNCTION: with the fields in variables; stops at the first that fails
    while IFS=$TAB read -r number when owner mode storage source path; do
        if [ -z "$path" ]; then continue; fi
        path=$ROOT$path
        find_kept "$SET" "$number" "$path"
        "$1" || return 1
    done <<EOT
$ENTRIES
EOT
}

make_directories() {
    while read -r _ made_directory; do
        if [ -n "$made_directory" ]; then make_directory "$ROOT$made_directory" || return 1; fi
    done <<EOT
$DIRECTORIES
EOT
}

is_new() { case $source in keep | absent) false ;; esac; }

# A new entry gets an empty file, which only root can read and write.
prepare_entry() {
    make_kept_directory "$SET" "$path" || return 1
    if is_new; then
        true >"$KEPT"
    elif [ "$source" = keep ]; then
        keep_as "$path" "$KEPT"
    fi
}

# Run chown and chmod only once for all secrets with the same owner and mode.
own_entries() {
    printf '%s\n' "$ENTRIES" | cut -f 3,4 | sort -u >"$MADE/owners" || return 1
    while IFS=$TAB read -r own_owner own_mode; do
        if [ -z "$own_owner" ]; then continue; fi
        set --
        while IFS=$TAB read -r number when owner mode storage source path; do
            if [ "$when:$owner:$mode" = "now:$own_owner:$own_mode" ] && is_new; then
                find_kept "$SET" "$number" "$ROOT$path"
                set -- "$@" "$KEPT"
            fi
        done <<EOT
$ENTRIES
EOT
        if [ "$#" = 0 ]; then continue; fi
        chown "$own_owner" "$@" && chmod "$own_mode" "$@" || return 1
    done <"$MADE/owners"
    rm -f "$MADE/owners"
}

fill_entry() {
    case $source in
        copy) cat "$path" >"$KEPT" ;;
        *:*)
            tail -c "+$((${source%:*} + NIXFERRY_SKIP + 1))" "$NIXFERRY_RECEIVED" 2>/dev/null |
                head -c "${source#*:}" >"$KEPT"
            ;;
    esac
}

# Not every program reports a full disk.
has_all_bytes() {
    set --
    all_bytes=0
    while IFS=$TAB read -r number _ _ _ _ source path; do
        case $source in
            *:*)
                find_kept "$SET" "$number" "$ROOT$path"
                set -- "$@" "$KEPT"
                all_bytes=$((all_bytes + ${source#*:}))
                ;;
        esac
    done <<EOT
$ENTRIES
EOT
    [ "$#" = 0 ] || [ "$(cat "$@" | wc -c)" -eq "$all_bytes" ]
}

write_line() { # NUMBER STATE WHEN OWNER MODE STORAGE PATH
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$@" >>"$MADE/index.new"
}

index_entry() {
    DECLARED=$DECLARED$path$NEWLINE
    if [ "$source" = absent ]; then index_state=absent; else index_state="file"; fi
    write_line "$number" "$index_state" "$when" "$owner" "$mode" "$storage" "$path" || return 1
    if [ "$storage:$index_state" = sealed:file ]; then seal_entry; fi
}

# Write the sealed copy, from which the next boot restores the secret.
seal_entry() {
    sealed=$(sealed_path "${path#"$ROOT"}")
    DECLARED=$DECLARED$sealed$NEWLINE
    plain=$KEPT
    find_kept "$SET" "$number" "$sealed"
    make_kept_directory "$SET" "$sealed" || return 1
    if [ "$source" = keep ] && [ -f "$sealed" ]; then
        ln -f "$sealed" "$KEPT"
    else
        systemd-creds encrypt --with-key=host --name=secret "$plain" "$KEPT.new" && mv -f "$KEPT.new" "$KEPT"
    fi && write_line "$number" file now root:root 600 disk "$sealed"
}

# Add the secrets that were placed earlier and are not declared now.
index_others() {
    others=$(get "$STATE/secrets/current")
    if [ -z "$others" ] || [ ! -f "$STATE/secrets/sets/$others/index" ]; then return 0; fi
    others_count=0
    while IFS=$TAB read -r _ presence when owner mode storage path; do
        if [ "$presence" != file ] || is_declared "$path"; then continue; fi
        others_count=$((others_count + 1))
        number=o$others_count
        if [ "$EXCLUSIVE" = 1 ]; then
            write_line "$number" absent "$when" "$owner" "$mode" "$storage" "$path" || return 1
            continue
        fi
        case $path in
            "$STATE"/secrets/sealed/*)
                # The sealed copy stays with its secret, and goes if the secret is now declared without one.
                unsealed=$ROOT$(printf '%s' "${path##*/}" | sed 's,%2f,/,g; s/%25/%/g')
                if is_declared "$unsealed"; then
                    write_line "$number" absent now root:root 600 disk "$path" || return 1
                fi
                continue
                ;;
        esac
        keep_other "$path" && write_line "$number" "file" "$when" "$owner" "$mode" "$storage" "$path" || return 1
        if [ "$storage" = sealed ]; then
            sealed=$(sealed_path "$path")
            keep_other "$sealed" && write_line "$number" "file" now root:root 600 disk "$sealed" || return 1
        fi
    done <"$STATE/secrets/sets/$others/index"
}

is_declared() { case $NEWLINE$DECLARED in *"$NEWLINE$1$NEWLINE"*) true ;; *) false ;; esac; }

# The secret may be gone after a reboot.
keep_other() { # PATH
    if [ ! -f "$1" ] || [ -L "$1" ]; then return 0; fi
    find_kept "$SET" "$number" "$1"
    make_kept_directory "$SET" "$1" && keep_as "$1" "$KEPT"
}

make_set() {
    MADE=$STATE/secrets/sets/$SET
    DECLARED=''
    # Another activation may just be ending, and remove sets that are not staged.
    mkdir -p "$STATE/secrets/sealed" "$MADE.making" && true >"$MADE.making/staged" && mv "$MADE.making" "$MADE" &&
        make_directories && each_entry prepare_entry && own_entries &&
        each_entry fill_entry && has_all_bytes && true >"$MADE/index.new" && each_entry index_entry && index_others &&
        printf '%s' "$UNITS" >"$MADE/units" && install_units && mv -f "$MADE/index.new" "$MADE/index"
}

give_up() { # CODE MESSAGE
    # forget_set finds its files by the index.
    if [ -e "$MADE/index.new" ]; then mv -f "$MADE/index.new" "$MADE/index"; fi
    while read -r _ made_directory; do
        if [ -n "$made_directory" ]; then forget_kept "$SET" "$ROOT$made_directory"; fi
    done <<EOT
$DIRECTORIES
EOT
    forget_set "$SET-before"
    forget_set "$SET"
    release_lock
    say_lines output "$(tail -n 20 "$NIXFERRY_RECEIVED.log")"
    error "$1" "$2"
}

place_secrets() {
    # shellcheck disable=SC2034 # lib/base.sh ends the answer with it
    VERB=secrets
    # From here on a lost connection does not stop it half-way.
    trap '' HUP PIPE INT TERM
    # A terminal mixes standard output and standard error.
    exec 3>&1
    command exec 1>"$NIXFERRY_RECEIVED.log" 2>&1 || exec 1>/dev/null 2>&1
    use_state "$(state_directory)"
    answer_begins
    check_directories
    # shellcheck disable=SC2034 # lib/lock.sh takes it for who it is
    ID=$SET
    prepare_state
    take_lock "$DEPLOYER"
    if [ -f "$STATE/secrets/sets/$SET/index" ]; then
        # The connection broke after all was done, and ssh (`ssh_retries`) has sent the request again.
        release_lock
        say set "$SET"
        answer_ends
    fi
    forget_staged
    make_set || give_up not_placed "the secrets could not be written: the old ones are unchanged"
    if [ "$APPLY" = 1 ]; then
        if ! keep_before "$SET" || ! place_set "$SET" || ! remember_set "$SET" "$(get "$STATE/secrets/toplevel")"; then
            if place_set "$SET-before"; then
                give_up not_placed "the secrets could not be placed: the old ones are unchanged"
            fi
            give_up half_placed "some new secrets were placed, and the old ones could not be restored"
        fi
        say_lines unit_failed "$(tell_units "$SET")"
        say_lines output "$(tail -n 20 "$NIXFERRY_RECEIVED.log")"
        rm -f "$MADE/staged"
        forget_set "$SET-before"
        prune_sets
    fi
    release_lock
    say set "$SET"
    answer_ends
}

place_secrets
