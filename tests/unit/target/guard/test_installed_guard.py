# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed guard: it does what it was installed for, and whatever else it is asked changes nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from guard_host import SHELLS, Host
from installed_host import KEY, Guarded, install, unchanged

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS, profile_kind
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard import requests as _guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import (
    FIXED_FIELDS,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.installed import (
    GuardPolicy,
    guard_policy,
    guard_version,
    installed_program,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import target_text
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.words import Action, FailedUnits, Reboot

in_every_shell = pytest.mark.parametrize("host", list(SHELLS), indirect=True)


@pytest.fixture
def guarded(host: Host) -> Guarded:
    return install(host)


@in_every_shell
def test_a_deploy_and_the_way_back(host: Host) -> None:
    guarded = install(host)

    def deploy(toplevel: str) -> GuardStatus:
        status = guarded.start(toplevel, deployer="another controller")
        client = guarded.client
        waiting = client.status(status.activation_id, wait_while=("prepared", "activating"), seconds=100)
        assert waiting.phase == "awaiting-confirmation"
        return client.confirm(status.activation_id, seconds=100)

    first, second = guarded.toplevel("first"), guarded.toplevel("second")
    done = deploy(first)
    assert (done.phase, done.deployer) == ("committed", "another controller as ferry")
    assert host.current == host.boots == host.profile_target == first
    assert guarded.start(first).unchanged
    assert deploy(second).phase == "committed"

    # A generation needs no signature: root has made it.
    (host.directory / "signed").unlink()
    back = guarded.start(first, is_rollback=True)
    aborted = guarded.client.abort(back.activation_id, seconds=100, reason="too old: na\u00efve\n'x'")
    assert aborted.phase == "rolled-back"
    assert host.current == host.boots == second
    assert not list((host.directory / "nix/var/nix/gcroots/nixferry-permits").iterdir())


def test_a_probe_tells_and_forecasts(guarded: Guarded) -> None:
    new = guarded.toplevel("new")
    asked = _guard.ProbeRequest(
        KINDS["nixos"], str(guarded.host.profile), toplevel=new, closure=True, dry_activate=True
    )
    probe = guarded.client.probe(asked)
    assert probe.current == guarded.host.current
    assert probe.dry_activate_exit_code == 0
    assert guarded.host.actions == [f"dry-activate {Path(new).name}"]
    unsigned = guarded.toplevel("unsigned", signed=False)
    for forecast in (True, False):
        with pytest.raises(NixferryError, match="neither signed"):
            guarded.client.probe(replace(asked, toplevel=unsigned, closure=False, dry_activate=forecast))
    # Check mode comes before the copy.
    absent = replace(asked, toplevel=f"{guarded.host.directory}/nix/store/{'1' * 32}-nothing")
    assert guarded.client.probe(absent).toplevel_valid is False
    assert guarded.client.probe(replace(asked, toplevel="")).profile == str(guarded.host.profile)
    assert guarded.host.actions == [f"dry-activate {Path(new).name}"]


@in_every_shell
def test_only_what_a_deploy_key_signed_is_activated(host: Host) -> None:
    guarded = install(host)
    built_here = guarded.toplevel("built-here", signed=False)
    by_content = guarded.toplevel("by-content", signed=False)
    guarded.note("content-addressed", by_content)
    for path in (built_here, by_content):
        with pytest.raises(NixferryError, match="neither signed") as error:
            guarded.start(path)
        assert "nix_sign" in error.value.remedy
    with pytest.raises(NixferryError, match="not in this host's store"):
        guarded.start(f"{host.directory}/nix/store/{'1' * 32}-nothing")
    # Signed, but one that it refers to is not.
    foreign = guarded.toplevel("foreign", signed=False)
    guarded.note("signed", foreign)
    with pytest.raises(NixferryError, match="neither signed"):
        guarded.start(foreign)
    assert unchanged(guarded)
    # What belongs to a generation is run by root already.
    host.run_system(f"{foreign}-older")
    host.program(
        "nix-store",
        (host.programs / "nix-store").read_text().replace('"$2"-dependency', f"{foreign}-dependency"),
    )
    assert guarded.start(foreign).phase != "none"
    calls = (host.directory / "nix-calls").read_text()
    # The system itself: by these keys and no other, not even one that signs what this host builds.
    assert f"--option secret-key-files  --option trusted-public-keys {KEY} {built_here}" in calls


TRUST = ("sort", "uniq", "grep", "nix-store", "nix", "mktemp", "readlink")


@pytest.mark.parametrize("broken", TRUST)
@pytest.mark.parametrize("code", [127, 137, 0])
def test_no_program_that_fails_makes_a_system_signed(guarded: Guarded, broken: str, code: int) -> None:
    """A caller can set limits that end one program and not the next."""
    signed_in_part = guarded.toplevel("new", signed=False)
    guarded.note("signed", signed_in_part)
    guarded.host.program(broken, f"#!/bin/sh\nexit {code}\n")
    with pytest.raises(NixferryError):
        guarded.start(signed_in_part)
    assert unchanged(guarded)


def test_an_answer_about_signatures_that_was_cut_off_is_none(guarded: Guarded) -> None:
    new = guarded.toplevel("new")
    guarded.note("content-addressed", new)
    program = guarded.host.programs / "nix"
    cut = 'case $* in *"path-info --sigs"*) for path; do :; done; echo "$path"; kill -KILL $$ ;; esac\n'
    program.write_text(program.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{cut}"))
    with pytest.raises(NixferryError, match="neither signed"):
        guarded.start(new)
    assert unchanged(guarded)


def test_a_key_may_have_a_name_like_the_mark_of_contents(guarded: Guarded) -> None:
    program = guarded.host.programs / "nix"
    program.write_text(program.read_text().replace("$address a:b", "$address example-ca:b"))
    started = guarded.start(guarded.toplevel("new"))
    assert guarded.client.abort(started.activation_id, seconds=100).phase == "rolled-back"


@pytest.mark.parametrize("cut", ["closure", "generations"])
def test_a_list_that_was_cut_off_makes_nothing_signed(guarded: Guarded, cut: str) -> None:
    host = guarded.host
    new = guarded.toplevel("new", signed=False)
    guarded.note("signed", new)
    path = "*-new" if cut == "closure" else "*old*"
    real = (host.programs / "nix-store").read_text()
    lost = f'case $1:$2 in -qR:{path}) echo "$2"; exit 137 ;; esac\n'
    host.program("nix-store", real.replace("#!/bin/sh\n", f"#!/bin/sh\n{lost}"))
    with pytest.raises(NixferryError, match="neither signed"):
        guarded.start(new)
    assert unchanged(guarded)


REFUSED_LINES = (
    "activate=touch $HOST/hacked",
    "commit=touch $HOST/hacked",
    "dry_activate=touch $HOST/hacked",
    "roll_back=:",
    "activate_command=touch $HOST/hacked",
    "variable=PATH=/tmp",
    "deployer=two%0alines",
    "deployer=%00",
    "deployer=%4",
    "deployer=%zz",
    "toplevel=%2fetc",
    "verb=start",
    "end=status",
    "environment=PATH=/tmp",
    "reboot_command=touch $HOST/hacked",
    "prepare_boot=touch $HOST/hacked",
    "find_profile=echo /etc",
    "required=",
    "current=/etc/passwd",
    "kind=profile",
    "profile=/etc/cron.d/x",
    "profile=/nix/var/nix/profiles/../../../etc/x",
    "specialisation=../../../../tmp/evil",
    "specialisation=..",
    "specialisation=a/b",
    "action=switch; touch $HOST/hacked",
    "action=",
    "action=activate",
    "timeout_confirm=1+1",
    "timeout_confirm=",
    "timeout_confirm=9999999",
    "timeout_confirm=08",
    "timeout_activation=0",
    "timeout_roll_back=" + "1" * 5000,
    "specialisation=-x",
    "id=-x",
    "force=2",
    "failed_units=$(touch $HOST/hacked)",
    "id=../../../etc",
    "id=a b",
    "wait_while=A",
    "revision=a b",
    "no line of a request",
    "=x",
    "_=x",
    "IFS=x",
    "toplevel[0]=x",
    "deployer=tab\there",
    "reason=\0activate=touch $HOST/hacked",
    "deployer=na\u00efve",
    "reason=" + "x" * 1001,
)


@in_every_shell
def test_what_is_not_for_the_caller_to_say(host: Host) -> None:
    guarded = install(host)
    lines = guarded.lines(guarded.toplevel("new"))
    for line in REFUSED_LINES:
        key = line.partition("=")[0]
        good = [each for each in lines if not each.startswith(f"{key}=")]
        with pytest.raises(NixferryError) as error:
            guarded.answered(guarded.raw(*good, line))
        assert "installed for" in error.value.remedy, line
    assert unchanged(guarded)
    assert not (host.directory / "hacked").exists()


@pytest.mark.parametrize(
    "path",
    [
        "/tmp/evil",
        "/nix/var/nix/profiles/system",
        "{store}",
        "{store}/",
        "{store}/..",
        "{store}/../../tmp/evil-that-is-long-enough-to-be-one",
        "{new}/",
        "{new}/bin",
        "{new}\n{new}",
        "{new} /tmp",
        "{store}/.links-0000000000000000000000000000000000",
        "{store}/short",
        "{link}",
        "--option=x",
        "",
    ],
)
def test_only_a_store_path_itself_is_a_toplevel(guarded: Guarded, path: str) -> None:
    new = guarded.toplevel("new")
    link = guarded.host.directory / "link"
    link.symlink_to(new)
    text = path.format(new=new, link=link, store=guarded.host.directory / "nix/store")
    good = [each for each in guarded.lines(new) if not each.startswith("toplevel=")]
    with pytest.raises(NixferryError):
        guarded.answered(guarded.raw(*good, f"toplevel={text}"))
    assert unchanged(guarded)


@in_every_shell
def test_requests_that_are_none(host: Host) -> None:
    guarded = install(host)
    good = guarded.lines(guarded.toplevel("new"))
    head = [f"version={guard_version()}", "verb=start"]
    end = "end=start"
    for cut in range(0, len(guarded.data(guarded.toplevel("cut")).decode().splitlines()), 3):
        whole = guarded.data(f"{host.directory}/nix/store/{'0' * 32}-cut").decode().splitlines()
        assert "error=refused" in guarded.send("\n".join(whole[:cut]).encode()).stdout
    for lines in (
        [],
        ["", ""],
        head,
        ["verb=start", f"version={guard_version()}", *good],
        [head[0], "verb=run", *good, "end=run"],
        [head[0], "verb=watch", *good, "end=watch"],
        [head[0], "verb=driver", *good, "end=driver"],
        [head[0], "verb=start;id", *good, end],
        ["version=$(id)", head[1], *good, end],
        [*head, *good],
        [*head, *good, good[0], end],
        [*head, *good, "reason=" + "x" * 140_000, end],
        [*head, *good, *(f"seconds={number}" for number in range(10_000)), end],
        [*head, *good, "reason=\x00", "\x1b[0m", end],
        [*head, *(line for line in good if not line.startswith("timeout_confirm=")), end],
    ):
        done = guarded.send("\n".join([*lines, ""]).encode())
        assert done.return_code != 0
        assert "error=" in done.stdout
        assert "\x1b" not in done.stdout + done.stderr
    assert unchanged(guarded)


@in_every_shell
def test_arguments_and_the_environment_count_for_nothing(host: Host) -> None:
    guarded = install(host)
    script = guarded.data(guarded.toplevel("new"))
    for arguments in (["start"], ["-c", "id"], ["--"], [""]):
        done = guarded.send(script, *arguments)
        assert (done.return_code, done.stdout) == (2, "")
    assert unchanged(guarded)
    other = host.directory / "elsewhere"
    other.mkdir()
    hostile = {
        "NIXFERRY_SH": "/bin/false",
        "NIXFERRY_PROC": str(other),
        "NIXFERRY_PROGRAM": "touch $HOST/hacked",
        "INSTALLED_KEYS": "evil:x",
        "INSTALLED_VERSION": "",
        "INSTALLED_COMMAND": "touch $HOST/hacked",
        "REQUEST_FIELDS": "activate text text",
        "ENV": f"{other}/env",
        "NIX_CONFIG": "trusted-public-keys = evil:x",
        "NIX_REMOTE": str(other),
        "IFS": "/",
        "name": "x",
        "verb": "x",
        "two\nlines": "x",
    }
    status = guarded.answered(guarded.send(script, **hostile))
    assert status.phase != "none"
    assert not list(other.iterdir())
    assert guarded.client.abort(status.activation_id, seconds=100).phase == "rolled-back"
    assert not (host.directory / "hacked").exists()


def test_a_guard_of_roots_own_lets_root_decide_and_no_other_user(host: Host) -> None:
    guarded = install(host, caller_decides=True)
    unsigned = guarded.toplevel("unsigned", signed=False)
    assert "error=not_signed" in guarded.send(guarded.data(unsigned), SUDO_USER="ferry").stdout
    assert unchanged(guarded)
    answer = guarded.send(guarded.data(unsigned), SUDO_USER="").stdout
    assert "error=" not in answer
    assert not unchanged(guarded)


def test_another_version_is_told_so(guarded: Guarded) -> None:
    text = guarded.data(guarded.toplevel("new")).decode()
    with pytest.raises(
        NixferryError, match=f"version {guard_version()}, the controller's 0123456789abcdef"
    ) as error:
        guarded.answered(guarded.send(text.replace(guard_version(), "0123456789abcdef").encode()))
    assert "nix_guard" in error.value.remedy
    assert unchanged(guarded)


def test_what_the_program_fixes_is_refused_before_it_is_asked(guarded: Guarded) -> None:
    for changed in (
        {"reboot_command": "halt"},
        {"environment": (("A", "b"),)},
        {"kind": profile_kind("systemctl restart web")},
    ):
        with pytest.raises(NixferryError, match="not for the deploy to choose"):
            guarded.start("/nix/store/x", **changed)


def test_every_field_of_a_request_has_a_rule_and_a_caller_says_no_command() -> None:
    table = target_text("lib/request.sh").partition("REQUEST_FIELDS='\n")[2].partition("'\n")[0]
    rules = dict(line.split(" ", 1) for line in table.splitlines())
    kind = profile_kind("true")
    start = _guard.StartRequest("1", kind, "/x", environment=(("A", "b"),))
    probe = _guard.ProbeRequest(kind, environment=(("A", "b"),))
    asked = {key for request in (start, probe) for key, _value in _guard.request_fields(request)}
    others = {"version", "verb", "end", "wait_while", "seconds", "reason"}
    assert set(rules) == asked | others
    assert {key for key, rule in rules.items() if rule.endswith(" -")} == set(FIXED_FIELDS)
    for key, choices in (("action", Action), ("reboot", Reboot), ("failed_units", FailedUnits)):
        assert rules[key] == f"choice/{'/'.join(choices)} ="


def test_the_version_that_began_an_activation_ends_it(guarded: Guarded) -> None:
    """The guard is installed anew while an activation waits."""
    host = guarded.host
    started = guarded.start(guarded.toplevel("new"))
    program = guarded.program.read_text()
    guarded.program.write_text(program.replace("say_status() {", "say_status() { say note other;", 1))
    client = guarded.client
    waiting = client.status(started.activation_id, wait_while=("prepared", "activating"), seconds=100)
    assert (waiting.phase, "other" in waiting.notes) == ("awaiting-confirmation", False)
    assert client.confirm(started.activation_id, seconds=100).phase == "committed"
    assert host.record(started.activation_id).joinpath("guard.sh").stat().st_nlink == 2


OTHERS: tuple[dict[str, object], ...] = ({"profile": "other"}, {"kind": KINDS["profile"]})


@pytest.mark.parametrize("other", OTHERS)
def test_an_activation_of_another_profile_or_kind_does_not_exist(
    guarded: Guarded, other: dict[str, object]
) -> None:
    """Root deploys something else on the same host."""
    host = guarded.host
    if "profile" in other:
        other = {"profile": str(host.profile.with_name("other"))}
    started = host.start(host.toplevel("new"), **other)
    host.awaited(started.activation_id)
    client, found = guarded.client, started.activation_id
    for ask in (
        lambda: client.status(found),
        lambda: client.confirm(found, seconds=1),
        lambda: client.abort(found, seconds=1),
        lambda: client.hold(found, seconds=90),
        lambda: client.recover(found),
        lambda: guarded.start(guarded.toplevel("mine"), activation_id=found),
    ):
        with pytest.raises(NixferryError, match="knows no activation"):
            ask()
    assert host.status(found).phase == "awaiting-confirmation"
    assert host.confirm(found).phase == "committed"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's directories are judged as root's")
def test_state_that_others_can_change_is_refused(guarded: Guarded) -> None:
    new = guarded.toplevel("new")
    (guarded.host.directory / "var").chmod(0o777)
    with pytest.raises(NixferryError, match="every user can write to /var"):
        guarded.start(new)
    assert unchanged(guarded)


def test_what_the_user_runs_with_a_profile_is_fixed_at_installation(host: Host) -> None:
    guarded = install(host)
    kind = profile_kind('echo "it\'s $TOPLEVEL" >"$HOST/ran"')
    policy = GuardPolicy(kind, str(host.profile), (KEY,))
    guarded.program.write_text(installed_program(policy, host.env()))
    new = guarded.toplevel("new")
    status = guarded.start(new, kind=KINDS["profile"])
    waited = guarded.client.status(status.activation_id, wait_while=("prepared", "activating"), seconds=100)
    assert waited.phase == "awaiting-confirmation"
    assert (host.directory / "ran").read_text() == f"it's {new}\n"


@pytest.mark.parametrize(
    ("kind", "profile", "keys"),
    [("home-manager", "", (KEY,)), ("profile", "", (KEY,)), ("nixos", "", ()), ("nixos", "/a b", (KEY,))],
)
def test_what_cannot_be_installed(kind: str, profile: str, keys: tuple[str, ...]) -> None:
    with pytest.raises(NixferryError):
        guard_policy(KINDS[kind], profile, keys)
