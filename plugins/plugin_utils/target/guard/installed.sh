# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The guard installed as a program, for deployers who may become root for it alone. It judges requests by the third column
# of the table in lib/request.sh, and activates only signed systems. Every command that it runs comes from the program
# itself (guard/installed_begin.sh), which sets:
#   INSTALLED_VERSION   changes with the program's text          INSTALLED_KIND, INSTALLED_PROFILE   the only ones allowed
#   INSTALLED_COMMAND   `activate_command`, encoded              INSTALLED_KEYS   public keys, of which one must have signed
#   INSTALLED_CALLER    the calling user, from sudo
#   INSTALLED_CALLER_DECIDES   1 for a guard of root's alone, whose caller has judged the system: nothing must be signed

# shellcheck disable=SC2034 # lib/request.sh reads it
if [ -n "$INSTALLED_VERSION" ]; then REQUEST_REFUSED=refused; fi
PERMITS=$ROOT/nix/var/nix/gcroots/nixferry-permits

# Refuse the request of another version of the collection.
judge_version() {
    find_encoded version
    if ! fits identifier "$ENCODED"; then refuse_request "the request has no version"; fi
    if [ "$ENCODED" != "$INSTALLED_VERSION" ]; then
        error other_version "the guard on the host has the version $INSTALLED_VERSION, the controller's $ENCODED"
    fi
}

# An installation may have been safe when it was made. Directories of programs that other users can write to are left out
# of PATH; the check itself needs none of them (guard/installed_begin.sh).
refuse_reach() {
    look_for_reach "$INSTALLED_FILE" "$INSTALLED_PROFILE"
    if [ -n "$UNSAFE" ]; then error unsafe_state "$UNSAFE"; fi
    for own_directory in /nix/var/nix/profiles/default/bin /usr/local/sbin /usr/local/bin; do
        if [ ! -d "$ROOT$own_directory" ]; then continue; fi
        walk "$ROOT$own_directory"
        if [ -z "$UNSAFE" ]; then PATH=$PATH:$ROOT$own_directory; fi
    done
    # shellcheck disable=SC2034 # guard/driver.sh reads it
    CALLER_PATH=$PATH
}

# --- what may be activated ---------------------------------------------------------------------------------------

nix_command() { nix --extra-experimental-features nix-command "$@" 2>/dev/null </dev/null; }

# What root has made a generation may be activated again. The links count only where no other user can make them.
installed_generations() {
    [ -O "${INSTALLED_PROFILE%/*}" ] || return 0
    for generation_link in "$INSTALLED_PROFILE"-*-link; do
        if [ -L "$generation_link" ]; then readlink "$generation_link"; fi
    done
}

is_installed_generation() {
    for generation in $(installed_generations); do
        if [ "$generation" = "$1" ]; then return 0; fi
    done
    return 1
}

# verified KEYS_SETTING PATH...: is each path signed, even if built here, or content-addressed?
verified() {
    verified_setting=$1
    shift
    nix_command store verify --no-contents --sigs-needed 1 --option secret-key-files '' \
        --option "$verified_setting" "$INSTALLED_KEYS" "$@" >/dev/null
}

# A valid path proves nothing: every user may let the daemon build. Nix also trusts paths that were built here or are
# content-addressed, without a signature. So the system itself must be signed by a deploy key; that signature covers the
# names of all its references. Each of these must be signed by a key that the host trusts, be content-addressed, or
# belong to a generation, which root runs already.
is_signed() {
    # The exit code of each program counts, and no text passes a pipeline or a file: a list that was cut off must not look
    # like a short one. The limits of the caller, or a full disk, can end one program and not the next.
    signed_info=$(nix_command path-info --sigs "$1") || return 1
    case $signed_info in "$1"*) ;; *) return 1 ;; esac
    for signed_word in $signed_info; do
        case $signed_word in ca:*) return 1 ;; esac
    done
    verified trusted-public-keys "$1" || return 1
    signed_closure=$(nix-store -qR "$1" 2>/dev/null) || return 1
    case $NEWLINE$signed_closure$NEWLINE in *"$NEWLINE$1$NEWLINE"*) ;; *) return 1 ;; esac
    # shellcheck disable=SC2086 # paths are words
    if verified extra-trusted-public-keys $signed_closure; then return 0; fi
    signed_new=
    signed_known=$NEWLINE$(closure_of_generations)$NEWLINE
    for signed_path in $signed_closure; do
        case $signed_known in *"$NEWLINE$signed_path$NEWLINE"*) ;; *) signed_new="$signed_new $signed_path" ;; esac
    done
    # shellcheck disable=SC2086
    [ -z "$signed_new" ] || verified extra-trusted-public-keys $signed_new
}

