# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The verbs. Units call fetch, build, reach, activate, resume, checks and report; an administrator
# may call the others, as root:
#   hold UNTIL REASON    activate nothing until this time (seconds since the epoch, 0: until `release`)
#   release              end the hold
#   clear [PATH]         let PATH, or every path, be activated again that was rolled back; likewise a commit
#   forget               with a repository: take its main branch as it is, once, though it was rewritten
#   status               print the status

verb_checks() {
    if [ -z "$PULL_CHECKS" ]; then return; fi
    checks_answer=$(/bin/sh "$PULL_CHECKS")
    checks_good=$(printf '%s\n' "$checks_answer" | grep -c '^check=[0-9]* 0 ')
    case $checks_answer in *end=health) ;; *) checks_good=-1 ;; esac
    if [ "$checks_good" -eq "$PULL_CHECK_COUNT" ]; then return; fi
    checks_first=$(printf '%s\n' "$checks_answer" | grep '^check=' | grep -v '^check=[0-9]* 0 ' | head -n 1)
    decode "${checks_first#check=}" || DECODED='it did not end'
    mkdir -p "$PULL_RUN" && give "$PULL_RUN/failed_check" "number, exit code, attempts, output: $(printf '%s' "$DECODED" | tr '\n' ' ')"
    exit 1
}

# At a boot. The unit must not wait for the activation, for which the boot may wait.
verb_resume() { bounded 30 systemctl --no-block start nixferry-pull-activate.service; }

# The status has no secrets. It goes to the address that the administrator has chosen.
verb_report() {
    set --
    case $PULL_CERTIFICATE:$PULL_REPORT in
        /*:https://*) set -- --cert "$(credential certificate)" --key "$(credential certificate_key)" ;;
    esac
    bounded 60 curl --disable "$@" --silent --show-error --fail --max-time 50 --proto '=http,https' --data-binary "@$PULL/status" \
        --header 'Content-Type: text/plain' --output /dev/null "$PULL_REPORT"
}

verb_hold() { # UNTIL REASON
    is_pointer_number "${1:-}" || give_up 64 "hold takes seconds since the epoch, or 0, and a reason"
    hold_text="$1 $(printf '%s' "${2:-}" | tr '\n' ' ')"
    if ! give_lasting "$PULL/hold" "$hold_text"; then give_up 74 "$PULL/hold cannot be written"; fi
}

verb_release() { rm -f "$PULL/hold"; }

verb_clear() { # [PATH]
    if [ -n "${1:-}" ]; then rm -f "$(quarantine_file "$1")"; else rm -rf "$PULL/quarantine"; fi
    rm -f "$PULL_RUN/quarantined" "$PULL/tries"
}

# Only with a repository: a pointer that is older than another one is never an intention.
verb_forget() {
    if [ -z "$PULL_REPOSITORY" ]; then give_up 64 "only the branch of a repository can be forgotten"; fi
    rm -f "$PULL/accepted_commit" "$PULL/have"
}

verb_status() { cat "$PULL/status"; }

main() {
    if [ -n "$PULL_PATH" ]; then PATH=$PULL_PATH:$PATH; fi
    case ${1:-} in
        fetch | build | reach | activate | resume | checks | report | hold | release | clear | forget | status)
            agent_verb=$1
            shift
            if ! find_host && [ "$agent_verb" = fetch ]; then
                give_up "$CODE_ABSENT" "this host is called $(uname -n), which is not a name for which a pointer could be"
            fi
            "verb_$agent_verb" "$@"
            ;;
        *) give_up 64 "called with \`${1:-}\`; verbs: hold UNTIL REASON, release, clear [PATH], forget, status" ;;
    esac
}

main "$@"
