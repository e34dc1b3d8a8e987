# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The installed guard reads a request and judges it. A request is lines of printable ASCII: version=..., verb=..., then
# key=value. Only the keys in INSTALLED_FIELDS are allowed (`key:rule`), each with a value that fits its rule; whatever
# is run comes from the program itself. Before this come the settings:
#   INSTALLED_VERSION   changes with the program's text         INSTALLED_KIND, INSTALLED_PROFILE   the only ones allowed
#   INSTALLED_FIELDS    words `key:rule`                        INSTALLED_KEYS   public keys, of which one must have signed
#   INSTALLED_CALLER    who called, in sudo's words             NIXFERRY_GUARD   the guard

REQUEST_BYTES=65536
STORE=${NIXFERRY_ROOT:-}/nix/store
PERMITS=${NIXFERRY_ROOT:-}/nix/var/nix/gcroots/nixferry-permits
verb=refused

# refuse CODE MESSAGE: a message holds nothing of the request that was not checked
refuse() {
    printf 'nixferry=1\nerror=%s\nmessage=%s\nend=%s\n' "$1" "$2" "$verb"
    exit 1
}

# only CHARACTERS VALUE LENGTH: VALUE has no others, and is no longer
only() {
    [ "${#2}" -le "$3" ] || return 1
    case $2 in *[!$1]*) return 1 ;; esac
}

# fits RULE VALUE
fits() {
    case $1 in
        flag) case $2 in 0 | 1) ;; *) return 1 ;; esac ;;
        seconds) [ -n "$2" ] && only 0-9 "$2" 6 ;;
        identifier) [ -n "$2" ] && only 0-9A-Za-z- "$2" 64 ;;
        # No slash and no leading dot: it stays below the directory that it is looked up in.
        name) case $2 in .*) return 1 ;; esac && only 0-9A-Za-z._+- "$2" 200 ;;
        token) only '!-~' "$2" 200 ;;
        words) only 'a-z -' "$2" 200 ;;
        text) only ' -~' "$2" 1000 ;;
        path) is_path "$2" ;;
        kind) [ "$2" = "$INSTALLED_KIND" ] ;;
        profile) [ "$2" = "$INSTALLED_PROFILE" ] ;;
        choice/*) only a-z- "$2" 50 && case ${1#choice}/ in */"$2"/*) ;; *) return 1 ;; esac ;;
        *) return 1 ;;
    esac
}

# A store path itself: nothing below it, no link to it, no way out of it
is_path() {
    case $1 in "$STORE"/*) ;; *) return 1 ;; esac
    path_name=${1#"$STORE"/}
    [ "${#path_name}" -ge 34 ] && only '0-9A-Za-z+._?=-' "$path_name" 250 || return 1
    case $path_name in .*) return 1 ;; esac
}

rule_of() {
    for rule_entry in $INSTALLED_FIELDS; do
        if [ "${rule_entry%%:*}" = "$1" ]; then
            echo "${rule_entry#*:}"
            return
        fi
    done
}

# Sets `request` to what came on standard input.
read_request() {
    # A shell would drop a NUL without a word.
    request=$(head -c "$((REQUEST_BYTES + 1))" | tr '\000' '\001')
    # A refusal is the answer to a verb, too.
    request_verb=$(printf '%s\n' "$request" | sed -n '2s/^verb=//p')
    if fits identifier "$request_verb"; then verb=$request_verb; fi
    if [ "${#request}" -gt "$REQUEST_BYTES" ]; then refuse refused "the request is too long"; fi
    case $request in
        *[!\ -~"
"]*) refuse refused "the request holds characters that no request has" ;;
    esac
}

# The verb, and whether the controller and this program speak the same language
judge_head() {
    request_version=$(printf '%s\n' "$request" | sed -n '1s/^version=//p')
    if ! fits identifier "$request_version"; then refuse refused "the request has no version"; fi
    if [ "$request_version" != "$INSTALLED_VERSION" ]; then
        refuse other_version "the guard on the host has the version $INSTALLED_VERSION, the controller's $request_version"
    fi
    case $verb in
        probe | start | status | hold | confirm | abort | recover) ;;
        *) refuse refused "there is no such verb" ;;
    esac
}

# judge_field LINE: sets `key` and `value`, or refuses
judge_field() {
    key=${1%%=*}
    value=${1#*=}
    case $1 in [a-z]*=*) ;; *) refuse refused "a line of the request is not key=value" ;; esac
    if ! only a-z_ "$key" 40; then refuse refused "a line of the request is not key=value"; fi
    rule=$(rule_of "$key")
    if [ -z "$rule" ]; then refuse refused "$key is not for the caller to say"; fi
    case " $seen " in *" $key "*) refuse refused "$key comes twice" ;; esac
    seen="$seen $key"
    if ! fits "$rule" "$value"; then refuse refused "the value of $key is not one that is allowed here"; fi
}

# --- what may be activated ---------------------------------------------------------------------------------------

nix_command() { nix --extra-experimental-features nix-command "$@" 2>/dev/null </dev/null; }

# What root has made a generation may be activated again. The links count where nobody but root can make them.
generations() {
    [ -O "${INSTALLED_PROFILE%/*}" ] || return 0
    for generation_link in "$INSTALLED_PROFILE"-*-link; do
        if [ -L "$generation_link" ]; then readlink "$generation_link"; fi
    done
}

is_generation() {
    for generation in $(generations); do
        if [ "$generation" = "$1" ]; then return 0; fi
    done
    return 1
}

# verified KEYS_SETTING PATH...: each has a signature, also what was built here, or follows from its content
verified() {
    verified_setting=$1
    shift
    nix_command store verify --no-contents --sigs-needed 1 --option secret-key-files '' \
        --option "$verified_setting" "$INSTALLED_KEYS" "$@" >/dev/null
}

# Validity alone means nothing: every user may let the daemon build. And Nix trusts what was built here, and what
# follows from its own content, without a signature: so the system itself must have one by a deploy key, which covers
# the names of all it refers to. Of these each must be signed by a key that the host trusts, or follow from its
# content, or belong to a generation: then root runs it already.
is_signed() {
    case $(nix_command path-info --sigs "$1") in *ca:*) return 1 ;; "$1"*) ;; *) return 1 ;; esac
    verified trusted-public-keys "$1" || return 1
    signed_closure=$(nix-store -qR "$1" 2>/dev/null) && [ -n "$signed_closure" ] || return 1
    signed_known=
    # shellcheck disable=SC2046 # paths are words
    if [ -n "$(generations)" ]; then signed_known=$(nix-store -qR $(generations) 2>/dev/null); fi
    # Twice, so that nothing of it is unique.
    signed_new=$(printf '%s\n' "$signed_closure" "$signed_known" "$signed_known" | sort | uniq -u)
    # shellcheck disable=SC2086
    [ -z "$signed_new" ] || verified extra-trusted-public-keys $signed_new
}

# The root for the garbage collector is older than the judgement: what was judged cannot be collected and then be
# built anew, as something else.
permit() {
    mkdir -p "$PERMITS" || refuse refused "cannot make the directory $PERMITS"
    for old_permit in "$PERMITS"/*; do
        if [ -L "$old_permit" ] && ! kill -0 "${old_permit##*/}" 2>/dev/null; then rm -f "$old_permit"; fi
    done
    ln -sfn "$1" "$PERMITS/$$" || refuse refused "cannot write to $PERMITS"
    trap 'rm -f "$PERMITS/$$"' EXIT
    if ! nix-store --check-validity "$1" 2>/dev/null; then
        refuse invalid_toplevel "$1 is not in this host's store, or not complete"
    fi
    if ! is_generation "$1" && ! is_signed "$1"; then
        refuse not_signed "$1 is neither signed by a deploy key of this host, with what it refers to, nor a generation"
    fi
}

