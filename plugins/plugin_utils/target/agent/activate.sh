# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Activate, as root and without a network: verify the fetched pointer again, and have the guard activate what it names. All
# that was read before the signature was checked comes from an attacker.
# Settings: PULL_KIND, PULL_PROFILE, PULL_WINDOWS, PULL_REBOOT (never, if-required, window), PULL_REBOOT_WINDOWS,
# PULL_TIMEOUT_ACTIVATION, PULL_TIMEOUT_CONFIRM, PULL_TIMEOUT_ROLL_BACK, PULL_TIMEOUT_REBOOT, PULL_CHECKS.

FOLLOW_SECONDS=20 # that the guard waits for a change of its phase

verb_activate() {
    mkdir -p "$PULL_RUN" || conclude state-unwritable "$PULL_RUN cannot be made"
    # shellcheck disable=SC2034 # lib/claim.sh reads it
    ID=pull
    claim "$PULL_RUN/lock" owner_lives || give_up 75 "another agent is at work"
    ACTIVATE_WORK=$(mktemp -d "$PULL_RUN/work.XXXXXX") || conclude state-unwritable "$PULL_RUN cannot be written to"
    trap 'rm -rf "$ACTIVATE_WORK" "$PULL_RUN/lock"' EXIT
    trap 'exit 1' HUP INT TERM
    finish_under_way
    if [ -n "$PULL_REPOSITORY" ]; then accept_commit; else accept_pointer; fi
    refuse_for_now
    begin
    follow
}

# --- what to activate ---------------------------------------------------------------------------------------------

accept_pointer() {
    if [ ! -s "$PULL/incoming" ]; then conclude_fetch; fi
    read_accepted
    if ! read_pointer "$PULL/incoming" "$ACTIVATE_WORK"; then
        if [ "$PROBLEM" = signature ]; then conclude signature "no trusted key has signed what was fetched"; fi
        conclude format "what was fetched is not a valid pointer"
    fi
    if ! judge_pointer "$(date +%s)"; then conclude "$PROBLEM" "$MESSAGE"; fi
    WANTED_TOPLEVEL=$POINTER_TOPLEVEL
    accepted_text=$(cat "$ACTIVATE_WORK/signed")
    if [ "$(cat "$PULL/accepted" 2>/dev/null)" != "$accepted_text" ] && ! give_lasting "$PULL/accepted" "$accepted_text"; then
        conclude state-unwritable "$PULL/accepted cannot be written: make room on its file system"
    fi
}

# Nothing was fetched: say why.
conclude_fetch() {
    fetch_hint="journalctl --unit nixferry-pull says more"
    fetch_wanted=pointer
    if [ -n "$PULL_REPOSITORY" ]; then fetch_wanted=branch; fi
    case $(exit_code_of nixferry-pull.service) in
        65) conclude format "the server's answer is not a valid pointer; $fetch_hint" ;;
        66) conclude absent "the server has no $fetch_wanted for this host; $fetch_hint" ;;
        69) conclude unreachable "the $fetch_wanted could not be fetched; $fetch_hint" ;;
        73) conclude disk-full "there is no room for the closure; $fetch_hint" ;;
        74) conclude closure "the closure could not be fetched; $fetch_hint" ;;
        75) conclude clock "the clock is wrong; $fetch_hint" ;;
        77) conclude signature "no trusted key has signed the pointer; $fetch_hint" ;;
        78) conclude expired "the pointer has expired; $fetch_hint" ;;
        79) conclude foreign "the pointer is for another host or channel; $fetch_hint" ;;
        80) conclude replayed "the pointer is older than one that this host has seen; $fetch_hint" ;;
        243) conclude not-fetched "systemd could not read a key or a certificate of the agent; $fetch_hint" ;;
        *) conclude not-fetched "nothing was fetched; $fetch_hint" ;;
    esac
}

