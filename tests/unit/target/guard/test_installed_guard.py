# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed guard: it does what it was installed for, and whatever else it is asked changes nothing."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from guard_host import SHELLS, Completed, Host
from guard_programs import SWITCH_TO_CONFIGURATION

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS, profile_kind
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard import requests as _guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.installed import (
    REQUEST_FIELDS,
    InstalledGuard,
    guard_program,
    guard_version,
    installed_guard,
    request_text,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.probe import parse_probe
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.script import GuardScript
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus, parse_status

in_every_shell = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
KEY = "deploy-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
# A path is signed when $HOST/signed names it, by its content alone when $HOST/content-addressed does.
NIX = """\
#!/bin/sh
echo "$*" >>"$HOST/nix-calls"
for path; do :; done
case $* in
    *"path-info --sigs"*)
        address=
        if grep -qx "$path" "$HOST/content-addressed" 2>/dev/null; then address=ca:text:sha256:0; fi
        echo "$path  $address a:b"
        ;;
    *"store verify"*)
        for path; do
            case $path in "$HOST"/*) ;; *) continue ;; esac
            cat "$HOST/signed" "$HOST/content-addressed" 2>/dev/null | grep -qx "$path" || exit 2
        done
        ;;
    *) exit 1 ;;
esac
"""


@dataclass
class Guarded:
    """A host with an installed guard."""

    host: Host
    program: Path

    def toplevel(self, name: str, *, signed: bool = True) -> str:
        path = self.host.directory / f"nix/store/{'0' * 32}-{name}"
        (path / "bin").mkdir(parents=True)
        (path / "nixos-version").write_text(name)
        text = SWITCH_TO_CONFIGURATION.replace("@self@", str(path)).replace("@name@", name)
        program = path / "bin/switch-to-configuration"
        program.write_text(text.replace("@test@", ":").replace("@boot@", ":"))
        program.chmod(0o755)
        if signed:
            self.note("signed", str(path))
            self.note("signed", f"{path}-dependency")
        return str(path)

    def note(self, name: str, line: str) -> None:
        with (self.host.directory / name).open("a") as file:
            file.write(f"{line}\n")

    def send(self, data: bytes, *arguments: str, **environment: str) -> Completed:
        """Call the program as sudo would, with ``environment`` on top if sudo let it through."""
        done = subprocess.run(
            [str(self.host.programs / "guard-shell"), str(self.program), *arguments],
            input=data,
            capture_output=True,
            timeout=60,
            check=False,
            env={"SUDO_USER": "ferry", "PATH": "/usr/bin:/bin", **environment},
        )
        return Completed(done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace"))

    def ask(self, script: GuardScript) -> GuardStatus:
        return parse_status(script.verb, self.send(request_text(script).encode()))

    def start(self, toplevel: str, **options: object) -> GuardStatus:
        return self.ask(_guard.start_script(self.request(toplevel, **options)))

    def request(self, toplevel: str, **options: object) -> _guard.StartRequest:
        return replace(
            self.host.request(toplevel), kind=KINDS["nixos"], profile=str(self.host.profile), **options
        )

    def raw(self, *lines: str, verb: str = "start") -> Completed:
        """A request as an attacker writes it."""
        return self.send("\n".join([f"version={guard_version()}", f"verb={verb}", *lines, ""]).encode())

    def lines(self, toplevel: str, **options: object) -> list[str]:
        """The fields of a good request."""
        return request_text(_guard.start_script(self.request(toplevel, **options))).splitlines()[2:]


def install(host: Host) -> Guarded:
    host.program("nix", NIX)
    (host.directory / "nix/store").mkdir(parents=True)
    program = host.programs / "nixferry-guard"
    guard = InstalledGuard(KINDS["nixos"], str(host.profile), (KEY,))
    program.write_text(guard_program(guard, host.env()))
    return Guarded(host, program)


@pytest.fixture
def guarded(host: Host) -> Guarded:
    return install(host)


def unchanged(guarded: Guarded) -> bool:
    """Nothing was activated and no activation was begun."""
    activations = guarded.host.state / "activations"
    return not guarded.host.actions and not (activations.exists() and list(activations.iterdir()))


@in_every_shell
def test_a_deploy_and_the_way_back(host: Host) -> None:
    guarded = install(host)

    def deploy(toplevel: str) -> GuardStatus:
        status = guarded.start(toplevel, deployer="somebody's controller")
        waiting = _guard.status_script(
            status.activation_id, wait_while=("prepared", "activating"), seconds=100
        )
        assert guarded.ask(waiting).phase == "awaiting-confirmation"
        return guarded.ask(_guard.confirm_script(status.activation_id, seconds=100))

    first, second = guarded.toplevel("first"), guarded.toplevel("second")
    done = deploy(first)
    assert (done.phase, done.deployer) == ("committed", "somebody's controller as ferry")
    assert host.current == host.boots == host.profile_target == first
    assert guarded.start(first).unchanged
    assert deploy(second).phase == "committed"

    # A generation needs no signature: root has made it.
    (host.directory / "signed").unlink()
    back = guarded.start(first, is_rollback=True)
    aborted = guarded.ask(
        _guard.abort_script(back.activation_id, seconds=100, reason="too old: na\u00efve\n'x'")
    )
    assert aborted.phase == "rolled-back"
    assert host.current == host.boots == second
    assert not list((host.directory / "nix/var/nix/gcroots/nixferry-permits").iterdir())


def test_a_probe_tells_and_forecasts(guarded: Guarded) -> None:
    new = guarded.toplevel("new")
    script = _guard.probe_script(
        _guard.ProbeRequest(
            KINDS["nixos"], str(guarded.host.profile), toplevel=new, closure=True, dry_activate=True
        )
    )
    probe = parse_probe(guarded.send(request_text(script).encode()))
    assert probe.current == guarded.host.current
    assert probe.dry_activate_exit_code == 0
    assert guarded.host.actions == [f"dry-activate {Path(new).name}"]
    unsigned = guarded.toplevel("unsigned", signed=False)
    for forecast in (True, False):
        asked = _guard.ProbeRequest(
            KINDS["nixos"], str(guarded.host.profile), toplevel=unsigned, dry_activate=forecast
        )
        with pytest.raises(NixferryError, match="neither signed"):
            parse_probe(guarded.send(request_text(_guard.probe_script(asked)).encode()))
    # Check mode comes before the copy.
    absent = replace(asked, toplevel=f"{guarded.host.directory}/nix/store/{'1' * 32}-nothing")
    told = parse_probe(guarded.send(request_text(_guard.probe_script(absent)).encode()))
    assert told.toplevel_valid is False


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


REFUSED_LINES = (
    "activate=touch $HOST/hacked",
    "commit=touch $HOST/hacked",
    "dry_activate=touch $HOST/hacked",
    "roll_back=:",
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
            parse_status("start", guarded.raw(*good, line))
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
        parse_status("start", guarded.raw(*good, f"toplevel={text}"))
    assert unchanged(guarded)


@in_every_shell
def test_requests_that_are_none(host: Host) -> None:
    guarded = install(host)
    good = guarded.lines(guarded.toplevel("new"))
    head = [f"version={guard_version()}", "verb=start"]
    for lines in (
        [],
        ["", ""],
        head,
        ["verb=start", f"version={guard_version()}", *good],
        [head[0], "verb=run", *good],
        [head[0], "verb=watch", *good],
        [head[0], "verb=start;id", *good],
        ["version=$(id)", head[1], *good],
        [*head, *good, good[0]],
        [*head, *good, "reason=" + "x" * 70_000],
        [*head, *good, *(f"seconds={number}" for number in range(10_000))],
        [*head, *good, "reason=\x00", "\x1b[0m"],
    ):
        done = guarded.send("\n".join([*lines, ""]).encode())
        assert done.return_code != 0
        assert "error=" in done.stdout
        assert "\x1b" not in done.stdout + done.stderr
    assert unchanged(guarded)


@in_every_shell
def test_arguments_and_the_environment_count_for_nothing(host: Host) -> None:
    guarded = install(host)
    script = request_text(_guard.start_script(guarded.request(guarded.toplevel("new")))).encode()
    for arguments in (["start"], ["-c", "id"], ["--"], [""]):
        done = guarded.send(script, *arguments)
        assert (done.return_code, done.stdout) == (2, "")
    assert unchanged(guarded)
    other = host.directory / "elsewhere"
    other.mkdir()
    hostile = {
        "NIXFERRY_SH": "/bin/false",
        "NIXFERRY_PROC": str(other),
        "NIXFERRY_GUARD": "touch $HOST/hacked",
        "INSTALLED_KEYS": "evil:x",
        "INSTALLED_FIELDS": "activate:text",
        "ENV": f"{other}/env",
        "NIX_CONFIG": "trusted-public-keys = evil:x",
        "NIX_REMOTE": str(other),
        "IFS": "/",
        "name": "x",
        "verb": "x",
        "two\nlines": "x",
    }
    status = parse_status("start", guarded.send(script, **hostile))
    assert status.phase != "none"
    assert not list(other.iterdir())
    assert guarded.ask(_guard.abort_script(status.activation_id, seconds=100)).phase == "rolled-back"
    assert not (host.directory / "hacked").exists()


def test_another_version_is_told_so(guarded: Guarded) -> None:
    text = request_text(_guard.start_script(guarded.request(guarded.toplevel("new"))))
    with pytest.raises(
        NixferryError, match=f"version {guard_version()}, the controller's 0123456789abcdef"
    ) as error:
        parse_status("start", guarded.send(text.replace(guard_version(), "0123456789abcdef").encode()))
    assert "nix_guard" in error.value.remedy
    assert unchanged(guarded)


def test_what_the_program_fixes_is_refused_before_it_is_asked() -> None:
    request = _guard.StartRequest("1", KINDS["nixos"], "/nix/store/x")
    for changed in (
        {"reboot_command": "halt"},
        {"environment": (("A", "b"),)},
        {"kind": profile_kind("systemctl restart web")},
    ):
        with pytest.raises(NixferryError, match="not for the deploy to choose"):
            request_text(_guard.start_script(replace(request, **changed)))  # type: ignore[arg-type]


def test_every_field_that_a_caller_may_say_is_plain() -> None:
    """What the guard evaluates as shell must never become a field of a request."""
    program = guard_program(InstalledGuard(KINDS["nixos"], "/nix/var/nix/profiles/system", (KEY,)))
    snippets = {"activate", "commit", "roll_back", "restore_boot_default", "dry_activate", "environment"}
    snippets |= {"reboot_command", "find_profile", "deactivate"}
    assert not snippets & set(REQUEST_FIELDS)
    for snippet in snippets - {"find_profile"}:
        assert f"{snippet}=" in program


@pytest.mark.parametrize(
    ("kind", "profile", "keys"),
    [("home-manager", "", (KEY,)), ("profile", "", (KEY,)), ("nixos", "", ()), ("nixos", "/a b", (KEY,))],
)
def test_what_cannot_be_installed(kind: str, profile: str, keys: tuple[str, ...]) -> None:
    with pytest.raises(NixferryError):
        installed_guard(KINDS[kind], profile, keys)
