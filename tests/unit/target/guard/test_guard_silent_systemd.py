# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A systemctl that fails and prints nothing: that no failed unit was named does not mean that none has failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from guard_host import SHELLS, Host

from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import GuardRefusal

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
STARTS = 'mkdir -p "$HOST/services/InvocationID"; cat /proc/uptime >"$HOST/services/InvocationID/web.service"'
SILENCE = 'echo always >"$HOST/systemctl-fails"'
UNKNOWN = "the service manager does not tell the states of units"


def fails(host: Host, *ends: str) -> None:
    """The next calls of systemctl end like this; without any it works again."""
    (host.directory / "systemctl-fails").write_text("".join(f"{end}\n" for end in ends))


@EVERY_SHELL
def test_units_that_are_unknown_before_are_no_ground_for_a_deploy(host: Host) -> None:
    host.with_service_manager()
    fails(host, "always")
    new = host.toplevel("new")
    with pytest.raises(GuardRefusal, match=UNKNOWN) as refusal:
        host.start(new)
    assert refusal.value.code == "units_unknown"
    assert host.actions == []
    fails(host)
    assert host.deploy(new).phase == "committed"


@EVERY_SHELL
def test_units_that_are_unknown_after_the_activation_count_as_failed(host: Host) -> None:
    host.with_service_manager()
    started = host.start(host.toplevel("new", test=SILENCE))
    ended = host.awaited(started.activation_id)
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason, ended.message) == ("rolled-back", "failed_units", UNKNOWN)
    assert (host.actions, Path(host.current).name) == (["test new", "test old"], "old")


def test_unknown_units_are_ignored_if_asked(host: Host) -> None:
    host.with_service_manager()
    done = host.deploy(host.toplevel("new", test=SILENCE), failed_units="ignore")
    assert done.phase == "committed"
    assert f"ignored as asked: {UNKNOWN}" in done.notes


@EVERY_SHELL
def test_services_that_become_unknown_while_they_settle_are_not_healthy(host: Host) -> None:
    """Whatever the controller confirms: the guard cannot tell whether they have stayed up."""
    host.with_service_manager()
    started = host.start(host.toplevel("new", test=STARTS), settle=10)
    assert host.awaited(started.activation_id).phase == "awaiting-confirmation"
    fails(host, "always")
    ended = host.confirm(started.activation_id)
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason, ended.message) == ("rolled-back", "failed_units", UNKNOWN)
    assert Path(host.current).name == "old"


@pytest.mark.parametrize("end", ["1", "killed"])
def test_a_passing_silence_does_no_harm(host: Host, end: str) -> None:
    """As when the service manager executes itself again, and drops its callers."""
    host.with_service_manager()
    silence = f'printf "{end}\\n{end}\\n" >"$HOST/systemctl-fails"'
    started = host.start(host.toplevel("new", test=f"{STARTS}; {silence}"), settle=3)
    host.awaited(started.activation_id)
    assert host.confirm(started.activation_id).phase == "committed"


def test_a_passing_silence_hides_no_failure(host: Host) -> None:
    host.with_service_manager(failed_after="web.service")
    silence = 'printf "1\\n1\\n" >"$HOST/systemctl-fails"'
    started = host.start(host.toplevel("new", test=f"touch $HOST/tested; {silence}"))
    host.awaited(started.activation_id)
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.failed_units) == ("rolled-back", ("web.service",))


@EVERY_SHELL
def test_services_that_are_unknown_are_not_known_to_run(host: Host) -> None:
    """Exit code 100 says that nothing was activated. Services that ran before may have stopped."""
    host.with_service_manager()
    for name, value in {"InvocationID": "first", "ActiveState": "active"}.items():
        path = host.directory / "services" / name / "web.service"
        path.parent.mkdir(parents=True)
        path.write_text(value)
    started = host.start(host.toplevel("new", first=f"{SILENCE}; exit 100"))
    host.awaited(started.activation_id)
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "activation_failed")
    assert UNKNOWN in ended.message
    assert host.actions == ["test new", "test old"]


def test_status_says_that_the_units_are_unknown(host: Host) -> None:
    host.with_service_manager()
    assert host.probe().failed_units == ()
    fails(host, "always")
    assert host.probe().failed_units == (f"unknown, since {UNKNOWN}",)
