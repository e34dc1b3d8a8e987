# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The record of an activation. $DIR is /var/lib/nixferry/activations/<id>:
#   request/KEY  what was asked for (see start.sh), never changed
#   old/KEY      what the host was like before
#   result/KEY   what came of it
#   phase        one of: prepared activating awaiting-confirmation committing committed rolling-back rolled-back failed
#   phases/      the phases not entered yet: a phase is entered by a rename, which works on a full disk, too
#   history      phases with the time they began, on the clock and since the host came up (see `now`)
#   notes        remarks, one a line
#   worker       the process that works on it        child    the session of the program that it runs
#   log          what the programs printed           boot     the boot it belongs to
#   confirm, abort   made by the controller

ACTIVATIONS_KEPT=20

request() { get "$DIR/request/$1"; }
old() { get "$DIR/old/$1"; }
result() { get "$DIR/result/$1"; }
set_result() { put "$DIR/result/$1" "$2"; }
wanted() { [ "$(request "$1")" = 1 ]; }

phase() { get "$DIR/phase"; }

# A record keeps some room on the disk to itself until its end: whatever fills the disk meanwhile, how the activation
# ends can be written down, and the programs of the old system can print.
keep_room() { printf '%s' "$NIXFERRY_GUARD" >"$DIR/room"; }

# Fails if there is no such room (any more).
make_room() { [ -n "${DIR:-}" ] && [ -e "$DIR/room" ] && rm -f "$DIR/room"; }

has_room() {
    printf '%16384s' '' 2>/dev/null >"$DIR/test"
    room_found=$?
    rm -f "$DIR/test"
    return "$room_found"
}

# Where a program may print. Some give up if they cannot: with a full disk they print to nowhere.
printing_place() { if has_room || { make_room && has_room; }; then echo "$DIR/log"; else echo /dev/null; fi; }

prepare_phases() {
    mkdir "$DIR/phases"
    for prepared_phase in activating awaiting-confirmation committing committed rolling-back rolled-back failed; do
        echo "$prepared_phase" >"$DIR/phases/$prepared_phase"
    done
}

is_phase() {
    case $1 in
        prepared | activating | awaiting-confirmation | committing | committed | rolling-back | rolled-back | failed) ;;
        *) false ;;
    esac
}

is_final() { case $1 in committed | rolled-back | failed) true ;; *) false ;; esac; }

# Fails if the record could not be changed: then nobody would know.
enter_phase() {
    echo "$1 $(date +%s) $(($(now) / NIXFERRY_SECOND))" >>"$DIR/history"
    echo "--- nixferry: $1, $(date)" >>"$DIR/log"
    if [ "$(phase)" = "$1" ]; then return 0; fi
    if [ -f "$DIR/phases/$1" ]; then mv -f "$DIR/phases/$1" "$DIR/phase"; else put "$DIR/phase" "$1"; fi
}

note() {
    printf '%s\n' "$1" >>"$DIR/notes"
    printf '%s\n' "--- nixferry: $1" >>"$DIR/log"
}

# use_activation ID: the activation that the functions above are about
use_activation() {
    ID=$1
    DIR=$STATE/activations/$1
}

# What the kind's snippets see; `shellcheck` cannot know that.
# shellcheck disable=SC2034
load_variables() {
    TOPLEVEL=$(request toplevel)
    SYSTEM=$(request system)
    PROFILE=$(request profile)
    OLD_TOPLEVEL=$(old toplevel)
    OLD_SYSTEM=$(old system)
}

# The state directory exists, is ours alone and takes what we are going to write.
prepare_state() {
    for place in "$STATE" "$STATE/activations"; do
        if [ ! -d "$place" ]; then set_aside "$place"; fi
    done
    if [ ! -f "$STATE/contact" ]; then set_aside "$STATE/contact"; fi
    if ! mkdir -p "$STATE/activations" || ! chmod 700 "$STATE"; then
        error state_unwritable "cannot make the state directory $STATE"
    fi
    if ! printf '%s' "$NIXFERRY_GUARD$NIXFERRY_GUARD" >"$STATE/test.$$"; then
        rm -f "$STATE/test.$$"
        error state_unwritable "cannot write to the state directory $STATE"
    fi
    rm -f "$STATE/test.$$"
}

# What lies where something of ours belongs
set_aside() { if [ -e "$1" ] || [ -L "$1" ]; then mv "$1" "$1.garbage.$$"; fi; }

# Every activation, newest first
activations() {
    # shellcheck disable=SC2010 # a glob cannot sort by time; whatever is not an id is left out
    ls -1t "$STATE/activations" 2>/dev/null | grep -v '[^0-9A-Za-z-]'
}

# Is somebody working on it?
is_attended() {
    owner_lives "$DIR/resumer" || { [ "$(get "$DIR/boot")" = "$(boot_identity)" ] && owner_lives "$DIR/worker"; }
}

# Activations that were begun and that nobody works on any more. A record that has become garbage tells nothing: what
# it was about may have been committed, and is not undone.
interrupted_activations() {
    for found_id in $(activations); do
        (
            use_activation "$found_id"
            found_phase=$(phase 2>/dev/null)
            if [ ! -f "$DIR/phase" ] || is_final "$found_phase" || is_attended; then exit; fi
            if [ -z "$found_phase" ] || is_phase "$found_phase"; then echo "$found_id"; fi
        )
    done
}