# --- the request becomes the arguments of the guard --------------------------------------------------------------

read_request
judge_head
seen='' toplevel='' forecast=0 deployer=''
set --
while IFS= read -r line; do
    [ -n "$line" ] || continue
    judge_field "$line"
    case $key in
        forecast) forecast=$value ;;
        deployer) deployer=$value ;;
        toplevel)
            toplevel=$value
            set -- "$@" "toplevel=$value"
            ;;
        *) set -- "$@" "$key=$value" ;;
    esac
done <<EOF
$(printf '%s\n' "$request" | sed 1,2d)
EOF
if ! fits name "$INSTALLED_CALLER"; then INSTALLED_CALLER=''; fi
set -- "$verb" "$@" "deployer=${deployer:-somebody}${INSTALLED_CALLER:+ as $INSTALLED_CALLER}"
case $verb in
    start)
        if [ -z "$toplevel" ]; then refuse refused "no toplevel was named"; fi
        permit "$toplevel"
        ;;
    probe)
        # Even to look at it is for root a matter of trust: what is in it may be a link to what the caller cannot read.
        if [ -z "$toplevel" ]; then
            # shellcheck disable=SC2034 # the generated lines behind this ask for it
            forecast=0
        elif nix-store --check-validity "$toplevel" 2>/dev/null; then
            permit "$toplevel"
        else
            # It could come into being a moment later, so a path is asked about that cannot.
            set -- "$@" "toplevel=$STORE/00000000000000000000000000000000-absent"
        fi
        ;;
esac
