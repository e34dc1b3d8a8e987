# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A request: lines of printable ASCII on standard input. No part of it is ever evaluated.
#
#   version=...   the program that the controller has
#   verb=...      probe start status hold confirm abort recover
#   key=value     in any order; empty values are left out. In a value `%xx` is a byte.
#   end=...       the verb again: without it the request has not arrived as a whole
#
# The table lists every key, the rule for its value (see `fits`), and the rule for callers of an installed guard, who
# have few privileges (guard/installed.sh): `=` the same rule, `-` not allowed. Commands and environment variables are
# never allowed there. Only `variable` may come several times.

REQUEST_BYTES=131072
REQUEST_FIELDS='
version identifier =
verb identifier =
end identifier =
id identifier =
kind name kind
profile place profile
toplevel path store_path
action choice/switch/boot/test/dry-activate =
specialisation component name
activate_command text -
timeout_activation timeout =
timeout_confirm timeout =
timeout_roll_back timeout =
timeout_reboot timeout =
failed_units choice/rollback/ignore =
ignored_units printable =
settle seconds =
reboot choice/never/if-required/always =
reboot_command text -
reboot_if_unreachable flag =
roll_back_on_failure flag =
force flag =
despite_pull flag =
metrics_directory planned -
expected_current planned =
expected_profile planned =
deployer line printable
deploy name =
revision token =
known_revision token =
any_revision flag =
is_rollback flag =
secrets identifier =
variable variable -
history flag =
closure flag =
dry_activate flag =
wait_while words =
seconds seconds =
reason text printable
'
REQUEST=''
# Set by an installed guard. REQUEST_REFUSED is the error code for an invalid or forbidden request.
INSTALLED_VERSION=${INSTALLED_VERSION:-}
REQUEST_REFUSED=bad_request
# The keys that each verb requires
REQUIRED_PROBE='kind'
REQUIRED_START='id kind toplevel action timeout_activation timeout_confirm timeout_roll_back timeout_reboot'
REQUIRED_OTHERS='id'

refuse_request() { error "$REQUEST_REFUSED" "$1"; }

# only CHARACTERS VALUE LENGTH: does VALUE consist of these, with at most LENGTH of them?
only() {
    [ "${#2}" -le "$3" ] || return 1
    case $2 in *[!$1]*) return 1 ;; esac
}

