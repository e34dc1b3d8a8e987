# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Read the profiles, generations and systems of the host.

link_of() { if [ -L "$1" ]; then readlink "$1"; fi; }

# generation_of PROFILE: print the number N of the link PROFILE-N-link that PROFILE points to
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

# Print the running system: the target of the first of the kind's `current` links that exists.
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

# system_of TOPLEVEL SPECIALISATION: print the path to activate; nothing if it does not exist
system_of() { if [ -z "$2" ]; then echo "$1"; else resolved "$1/specialisation/$2"; fi; }

missing_files() { # TOPLEVEL SYSTEM NAMES
    for required_file in $3; do
        if [ ! -e "$1/$required_file" ] || [ ! -e "$2/$required_file" ]; then echo "$required_file"; fi
    done
}

nix_system() {
    machine=$(uname -m)
    case $machine in arm64) machine=aarch64 ;; i?86) machine=i686 ;; armv8l) machine=armv7l ;; esac
    echo "$machine-$(uname -s | tr '[:upper:]' '[:lower:]')"
}

# A kernel may run other platforms than its own. Refuse only what certainly cannot work.
runs_here() {
    if [ -z "$1" ] || [ "$1" = "$(nix_system)" ]; then return 0; fi
    case $(nix_system):$1 in
        x86_64-*:i?86-* | aarch64-*:arm* | aarch64-darwin:x86_64-darwin) [ "${1##*-}" = "$(nix_system | sed 's/.*-//')" ] ;;
        *) return 1 ;;
    esac
}

# --- what only a reboot replaces ------------------------------------------------------------------------------------

# reboot_reasons BOOTED SYSTEM CURRENT: print the parts of the booted system that only a reboot replaces
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

# inhibits_switch OLD NEW: does an inhibitor of both systems differ? NixOS compares with the running system. The file is a
# JSON object of strings, on one line or many. Another form, as in the first releases, counts as empty.
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