refuse_for_now() {
    guard_fields
    if ! ask 0 probe "kind=$PULL_KIND" "profile=$PULL_PROFILE" "toplevel=$WANTED_TOPLEVEL" "action=$WANTED_ACTION" \
        "reboot=$reboot_wish"; then conclude_silent; fi
    if [ -n "$(answered error)" ]; then conclude_refusal; fi
    read_needs_reboot "$(answered reboot_reason)"
    # What runs already, and boots, needs nothing; not even a window.
    if [ "$(answered unchanged)" = 1 ]; then
        rm -f "$PULL/tries"
        retire_bootstrap
        conclude unchanged ''
    fi
    if is_kept_back "$WANTED_TOPLEVEL"; then
        conclude quarantined "$WANTED_TOPLEVEL was rolled back before: $(first_line "$(quarantine_file "$WANTED_TOPLEVEL")")"
    fi
    read_hold "$(date +%s)"
    if [ -n "$HELD" ]; then conclude held "$HELD"; fi
    if ! is_open "$PULL_WINDOWS"; then conclude waiting "no maintenance window is open"; fi
}

guard_fields() {
    reboot_wish=never
    # A reboot would end a test.
    if [ "$WANTED_ACTION" = test ]; then return; fi
    case $PULL_REBOOT in
        if-required) reboot_wish=if-required ;;
        window) if is_open "$PULL_REBOOT_WINDOWS"; then reboot_wish=if-required; fi ;;
    esac
}

# shellcheck disable=SC2034 # agent/outcome.sh reads it
read_needs_reboot() { if [ -n "$1" ]; then NEEDS_REBOOT=1; else NEEDS_REBOOT=0; fi; }

conclude_silent() { conclude failed "the guard $PULL_GUARD did not answer; journalctl --unit nixferry-pull-activate says more"; }

conclude_refusal() {
    refusal_text="$(answered message)"
    case $(answered error) in
        lock_held) conclude locked "$refusal_text: $(answered lock_deployer)" ;;
        not_signed) conclude not-signed "$refusal_text" ;;
        *) conclude refused-by-guard "$(answered error): $refusal_text" ;;
    esac
}