# fits RULE VALUE
fits() {
    case $1 in
        text) [ "${#2}" -le 65536 ] ;;
        line) [ "${#2}" -le 4096 ] && case $2 in *[!\ -~]*) case $2 in *[$(printf '\001-\037\177')]*) return 1 ;; esac ;; esac ;;
        printable) only ' -~' "$2" 1000 ;;
        token) only '!-~' "$2" 200 ;;
        words) only 'a-z -' "$2" 200 ;;
        flag) case $2 in 0 | 1) ;; *) return 1 ;; esac ;;
        # A shell would read 08 as an octal number, and fail.
        seconds) case $2 in 0 | [1-9]*) only 0-9 "$2" 6 ;; *) return 1 ;; esac ;;
        timeout) case $2 in [1-9]*) only 0-9 "$2" 6 ;; *) return 1 ;; esac ;;
        # A program would read a leading - as the beginning of an option.
        identifier) case $2 in [0-9A-Za-z]*) only 0-9A-Za-z- "$2" 64 ;; *) return 1 ;; esac ;;
        # No slash and no leading dot: the path cannot leave its directory.
        name) case $2 in [.-]*) return 1 ;; esac && only 0-9A-Za-z._+- "$2" 200 ;;
        component) case $2 in [.-]* | */*) return 1 ;; esac && [ "${#2}" -le 255 ] && fits line "$2" ;;
        # Absolute, with nothing to resolve but links
        path) case $2/ in / | *//* | */./* | */../*) return 1 ;; /*) fits line "$2" ;; *) return 1 ;; esac ;;
        # The tilde is the home directory, which only the host knows.
        place) fits path "${2#\~}" ;;
        variable)
            case $2 in
                [A-Za-z_]*=*) only 0-9A-Za-z_ "${2%%=*}" 200 ;;
                *) return 1 ;;
            esac
            ;;
        planned) [ "$2" = none ] || fits path "$2" ;;
        choice/*) only a-z- "$2" 50 && case ${1#choice}/ in */"$2"/*) ;; *) return 1 ;; esac ;;
        store_path) is_store_path "$2" ;;
        kind) [ "$2" = "$INSTALLED_KIND" ] ;;
        profile) [ "$2" = "$INSTALLED_PROFILE" ] ;;
        *) return 1 ;;
    esac
}

# The store path itself: not a file below it, not a link to it, not a path out of it
is_store_path() {
    case $1 in "$ROOT/nix/store"/*) ;; *) return 1 ;; esac
    path_name=${1#"$ROOT/nix/store"/}
    [ "${#path_name}" -ge 34 ] && only '0-9A-Za-z+._?=-' "$path_name" 250 || return 1
    case $path_name in .*) return 1 ;; esac
}

# rule_of KEY: set RULE to the rule for its value. Fails if the key is unknown.
rule_of() {
    case $REQUEST_FIELDS in *"$NEWLINE$1 "*) ;; *) return 1 ;; esac
    RULE=${REQUEST_FIELDS#*"$NEWLINE$1 "}
    RULE=${RULE%%"$NEWLINE"*}
    case $INSTALLED_VERSION:$RULE in
        :*) RULE=${RULE% *} ;;
        *" =") RULE=${RULE% *} ;;
        *) RULE=${RULE#* } ;;
    esac
}

# decode VALUE: set DECODED to VALUE with each %xx replaced. Fails for an invalid %xx or a NUL.
decode() {
    DECODED=$1
    case $1 in
        *%*)
            DECODED=$(print_decoded "$1") || return 1
            DECODED=${DECODED%.}
            ;;
    esac
}

# Called in a subshell. The dot at the end keeps the shell from dropping newlines.
print_decoded() {
    set -f
    IFS=%
    # shellcheck disable=SC2086 # what stands between the percent signs
    set -- $1.
    printf %s "$1"
    shift
    for coded; do
        literal=${coded#??}
        coded=${coded%"$literal"}
        case $coded in 00 | *[!0-9a-f]* | '' | ?) return 1 ;; esac
        coded=$((0x$coded))
        # shellcheck disable=SC2059 # the format is the byte, in octal digits
        printf "\\$((coded / 64))$((coded / 8 % 8))$((coded % 8))%s" "$literal"
    done
}

# find_encoded KEY: set ENCODED to the value as it came; empty if it is missing
find_encoded() {
    ENCODED=
    case $REQUEST in *"$NEWLINE$1="*) ;; *) return 0 ;; esac
    ENCODED=${REQUEST#*"$NEWLINE$1="}
    ENCODED=${ENCODED%%"$NEWLINE"*}
}

# find_arg KEY: set ARG to the decoded value; empty if it is missing
find_arg() {
    find_encoded "$1"
    decode "$ENCODED"
    ARG=$DECODED
    # As in a $(...): no program gets a value that ends with a newline.
    while :; do case $ARG in *"$NEWLINE") ARG=${ARG%"$NEWLINE"} ;; *) return 0 ;; esac; done
}

# arg_is KEY VALUE
arg_is() {
    find_arg "$1"
    [ "$ARG" = "$2" ]
}

# arg KEY: print the decoded value
arg() {
    find_arg "$1"
    printf '%s\n' "$ARG"
}

# replace_field KEY ENCODED: set the field, whatever the caller has given
replace_field() {
    case $REQUEST in
        *"$NEWLINE$1="*)
            replaced_end=${REQUEST#*"$NEWLINE$1="}
            replaced_begin=${REQUEST%%"$NEWLINE$1="*}
            REQUEST=$replaced_begin$NEWLINE${replaced_end#*"$NEWLINE"}
            ;;
    esac
    REQUEST="${REQUEST%end=*}$1=$2${NEWLINE}end=$VERB$NEWLINE"
}

# Set REQUEST to the text on standard input, and VERB. Refuse text that is not a request.
read_request() {
    VERB=refused
    # A shell would silently drop a NUL.
    REQUEST=$NEWLINE$(head -c "$((REQUEST_BYTES + 1))" | tr '\000' '\001')$NEWLINE
    # A refusal has to name the verb, too.
    find_encoded verb
    if fits identifier "$ENCODED"; then VERB=$ENCODED; fi
    if [ "${#REQUEST}" -gt "$REQUEST_BYTES" ]; then refuse_request "the request is longer than $REQUEST_BYTES bytes"; fi
    case $REQUEST in *[!\ -~"$NEWLINE"]*) refuse_request "the request contains characters that are not allowed" ;; esac
    case $REQUEST in
        "${NEWLINE}version="*"${NEWLINE}verb=$VERB$NEWLINE"*"${NEWLINE}end=$VERB$NEWLINE") ;;
        *) refuse_request "the request is malformed or was cut off" ;;
    esac
}

judge_request() {
    request_seen=' '
    split_lines "$REQUEST" judge_fields
    case $VERB in
        probe) request_required=$REQUIRED_PROBE ;;
        start) request_required=$REQUIRED_START ;;
        status | hold | confirm | abort | recover) request_required=$REQUIRED_OTHERS ;;
        *) refuse_request "unknown verb" ;;
    esac
    for request_key in $request_required; do
        case $request_seen in *" $request_key "*) ;; *) refuse_request "$request_key is missing" ;; esac
    done
}

judge_fields() { for request_line; do judge_field "$request_line"; done; }

judge_field() { # LINE
    request_key=${1%%=*}
    case $1 in [a-z]*=*) ;; *) refuse_request "a line of the request is not key=value" ;; esac
    if ! only a-z_ "$request_key" 40; then refuse_request "a line of the request is not key=value"; fi
    if ! rule_of "$request_key"; then refuse_request "unknown field $request_key"; fi
    if [ "$RULE" = - ]; then refuse_request "the caller may not set $request_key"; fi
    case $request_key:$request_seen in variable:*) ;; *" $request_key "*) refuse_request "$request_key is given twice" ;; esac
    request_seen="$request_seen$request_key "
    if ! decode "${1#*=}" || ! fits "$RULE" "$DECODED"; then
        refuse_request "the value of $request_key is not one that is allowed here"
    fi
}

# Print the variables of the request, one a line, still encoded.
variables_asked_for() { split_lines "$REQUEST" print_variables; }

print_variables() {
    for variable_line; do
        case $variable_line in variable=*) printf '%s\n' "${variable_line#*=}" ;; esac
    done
}

# export_variables FILE: export the variables from such lines
export_variables() {
    [ -f "$1" ] || return 0
    while IFS= read -r variable_line; do
        decode "$variable_line"
        case $DECODED in ?*=*) export "${DECODED?}" ;; esac
    done <"$1"
}