# What nobody will ask for again goes, and the protection from garbage collection with it.
prune_activations() {
    kept=0
    for found_id in $(activations); do
        kept=$((kept + 1))
        found_phase=$(get "$STATE/activations/$found_id/phase")
        if [ "$found_id" != "$ID" ] && [ "$kept" -gt "$ACTIVATIONS_KEPT" ] &&
            { is_final "$found_phase" || ! is_phase "$found_phase"; }; then
            rm -rf "$STATE/activations/${found_id:?}"
        fi
    done
    # A power cut in prepare_state has left these.
    rm -f "$STATE"/test.*
    for gc_root in "$ROOT$GC_ROOTS"/*; do
        gc_root_id=${gc_root##*/}
        if [ -L "$gc_root" ] && [ ! -d "$STATE/activations/${gc_root_id%-*}" ]; then rm -f "$gc_root"; fi
    done
}

# --- garbage collection: neither the new nor the old system may go away under our feet --------------------------

GC_ROOTS=/nix/var/nix/gcroots/nixferry

add_gc_root() {
    [ -n "$2" ] || return 0
    if is_root; then
        mkdir -p "$ROOT$GC_ROOTS" && ln -sfn "$2" "$ROOT$GC_ROOTS/$ID-$1"
    else
        nix-store --add-root "$DIR/root-$1" --indirect --realise "$2" >/dev/null
    fi
}

remove_gc_roots() {
    for gc_root_name in new old profile; do rm -f "$ROOT$GC_ROOTS/$ID-$gc_root_name" "$DIR/root-$gc_root_name"; done
}

# After a failure both systems are kept for whoever repairs the host; a deploy that works ends that.
forget_failed() {
    for gc_root in "$ROOT$GC_ROOTS"/*; do
        gc_root_id=${gc_root##*/}
        failed_record=$STATE/activations/${gc_root_id%-*}
        if [ "$(get "$failed_record/phase")" = failed ] && [ "$(get "$failed_record/request/profile")" = "$PROFILE" ]; then
            rm -f "$gc_root"
        fi
    done
}

# --- profiles ---------------------------------------------------------------------------------------------------

link_of() { if [ -L "$1" ]; then readlink "$1"; fi; }

# generation_of PROFILE: the number N of the generation link PROFILE-N-link that it points to
generation_of() {
    generation=$(link_of "$1")
    case $generation in
        *"${1##*/}"-*[0-9]-link)
            generation=${generation%-link}
            generation=${generation##*-}
            case $generation in *[!0-9]*) ;; *) echo "$generation" ;; esac
            ;;
    esac
}

# What is running: the system behind the first of the kind's `current` links that leads anywhere
current_system() { # CURRENT PROFILE
    for current_link in $1; do
        # shellcheck disable=SC2088 # the tilde is meant literally
        case $current_link in
            profile) current_link=$2 ;;
            "~/"*) current_link=$(expanded "$current_link") ;;
            *) current_link=$ROOT$current_link ;;
        esac
        if [ -e "$current_link" ]; then
            resolved "$current_link"
            return
        fi
    done
}

# reboot_reasons BOOTED SYSTEM CURRENT: what of the booted system only a reboot replaces
reboot_reasons() {
    [ -n "$1" ] && [ -d "$ROOT$1" ] && [ -n "$2" ] || return 0
    for part in kernel initrd kernel-modules; do
        if [ "$(resolved "$ROOT$1/$part")" != "$(resolved "$2/$part")" ]; then echo "$part"; fi
    done
    for part in kernel-params init-interface-version; do
        if [ "$(get "$ROOT$1/$part")" != "$(get "$2/$part")" ]; then echo "$part"; fi
    done
    if inhibits_switch "$ROOT$1" "$2" || inhibits_switch "$ROOT$3" "$2"; then echo switch-inhibitors; fi
}

# inhibits_switch OLD NEW: does an inhibitor that both systems have differ? NixOS compares with the system that runs.
# The file is an object of strings, in one line or many; what is not, as in the first releases, counts as empty.
inhibits_switch() {
    for inhibitors in "$1/switch-inhibitors" "$2/switch-inhibitors"; do
        if [ "$(head -c 1 "$inhibitors" 2>/dev/null)" != '{' ]; then return 1; fi
    done
    inhibitor_lines "$1" "$2" | sort -u | sed 's/": *".*//' | uniq -d | grep -q .
}

inhibitor_lines() {
    for inhibitors; do
        sed 's/^ *{//; s/^ *//; s/[}, ]*$//; s/","/"\
"/g' "$inhibitors/switch-inhibitors"
        echo
    done | sed '/^$/d; s/": *"/": "/'
}

# Units that have failed or fail again and again; the guard's own do not count.
failed_units() {
    have systemctl && [ -d "$ROOT/run/systemd/system" ] || return 0
    if is_root; then scope=--system; else scope=--user; fi
    bounded 30 systemctl "$scope" list-units --state=failed,auto-restart --plain --no-legend --no-pager --full \
        2>/dev/null | while read -r failed_unit _; do
        case $failed_unit in nixferry-* | '') ;; *) echo "$failed_unit" ;; esac
    done
}
