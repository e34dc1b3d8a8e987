# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Install the guard as a program, and the sudoers rule for its users; or remove both. Runs after lib/base.sh,
# with WANTED (present or absent), DRY_RUN (1 or 0), PROGRAM_FILE and PROGRAM, PROFILE (what the program activates),
# RULE_FILE and RULE (empty: no rule) and USERS (words).

# text_of FILE: print its text and one more line, so that a newline at the end is not lost
text_of() { if [ -f "$1" ]; then cat "$1" && echo .; fi; }

with_end() { printf '%s\n.\n' "$1"; }

# Print the settings that tell one installed program from another.
settings_of() {
    if [ -f "$1" ]; then
        sed -n -e /^INSTALLED_VERSION=/p -e /^INSTALLED_KIND=/p -e /^INSTALLED_PROFILE=/p -e /^INSTALLED_KEYS=/p "$1"
    fi
}

# in_place FILE TEXT MODE: does FILE have this text and mode, and belong to root?
in_place() {
    if [ -z "$2" ]; then
        [ ! -e "$1" ] && [ ! -L "$1" ]
    else
        [ -f "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] && [ "$(text_of "$1")" = "$(with_end "$2")" ] &&
            [ -n "$(find "$1" -prune -perm "$3" -print)" ]
    fi
}

replace() { # FILE TEXT MODE
    # sudo ignores file names with a dot.
    (umask 022 && mkdir -p "${1%/*}") && rm -f "$1.new" && true >"$1.new" || return 1
    # A default ACL replaces the umask. A user could open the file for writing before its mode is set.
    if ! is_ours "$1.new"; then
        rm -f "$1.new"
        error unsafe_place "an access control list of ${1%/*} lets other users write to what is made there"
    fi
    printf '%s\n' "$2" >"$1.new" && chmod "$3" "$1.new" && mv -f "$1.new" "$1"
}

check_rule() {
    have visudo || error no_sudo "visudo was not found in PATH ($PATH)"
    if ! grep -q "^[#@]includedir  *${RULE_FILE%/*}/*\$" "$ROOT/etc/sudoers"; then
        error no_include "$ROOT/etc/sudoers does not include ${RULE_FILE%/*}"
    fi
    rule_check=$(mktemp "${TMPDIR:-/tmp}/nixferry.XXXXXX") || error unwritable "cannot make a temporary file"
    printf '%s\n' "$RULE" >"$rule_check"
    visudo -c -f "$rule_check"
    rule_result=$?
    rm -f "$rule_check"
    [ "$rule_result" = 0 ] || error bad_rule "visudo does not accept the rule"
}

install_guard() {
    # shellcheck disable=SC2034 # lib/base.sh ends the answer with it
    VERB=install_guard
    exec 3>&1 1>&2
    answer_begins
    is_root || error not_root "only root can install the guard, or look whether it is installed"
    say_lines program_before "$(settings_of "$PROGRAM_FILE")"
    if [ -n "$RULE_FILE" ] && [ -f "$RULE_FILE" ]; then say_lines rule_before "$(cat "$RULE_FILE")"; fi
    program_kept=1 rule_kept=1
    in_place "$PROGRAM_FILE" "$PROGRAM" 755 || program_kept=0
    if [ -n "$RULE_FILE" ]; then in_place "$RULE_FILE" "$RULE" 440 || rule_kept=0; fi
    say program_changed "$((1 - program_kept))"
    say rule_changed "$((1 - rule_kept))"
    if [ "$WANTED" = present ]; then
        case $(resolved "${PROGRAM_FILE%/*}") in */nix/store/*) error generated "${PROGRAM_FILE%/*} is made by the configuration of this system" ;; esac
        look_for_reach "${PROGRAM_FILE%/*}" "$PROFILE"
        if [ -z "$UNSAFE" ] && [ -n "$RULE_FILE" ]; then walk "${RULE_FILE%/*}"; fi
        if [ -n "$UNSAFE" ]; then error unsafe_place "$UNSAFE"; fi
        for user in $USERS; do
            id -u "$user" >/dev/null 2>&1 || error no_user "the user $user does not exist on this host"
        done
        if [ "$rule_kept" = 0 ]; then check_rule; fi
    fi
    if [ "$DRY_RUN" = 1 ] || [ "$program_kept$rule_kept" = 11 ]; then answer_ends; fi
    # Remove the rule first: it must never allow a program that is missing. For the same reason it is written last.
    if [ "$WANTED" = absent ]; then
        rm -f ${RULE_FILE:+"$RULE_FILE"} "$PROGRAM_FILE" || error unwritable "cannot remove $PROGRAM_FILE"
        answer_ends
    fi
    replace "$PROGRAM_FILE" "$PROGRAM" 755 || error unwritable "cannot write $PROGRAM_FILE"
    if [ "$rule_kept" = 0 ]; then
        replace "$RULE_FILE" "$RULE" 440 || error unwritable "cannot write $RULE_FILE"
        for user in $USERS; do
            if ! sudo -n -l -U "$user" "$PROGRAM_FILE" >/dev/null; then
                rm -f "$RULE_FILE"
                error ineffective "sudo does not let $user run $PROGRAM_FILE, although the rule says so"
            fi
        done
    fi
    answer_ends
}

install_guard
