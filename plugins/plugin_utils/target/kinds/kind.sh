# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The kinds of systems: what "make this closure the running one" means for each of them. A kind NAME is a driver, the
# file NAME.sh, with functions whose names begin with its own (home_manager_ for home-manager). Nothing else in the guard
# names a kind or a program of one.
#
# NAME_properties, which every driver has, sets
#   KIND_REQUIRED               files that a toplevel of this kind contains, relative to it
#   KIND_PROFILE                the default profile link; `~/` as in lib/system.sh (expanded); empty: always asked for
#   KIND_CURRENT                links to the running system: the first that exists counts. The word `profile` means the
#                               profile link
#   KIND_BOOTED                 the link to the booted system; empty where that has no meaning
#   KIND_HAS_BOOT_DEFAULT       1 if a boot loader decides what runs after a power cut. If not, the guard rolls back an
#                               interrupted activation itself after a restart
#   KIND_CHECK_UNITS            1 if an activation can start units, which the guard then watches. Some programs hide failed
#                               units behind exit code 0, and none waits for a service that dies a moment later
#   KIND_EXIT_FAILED_UNITS      the exit code for: activated, but some units have failed
#   KIND_EXIT_REBOOT_REQUIRED   nothing was activated, because only a reboot can do it
#   KIND_EXIT_LOCKED            another activation holds the program's own lock: worth a retry. Believed only together
#                               with KIND_LOCKED_WORDS
#   KIND_LOCK                   the file that the program locks (flock) for as long as it runs
#   KIND_LOCKED_WORDS           what the program prints when it could not get that lock
#   KIND_BEGUN_WORDS            what the program prints before it changes anything that KIND_CURRENT would not show
#   KIND_UNFINISHED             a list that the program removes at its end; what is left in it was not done
#   KIND_REMAINS                what a failed first deploy leaves behind that cannot be undone, and what to do about it
#   KIND_WITHOUT                functions below that have nothing to do in this activation
#
# The programs. A driver has those that make sense; `kind_has` tells. Each runs in a session of its own with a time limit
# and its output in the log (run_program), ends with the exit code of the first program that fails, and sees the
# environment of the play and
#   TOPLEVEL, SYSTEM            the store path that is deployed; what is activated: that one or its specialisation
#   OLD_TOPLEVEL, OLD_SYSTEM    where the profile pointed; what ran, which may be no generation at all (empty: nothing)
#   OLD_BOOT_DEFAULT            what booted by default; empty if that is unknown or can only be OLD_TOPLEVEL
#   PROFILE                     the profile link
#   NAME_activate               makes SYSTEM the running one
#   NAME_commit                 makes it permanent, after the confirmation
#   NAME_roll_back              makes OLD_SYSTEM the running one, with OLD_SYSTEM's own program. The guard has put the
#                               profile link back before, so no driver guesses which generation was "the previous one"
#   NAME_restore_boot_default   makes the old system boot by default again after a commit that failed half-way
#   NAME_prepare_boot           makes TOPLEVEL a generation with a boot entry, while OLD_TOPLEVEL stays the boot default
#                               all the time. Without it the kind cannot be booted just once
#   NAME_dry_activate           prints what NAME_activate would do, without doing it
#   NAME_deactivate             removes all that SYSTEM has made on a host that had no system of this kind before
# They may be called after an activation that was cut off anywhere. If a program undoes something only after a complete
# activation, the driver has to undo it.
#
#   NAME_find_profile           prints the default profile link where only the host knows it; in the guard's own process

# use_kind NAME: make the functions and properties above those of this kind. Fails if the kind is unknown.
# shellcheck disable=SC2034 # other parts read the properties
use_kind() {
    KIND_REQUIRED='' KIND_PROFILE='' KIND_CURRENT='' KIND_BOOTED='' KIND_HAS_BOOT_DEFAULT='' KIND_CHECK_UNITS=''
    KIND_EXIT_FAILED_UNITS='' KIND_EXIT_REBOOT_REQUIRED='' KIND_EXIT_LOCKED='' KIND_LOCK='' KIND_LOCKED_WORDS=''
    KIND_BEGUN_WORDS='' KIND_UNFINISHED='' KIND_REMAINS='' KIND_WITHOUT=''
    KIND=none
    case $1 in
        nixos | darwin | profile) KIND=$1 ;;
        home-manager) KIND=home_manager ;;
        system-manager) KIND=system_manager ;;
        *) return 1 ;;
    esac
    "${KIND}_properties"
}

# kind_has FUNCTION: does the kind have this function, with something to do?
kind_has() {
    case " $KIND_WITHOUT " in *" $1 "*) return 1 ;; esac
    have "${KIND}_$1"
}

set_profile() { nix-env -p "$PROFILE" --set "$TOPLEVEL"; }

# Not if the profile points to the toplevel already: it may do so by a generation that is not the newest.
# shellcheck disable=SC3013 # every /bin/sh that runs Nix knows -ef
make_sure_of_profile() { [ "$PROFILE" -ef "$TOPLEVEL" ] || { make_sure_of_directory "${PROFILE%/*}" && set_profile; }; }
