# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Public keys whose signatures this host's Nix accepts: a block of ours in its configuration. Runs after lib/base.sh, with
# KEYS (words), WANTED (present or absent) and DRY_RUN (1 or 0). The rest of the file is never shown: it may hold tokens.

BLOCK_BEGINS='# BEGIN public keys of deploys, kept by nixferry.deploy.nix_trusted_key'
BLOCK_ENDS='# END public keys of deploys'
BLOCK_SETTING='extra-trusted-public-keys'
RESTART_DEADLINE=60 # seconds that the Nix daemon may take to start again

# Print the file to change: with Determinate Nix, nix.conf itself belongs to its daemon.
configuration_file() {
    configuration=$ROOT/etc/nix/nix.conf
    if [ -e "$configuration" ] && grep -q '^!*include  *nix\.custom\.conf' "$configuration"; then
        configuration=$ROOT/etc/nix/nix.custom.conf
    fi
    configuration_real=$(resolved "$configuration")
    echo "${configuration_real:-$configuration}"
}

# file_lines FILE inside|outside: print the lines of the block, or the others
file_lines() {
    [ -f "$1" ] || return 0
    place=outside
    while IFS= read -r file_line || [ -n "$file_line" ]; do
        if [ "$file_line" = "$BLOCK_BEGINS" ]; then
            place=inside
        elif [ "$place" = inside ] && [ "$file_line" = "$BLOCK_ENDS" ]; then
            place=outside
        elif [ "$place" = "$2" ]; then
            printf '%s\n' "$file_line"
        fi
    done <"$1"
}

# settings_named NAME TEXT: print the values of the lines `NAME = VALUE`. Fails without such a line.
settings_named() {
    named=1
    while IFS= read -r named_line; do
        case $named_line in "$1 = "*) printf '%s\n' "${named_line#"$1 = "}" && named=0 ;; esac
    done <<EOT
$2
EOT
    return "$named"
}

# Fails if the file cannot be read. It may lack the block.
block_keys() {
    block_text=$(file_lines "$1" inside) || return 1
    settings_named "$BLOCK_SETTING" "$block_text" || true
}

# Print the setting that Nix reads from all its files. The command has another name in newer versions. Fails if Nix does
# not print it: an empty list would mean that no key is trusted any more.
effective_keys() {
    effective_text=$(nix --extra-experimental-features nix-command config show 2>/dev/null ||
        nix --extra-experimental-features nix-command show-config 2>/dev/null) || return 1
    settings_named trusted-public-keys "$effective_text"
}

# among WORD WORDS
among() { case " $2 " in *" $1 "*) true ;; *) false ;; esac; }

# Print the keys that the block should hold.
keys_wanted() {
    if [ "$WANTED" = present ]; then
        wanted_keys=$1
        for key in $KEYS; do
            if ! among "$key" "$2 $wanted_keys"; then wanted_keys="$wanted_keys $key"; fi
        done
    else
        wanted_keys=
        for key in $1; do
            if ! among "$key" "$KEYS"; then wanted_keys="$wanted_keys $key"; fi
        done
    fi
    listed "$wanted_keys"
}

write_keys() { # FILE WORDS
    mkdir -p "${1%/*}" || return
    # A copy first, for its owner and mode: the same users can read it as before.
    if [ -e "$1" ]; then cp -p "$1" "$1.nixferry.new"; else (umask 022 && true >"$1.nixferry.new"); fi || return
    {
        file_lines "$1" outside &&
            if [ -n "$2" ]; then printf '%s\n' "$BLOCK_BEGINS" "$BLOCK_SETTING = $2" "$BLOCK_ENDS"; fi
    } >"$1.nixferry.new" && mv -f "$1.nixferry.new" "$1"
}

# The daemon reads its configuration when it starts. A daemon that does not run starts on demand.
restart_daemon() {
    if have systemctl && [ -d "$ROOT/run/systemd/system" ]; then
        bounded "$RESTART_DEADLINE" systemctl is-active --quiet nix-daemon.service
        case $? in
            0) ;;
            3 | 4) return 0 ;; # inactive, or no such unit
            *) return 1 ;;
        esac
        bounded "$RESTART_DEADLINE" systemctl reset-failed nix-daemon.service nix-daemon.socket 2>/dev/null
        bounded "$RESTART_DEADLINE" systemctl restart nix-daemon.service
    elif have launchctl; then
        launchctl kickstart -k system/org.nixos.nix-daemon
    else
        say note "unknown service manager: if a Nix daemon runs, restart it"
    fi
}

manage_trusted_keys() {
    # shellcheck disable=SC2034 # lib/base.sh ends the answer with it
    VERB=trusted_keys
    exec 3>&1 1>&2
    answer_begins
    have nix || error no_nix "nix was not found in PATH ($PATH)"
    file=$(configuration_file)
    before=$(block_keys "$file") || error unreadable "cannot read $file"
    effective=$(effective_keys) || error no_settings "Nix does not print the setting trusted-public-keys"
    after=$(keys_wanted "$before" "$effective")
    say file "$file"
    for key in $before; do say before "$key"; done
    for key in $after; do say after "$key"; done
    if [ "$after" = "$before" ]; then
        if [ "$WANTED" = absent ]; then refuse_other_source "$effective"; fi
        answer_ends
    fi
    case $file in */nix/store/*) error generated "$file is made by the configuration of this system" ;; esac
    if [ "$DRY_RUN" = 1 ]; then answer_ends; fi
    is_root || error not_root "only root can change $file"
    write_keys "$file" "$after" || error unwritable "cannot write to $file"
    if ! effective=$(effective_keys); then
        write_keys "$file" "$before"
        error ineffective "Nix does not print its settings any more, with what was written to $file"
    fi
    for key in $after; do
        if ! among "$key" "$effective"; then
            write_keys "$file" "$before"
            error ineffective "Nix does not take the key ${key%%:*} from $file"
        fi
    done
    restart_daemon || error daemon_not_restarted "$file is written, but the Nix daemon did not start again"
    if [ "$WANTED" = absent ]; then refuse_other_source "$effective"; fi
    answer_ends
}

# Refuse to end while another line or file still trusts a key that should be removed.
refuse_other_source() {
    for key in $KEYS; do
        if among "$key" "$1"; then error still_trusted "the key ${key%%:*} is still trusted by another line of the configuration"; fi
    done
}

manage_trusted_keys