# The configuration of this system has an agent of its own: remove the units that the role has put in front of it.
retire_bootstrap() {
    retired_units=$ROOT/etc/systemd/system.control
    [ -e "$retired_units/nixferry-pull.service" ] || return 0
    case $(resolved "$ROOT/etc/systemd/system/nixferry-pull.service") in "$ROOT"/nix/store/*) ;; *) return 0 ;; esac
    rm -f "$retired_units"/nixferry-pull*.service "$retired_units"/nixferry-pull.timer \
        "$retired_units"/*.wants/nixferry-pull-resume.service "$retired_units"/*.wants/nixferry-pull.timer
    bounded 60 systemctl daemon-reload >&2
    bounded 60 systemctl restart nixferry-pull.timer >&2
}

# --- one activation -----------------------------------------------------------------------------------------------

begin() {
    ACTIVATION=$(new_activation_id)
    if [ -n "$SOURCE_COMMIT" ]; then begin_what="commit $SOURCE_COMMIT"; else begin_what="serial $POINTER_SERIAL"; fi
    # A power cut from here on must find this file: the next run looks for the end.
    if ! give_lasting "$PULL/under_way" "$ACTIVATION ${SOURCE_COMMIT:-$POINTER_SERIAL} $WANTED_TOPLEVEL"; then
        conclude state-unwritable "$PULL/under_way cannot be written: make room on its file system"
    fi
    if ! ask 0 start "id=$ACTIVATION" "kind=$PULL_KIND" "profile=$PULL_PROFILE" "toplevel=$WANTED_TOPLEVEL" "action=$WANTED_ACTION" \
        "timeout_activation=$PULL_TIMEOUT_ACTIVATION" "timeout_confirm=$PULL_TIMEOUT_CONFIRM" \
        "timeout_roll_back=$PULL_TIMEOUT_ROLL_BACK" "timeout_reboot=$PULL_TIMEOUT_REBOOT" failed_units=rollback settle=3 \
        "reboot=$reboot_wish" roll_back_on_failure=1 "deployer=pull agent, $begin_what" despite_pull=1; then
        # It may have begun all the same.
        ask 0 status "id=$ACTIVATION" || conclude_silent
    fi
    if [ -n "$(answered error)" ]; then
        rm -f "$PULL/under_way"
        conclude_refusal
    fi
    if [ "$(answered phase)" = none ]; then
        rm -f "$PULL/under_way"
        conclude unchanged ''
    fi
}

# Follow the activation to its end. A host that reboots meanwhile goes on in finish_under_way.
follow() {
    in_seconds "$((2 * PULL_TIMEOUT_ACTIVATION + 2 * PULL_TIMEOUT_CONFIRM + 2 * PULL_TIMEOUT_ROLL_BACK + PULL_TIMEOUT_REBOOT + 300))"
    follow_until=$MOMENT
    while :; do
        case $(answered phase) in
            committed | rolled-back | failed) record_end ;;
            awaiting-confirmation) judge_host ;;
            *) ask "$FOLLOW_SECONDS" status "id=$ACTIVATION" 'wait_while=prepared activating committing rolling-back' \
                "seconds=$FOLLOW_SECONDS" || pause 1 ;;
        esac
        if [ "$(answered error)" = no_activation ]; then
            rm -f "$PULL/under_way"
            conclude interrupted "the guard does not know the activation $ACTIVATION"
        fi
        if [ "$(answered interrupted)" = 1 ]; then ask 0 recover "id=$ACTIVATION" || pause 1; fi
        if passed "$follow_until"; then conclude failed "the activation $ACTIVATION did not end in time; the guard still works on it"; fi
    done
}

# The new system runs. It stays if this host can still be helped from afar, and is healthy.
judge_host() {
    judged_problem=
    if ! bounded "$PULL_TIMEOUT_CONFIRM" systemctl start nixferry-pull-reach.service >&2; then
        judged_problem="the new system does not reach what this host fetches from; journalctl --unit nixferry-pull-reach says more"
    # The checks are those of the new system, which may have some where this one has none.
    elif ! bounded "$PULL_TIMEOUT_CONFIRM" systemctl start nixferry-pull-checks.service >&2; then
        judged_problem="a health check failed: $(first_line "$PULL_RUN/failed_check")"
    fi
    if [ -z "$judged_problem" ]; then
        ask "$FOLLOW_SECONDS" confirm "id=$ACTIVATION" "seconds=$FOLLOW_SECONDS" || ANSWER=
    else
        # The installed guard takes printable ASCII.
        judged_problem=$(printf '%s' "$judged_problem" | tr -c ' -$&-~' '?' | cut -c 1-250)
        ask "$FOLLOW_SECONDS" abort "id=$ACTIVATION" "reason=$judged_problem" "seconds=$FOLLOW_SECONDS" || ANSWER=
    fi
    # Refused because the phase is another one by now: look again.
    # shellcheck disable=SC2034 # agent/ask.sh reads it
    if [ -n "$(answered error)" ]; then ANSWER=; fi
}

record_end() {
    end_phase=$(answered phase) end_reason=$(answered reason) end_message=$(answered message)
    read_needs_reboot "$(answered reboot_required)"
    case $end_phase in
        committed)
            rm -f "$PULL/tries" "$PULL/under_way"
            retire_bootstrap
            conclude committed "$(answered note)"
            ;;
        rolled-back)
            case $end_reason in
                # Not the fault of this system.
                locked | other_system | state_unwritable) rm -f "$PULL/under_way" && conclude rolled-back "$end_message" ;;
                interrupted | guard_killed | not_confirmed)
                    if count_try "$WANTED_TOPLEVEL"; then rm -f "$PULL/under_way" && conclude interrupted "$end_message"; fi
                    ;;
            esac
            ;;
    esac
    # Nothing is forgotten before the path is kept back.
    end_text="$(date -u +%Y-%m-%dT%H:%M:%SZ) $end_phase: $end_message"
    quarantine "$WANTED_TOPLEVEL" "$end_text"
    if [ -n "$SOURCE_COMMIT" ]; then quarantine "$SOURCE_COMMIT" "$end_text"; fi
    rm -f "$PULL/under_way"
    conclude "$end_phase" "$end_message"
}

# A run that was killed, or that a reboot ended, has left an activation: the guard has gone on meanwhile.
finish_under_way() {
    [ -e "$PULL/under_way" ] || return 0
    { read -r ACTIVATION POINTER_SERIAL WANTED_TOPLEVEL <"$PULL/under_way"; } 2>/dev/null
    if is_commit "$POINTER_SERIAL"; then SOURCE_COMMIT=$POINTER_SERIAL; fi
    if ! fits identifier "$ACTIVATION" || ! is_store_path "$WANTED_TOPLEVEL"; then
        rm -f "$PULL/under_way"
        return 0
    fi
    ask 0 status "id=$ACTIVATION" || conclude_silent
    if [ "$(answered error)" = no_activation ]; then
        # It was killed before the guard began.
        rm -f "$PULL/under_way"
        return 0
    fi
    follow
}