# If a path is missing here, it needs a signature.
closure_of_generations() {
    set --
    for known_generation in $(installed_generations); do
        if [ -e "$known_generation" ]; then set -- "$@" "$known_generation"; fi
    done
    if [ "$#" -gt 0 ]; then nix-store -qR "$@" 2>/dev/null; fi
}

# The GC root is made before the check: a path that was checked cannot be collected and then be built again with other
# contents.
permit() {
    mkdir -p "$PERMITS" || refuse_request "cannot make the directory $PERMITS"
    for old_permit in "$PERMITS"/*; do
        if [ -L "$old_permit" ] && ! kill -0 "${old_permit##*/}" 2>/dev/null; then rm -f "$old_permit"; fi
    done
    ln -sfn "$1" "$PERMITS/$$" || refuse_request "cannot write to $PERMITS"
    trap 'rm -f "$PERMITS/$$"' EXIT
    if ! nix-store --check-validity "$1" 2>/dev/null; then
        error invalid_toplevel "$1 is not in this host's store, or not complete"
    fi
    if [ "$INSTALLED_CALLER_DECIDES" = 1 ] && [ -z "$INSTALLED_CALLER" ]; then return 0; fi
    if ! is_installed_generation "$1" && ! is_signed "$1"; then
        error not_signed "$1 is neither signed by a deploy key of this host, with its references, nor a generation"
    fi
}

# --- fields that the caller may not set --------------------------------------------------------------------------

# Of a request that was judged
restrict_request() {
    if [ "$VERB" != probe ]; then refuse_other_activation; fi
    case $VERB in
        probe | start) ;;
        *)
            hand_over
            return
            ;;
    esac
    replace_field kind "$INSTALLED_KIND"
    replace_field profile "$INSTALLED_PROFILE"
    replace_field activate_command "$INSTALLED_COMMAND"
    if ! fits name "$INSTALLED_CALLER"; then INSTALLED_CALLER=''; fi
    find_encoded deployer
    replace_field deployer "${ENCODED:-unknown}${INSTALLED_CALLER:+ as $INSTALLED_CALLER}"
    find_arg toplevel
    restricted_toplevel=$ARG
    if [ "$VERB" = start ]; then
        permit "$restricted_toplevel"
    elif [ -z "$restricted_toplevel" ]; then
        replace_field dry_activate 0
    # Root must not even look at an untrusted path: it may hold links to files that the caller cannot read.
    elif nix-store --check-validity "$restricted_toplevel" 2>/dev/null; then
        permit "$restricted_toplevel"
    else
        # The path could be built a moment later. Ask about one that cannot.
        replace_field toplevel "$ROOT/nix/store/00000000000000000000000000000000-absent"
    fi
}

# An activation of another profile or kind is none of the caller's business: to them it does not exist. The record is
# complete when it gets its name.
refuse_other_activation() {
    own_record=$STATE/activations/$(arg id)
    if is_there "$own_record/request" && { [ "$(get "$own_record/request/kind")" != "$INSTALLED_KIND" ] ||
        [ "$(get "$own_record/request/profile")" != "$INSTALLED_PROFILE" ]; }; then
        error no_activation "this host knows no activation $(arg id)"
    fi
}

# The version that began an activation ends it, whatever was installed since.
hand_over() {
    own_program=$STATE/activations/$(arg id)/guard.sh
    if ! cat "$own_program" >/dev/null 2>&1; then
        find_text "$own_program"
        own_program=$FOUND
    fi
    if [ ! -f "$own_program" ] || ! is_ours "$own_program"; then return 0; fi
    printf '%s' "${REQUEST#"$NEWLINE"}" | "$NIXFERRY_SH" "$own_program" answer >&3 3>&-
    exit
}
