# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Install the pull agent on a running host, or remove it. Runs after the library, with WANTED (present or absent), DRY_RUN (1
# or 0), NOW (the controller's clock), FILES (names) and for each of them FILE_<name> (its text) and MODE_<name>, FILES_UNWANTED, UNITS_WANTED
# (names of units) and UNIT_<name> with other characters than letters as _, PULL_METRICS, CERTIFICATE and CERTIFICATE_KEY (paths, or
# empty), and NEEDS_CURL, NEEDS_GIT, NEEDS_SSH and NEEDS_GPG (or empty).

PULL=$ROOT/var/lib/nixferry-pull
CHANGED=''

# NixOS makes /etc/systemd/system a link into the store; its systemd reads the other directory as well (guard/units.sh).
unit_directory() {
    if [ -L "$ROOT/etc/systemd/system" ] || [ ! -w "$ROOT/etc/systemd/system" ]; then
        echo "$ROOT/etc/systemd/system.control"
    else
        echo "$ROOT/etc/systemd/system"
    fi
}

text_of() { if [ -f "$1" ]; then cat "$1" && echo .; fi; }

in_place() { # FILE TEXT MODE
    [ -f "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] && [ "$(text_of "$1")" = "$(printf '%s\n.\n' "$2")" ] &&
        [ -n "$(find "$1" -prune -perm "$3" -print)" ]
}

# place FILE TEXT MODE: note a difference, and write it unless this is a dry run
place() {
    if in_place "$@"; then return 0; fi
    CHANGED="$CHANGED$1
"
    if [ "$DRY_RUN" = 1 ]; then return 0; fi
    if [ -d "$1" ] && [ ! -L "$1" ]; then error unwritable "$1 is a directory"; fi
    { rm -f "$1.new" && true >"$1.new" && chmod "$3" "$1.new" && printf '%s\n' "$2" >"$1.new" && mv -f "$1.new" "$1"; } ||
        error unwritable "cannot write $1"
}

drop_file() {
    if [ ! -e "$1" ] && [ ! -L "$1" ]; then return 0; fi
    CHANGED="$CHANGED$1
"
    if [ "$DRY_RUN" != 1 ]; then rm -f "$1" || error unwritable "cannot remove $1"; fi
}

# On some systems only the members of a group reach the Nix daemon.
daemon_group() {
    socket_directory=$ROOT/nix/var/nix/daemon-socket
    if [ -n "$(find "$socket_directory" -prune ! -perm -0001 -print 2>/dev/null)" ]; then stat -c %G "$socket_directory"; fi
}

# The units make their users up. ssh-keygen wants to know them by name, which only works where the names of such users are
# looked up; elsewhere they have to exist.
needs_user() { ! grep -q '^passwd:.*systemd' "$ROOT/etc/nsswitch.conf" 2>/dev/null && ! id -u "$1" >/dev/null 2>&1; }

make_user() { # NAME
    needs_user "$1" || return 0
    CHANGED="$CHANGED$ROOT/etc/passwd
"
    if [ "$DRY_RUN" = 1 ]; then return 0; fi
    have useradd || error no_user "neither systemd's names of users are looked up (nss-systemd), nor is there useradd"
    useradd --system --user-group --no-create-home --home-dir / --shell /bin/false "$1" ||
        error no_user "the user $1 could not be made"
}

refuse_host() {
    is_root || error not_root "only root can install the pull agent"
    if ! have systemctl || [ ! -d "$ROOT/run/systemd/system" ]; then error no_systemd "no systemd runs on this host"; fi
    systemd_version=$(bounded 30 systemctl --version | sed -n 's/^systemd \([0-9]*\).*/\1/p')
    [ "${systemd_version:-0}" -ge 249 ] || error no_systemd "systemd ${systemd_version:-of an unknown version} is older than 249"
    have nix-prefetch-url || error no_nix "nix-prefetch-url was not found in PATH ($PATH)"
    have nsenter || error no_nsenter "nsenter was not found in PATH ($PATH)"
    have ssh-keygen || error no_ssh_keygen "ssh-keygen was not found in PATH ($PATH)"
    [ -S "$ROOT/nix/var/nix/daemon-socket/socket" ] ||
        error no_daemon "no Nix daemon runs on this host, so that a user without privileges could not fetch"
    if [ -n "$NEEDS_CURL" ]; then have curl || error no_curl "curl was not found in PATH ($PATH)"; fi
    if [ -n "$NEEDS_GIT" ]; then have git || error no_git "git was not found in PATH ($PATH)"; fi
    if [ -n "$NEEDS_SSH" ]; then have ssh || error no_ssh "ssh was not found in PATH ($PATH)"; fi
    if [ -n "$NEEDS_GPG" ]; then have gpg || error no_gpg "gpg was not found in PATH ($PATH)"; fi
    refuse_certificate
    case $(resolved "$ROOT/etc/systemd/system/nixferry-pull.service") in
        "$ROOT"/nix/store/*) error generated "the configuration of this system has a pull agent of its own" ;;
    esac
    if [ -n "$PULL_METRICS" ] && [ ! -d "$PULL_METRICS" ]; then error no_directory "$PULL_METRICS is not a directory on this host"; fi
    walk "$PULL"
    if [ -n "$UNSAFE" ]; then error unsafe_place "$UNSAFE"; fi
}

# systemd, which gives them to the unit that fetches, would find out only then.
refuse_certificate() {
    [ -n "$CERTIFICATE" ] || return 0
    for given in "$CERTIFICATE" "$CERTIFICATE_KEY"; do
        [ -f "$ROOT$given" ] || error no_certificate "$given is not a file on this host"
    done
    if [ -n "$(find -L "$ROOT$CERTIFICATE_KEY" -prune -perm -0004 -print)" ]; then error open_key "every user can read $CERTIFICATE_KEY"; fi
}

install_agent() {
    # shellcheck disable=SC2034 # lib/base.sh ends the answer with it
    VERB=pull_agent
    exec 3>&1 1>&2
    answer_begins
    units_in=$(unit_directory)
    if [ "$WANTED" = present ]; then
        refuse_host
        make_present
    else
        is_root || error not_root "only root can remove the pull agent"
        make_absent
    fi
    say_lines changed_file "$CHANGED"
    answer_ends
}

make_present() {
    if [ "$DRY_RUN" != 1 ]; then (umask 022 && mkdir -p "$PULL" "$units_in") || error unwritable "cannot make $PULL"; fi
    make_user nixferry-pull
    if [ -n "$NEEDS_GIT" ]; then make_user nixferry-pull-build; fi
    for file in $FILES; do
        eval "place \"\$PULL/$file\" \"\$FILE_$file\" \"\$MODE_$file\""
    done
    for file in $FILES_UNWANTED; do drop_file "$PULL/$file"; done
    group=$(daemon_group)
    for unit in $UNITS_WANTED; do
        eval "unit_text=\$UNIT_$(echo "$unit" | tr -c 'A-Za-z\n' _)"
        unit_text=$(printf '%s\n' "$unit_text" | sed "s/^@GROUPS@\$/${group:+SupplementaryGroups=$group}/")
        place "$units_in/$unit" "$unit_text" 644
    done
    for link in "multi-user.target.wants/nixferry-pull-resume.service" "timers.target.wants/nixferry-pull.timer"; do
        if [ "$(readlink "$units_in/$link")" = "../${link#*/}" ]; then continue; fi
        CHANGED="$CHANGED$units_in/$link
"
        if [ "$DRY_RUN" = 1 ]; then continue; fi
        if ! (umask 022 && mkdir -p "$units_in/${link%/*}") || ! ln -sfn "../${link#*/}" "$units_in/$link"; then
            error unwritable "cannot write $units_in/$link"
        fi
    done
    if [ "$DRY_RUN" = 1 ]; then return 0; fi
    if [ -n "$CHANGED" ]; then
        # A clock before this moment is wrong.
        printf '%s\n' "$NOW" >"$PULL/not_before" && chmod 644 "$PULL/not_before"
        bounded 60 systemctl daemon-reload || error systemd_failed "systemd did not read its units again"
        bounded 60 systemctl try-restart nixferry-pull.timer || error systemd_failed "the timer could not be restarted"
    fi
    if ! bounded 30 systemctl is-active --quiet nixferry-pull.timer; then
        if [ -z "$CHANGED" ]; then CHANGED="nixferry-pull.timer
"; fi
        bounded 60 systemctl start nixferry-pull.timer || error systemd_failed "the timer could not be started"
    fi
}

# The state stays: what was accepted and what is kept back count again if the agent comes back.
make_absent() {
    if [ "$DRY_RUN" != 1 ]; then
        for unit in nixferry-pull.timer nixferry-pull.service nixferry-pull-build.service; do
            if [ -e "$units_in/$unit" ]; then bounded 60 systemctl stop "$unit" || error systemd_failed "$unit could not be stopped"; fi
        done
    fi
    drop_file "$units_in/multi-user.target.wants/nixferry-pull-resume.service"
    drop_file "$units_in/timers.target.wants/nixferry-pull.timer"
    for unit in $UNITS_WANTED; do drop_file "$units_in/$unit"; done
    for file in $FILES $FILES_UNWANTED; do drop_file "$PULL/$file"; done
    if [ "$DRY_RUN" = 1 ] || [ -z "$CHANGED" ]; then return 0; fi
    bounded 60 systemctl daemon-reload || error systemd_failed "systemd did not read its units again"
}

install_agent
