# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Read the profiles, generations and systems of the host.

link_of() { if [ -L "$1" ]; then readlink "$1"; fi; }

# find_generation PROFILE: set GENERATION to the number N of the link PROFILE-N-link that PROFILE points to, and profile_leads_to
# to what the link contains; empty without
find_generation() {
    GENERATION=
    if [ -L "$1" ]; then profile_leads_to=$(readlink "$1"); else profile_leads_to=''; fi
    case $profile_leads_to in
        *"${1##*/}"-*[0-9]-link)
            generation_number=${profile_leads_to%-link}
            generation_number=${generation_number##*-}
            case $generation_number in *[!0-9]*) ;; *) GENERATION=$generation_number ;; esac
            ;;
    esac
}

# Print it.
generation_of() {
    find_generation "$1"
    if [ -n "$GENERATION" ]; then echo "$GENERATION"; fi
}

last_generation() {
    last=0
    for generation_link in "$1"-*-link; do
        number=${generation_link#"$1"-}
        number=${number%-link}
        case $number in
            '' | *[!0-9]*) ;;
            *) if [ "$number" -gt "$last" ]; then last=$number; fi ;;
        esac
    done
    echo "$last"
}

# A profile may be given relative to the home directory, which only the host knows.
# shellcheck disable=SC2088 # the tilde is meant literally
expanded() {
    case $1 in
        "~/.local/state/"*) echo "${XDG_STATE_HOME:-${HOME:-}/.local/state}/${1#"~/.local/state/"}" ;;
        "~/"*) echo "${HOME:-}/${1#??}" ;;
        *) printf '%s\n' "$1" ;;
    esac
}

# Set RUNNING to the running system: the target of the first of the kind's `current` links that exists; empty without one.
find_running() { # CURRENT PROFILE
    RUNNING=
    for current_link in $1; do
        # shellcheck disable=SC2088 # the tilde is meant literally
        case $current_link in
            profile) current_link=$2 ;;
            "~/"*) current_link=$(expanded "$current_link") ;;
            *) current_link=$ROOT$current_link ;;
        esac
        if [ -e "$current_link" ]; then
            resolve "$current_link"
            RUNNING=$RESOLVED
            return
        fi
    done
}

# Print it.
current_system() { # CURRENT PROFILE
    find_running "$@"
    if [ -n "$RUNNING" ]; then printf '%s\n' "$RUNNING"; fi
}

# find_system_of TOPLEVEL SPECIALISATION: set SYSTEM to the path to activate; empty if it does not exist
# shellcheck disable=SC2034 # other parts read it
find_system_of() {
    SYSTEM=$1
    if [ -n "$2" ]; then
        resolve "$1/specialisation/$2"
        SYSTEM=$RESOLVED
    fi
}

missing_files() { # TOPLEVEL SYSTEM NAMES
    for required_file in $3; do
        if [ ! -e "$1/$required_file" ] || [ ! -e "$2/$required_file" ]; then echo "$required_file"; fi
    done
}

# Set NIX_SYSTEM to Nix's name of this platform.
find_nix_system() {
    # The order of the two names is that of uname(1), whatever the order of the options.
    machine=$(uname -s -m)
    kernel=${machine%% *}
    machine=${machine##* }
    case $machine in arm64) machine=aarch64 ;; i?86) machine=i686 ;; armv8l) machine=armv7l ;; esac
    case $kernel in Linux) kernel=linux ;; Darwin) kernel=darwin ;; *) kernel=$(echo "$kernel" | tr '[:upper:]' '[:lower:]') ;; esac
    NIX_SYSTEM=$machine-$kernel
}

# A kernel may run other platforms than its own. Refuse only what certainly cannot work.
runs_here() {
    if [ -z "$1" ]; then return 0; fi
    find_nix_system
    case $NIX_SYSTEM:$1 in
        "$1:$1") ;;
        x86_64-*:i?86-* | aarch64-*:arm* | aarch64-darwin:x86_64-darwin) [ "${1##*-}" = "${NIX_SYSTEM##*-}" ] ;;
        *) return 1 ;;
    esac
}

# --- what only a reboot replaces ------------------------------------------------------------------------------------

# reboot_reasons BOOTED SYSTEM CURRENT: print the parts of the booted system that only a reboot replaces
reboot_reasons() {
    [ -n "$1" ] && [ -d "$ROOT$1" ] && [ -n "$2" ] || return 0
    for part in kernel initrd kernel-modules; do
        if ! leads_to_same "$ROOT$1/$part" "$2/$part"; then echo "$part"; fi
    done
    for part in kernel-params init-interface-version; do
        read_text "$ROOT$1/$part"
        part_booted=$TEXT
        read_text "$2/$part"
        if [ "$part_booted" != "$TEXT" ]; then echo "$part"; fi
    done
    if inhibits_switch "$ROOT$1" "$2" || inhibits_switch "$ROOT$3" "$2"; then echo switch-inhibitors; fi
}

# Do two paths lead to the same place? Two files of the store with the same content may be one file with two names (-ef).
leads_to_same() {
    if [ -f "$1" ] && [ -f "$2" ]; then
        # In general one process tells both.
        leads_to=$(readlink -f "$1" "$2" 2>/dev/null)
        case $leads_to in
            /*"$NEWLINE"*"$NEWLINE"*) ;;
            /*"$NEWLINE"/*)
                [ "${leads_to%%"$NEWLINE"*}" = "${leads_to#*"$NEWLINE"}" ]
                return
                ;;
        esac
    fi
    resolve "$1"
    leads_to=$RESOLVED
    resolve "$2"
    [ "$leads_to" = "$RESOLVED" ]
}

# inhibits_switch OLD NEW: does an inhibitor of both systems differ? NixOS compares with the running system. The file is a
# JSON object of strings, on one line or many. Another form, as in the first releases, counts as empty.
inhibits_switch() {
    read_text "$1/switch-inhibitors"
    inhibitors_old=$TEXT
    read_text "$2/switch-inhibitors"
    # In general they are the same.
    if [ "$TEXT" = "$inhibitors_old" ]; then return 1; fi
    for inhibitors in "$inhibitors_old" "$TEXT"; do case $inhibitors in "{"*) ;; *) return 1 ;; esac; done
    inhibitor_lines "$1" "$2" | sort -u | sed 's/": *".*//' | uniq -d | grep -q .
}

inhibitor_lines() {
    for inhibitors; do
        sed 's/^ *{//; s/^ *//; s/[}, ]*$//; s/","/"\
"/g' "$inhibitors/switch-inhibitors"
        echo
    done | sed '/^$/d; s/": *"/": "/'
}
