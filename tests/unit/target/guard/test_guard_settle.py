# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that die a moment after an activation has started them, on a host whose own program saw nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from guard_host import SHELLS, Host

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
STARTS = 'mkdir -p "$HOST/services/InvocationID"; cat /proc/uptime >"$HOST/services/InvocationID/web.service"'


def dies_after(word: str) -> str:
    """An activation that starts a service, which dies when the guard has taken the controller's word."""
    taken = f"$HOST/var/lib/nixferry/activations/*/{word}"
    return f'{STARTS}; setsid sh -c "until [ -e {taken} ]; do sleep 0.05; done; touch $HOST/tested" >/dev/null 2>&1 &'


def watched(host: Host, test: str, **options: object) -> str:
    """Begin an activation whose program runs ``test``, with units of systemd; return its name."""
    return host.start(host.toplevel("new", test=test), **options).activation_id


def looks(host: Host) -> int:
    """How often the host's services were looked at."""
    return (host.directory / "systemctl").read_text().count("--property=InvocationID")


def properties(host: Host, **values: str) -> None:
    for name, value in values.items():
        path = host.directory / "services" / name / "web.service"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value)


@EVERY_SHELL
def test_a_service_that_dies_before_the_confirmation_has_effect_is_found(host: Host) -> None:
    host.with_service_manager(failed_after="web.service")
    identifier = watched(host, dies_after("confirm"), settle=100)
    assert host.awaited(identifier).phase == "awaiting-confirmation"
    # The controller is faster than the service.
    ended = host.confirm(identifier)
    assert (ended.phase, ended.reason, ended.exit_code) == ("rolled-back", "failed_units", 0)
    assert ended.message == "units failed after the activation: web.service"
    assert ended.failed_units == ("web.service",)
    assert Path(host.current).name == "old"


@EVERY_SHELL
def test_a_hold_waits_until_it_is_known_whether_the_services_stay_up(host: Host) -> None:
    host.with_service_manager(failed_after="web.service")
    identifier = watched(host, dies_after("held"), settle=100)
    host.awaited(identifier)
    held = host.guard.hold(identifier, seconds=1000)
    assert host.ended(identifier).reason == "failed_units"
    assert held.phase in ("rolling-back", "rolled-back")


@pytest.mark.parametrize("options", [{"settle": 0}, {"failed_units": "ignore"}])
def test_services_need_not_be_watched(host: Host, options: dict[str, object]) -> None:
    host.with_service_manager(failed_after="web.service")
    identifier = watched(host, STARTS, **options)
    host.awaited(identifier)
    assert host.confirm(identifier).phase == "committed"
    assert looks(host) <= 2


def test_an_activation_that_has_left_no_new_service_running_is_not_waited_for(host: Host) -> None:
    host.with_service_manager()
    properties(host, InvocationID="first", ActiveState="active")
    (host.directory / "services/SubState").mkdir()
    job = 'echo id >"$HOST/services/InvocationID/job.service"; echo exited >"$HOST/services/SubState/job.service"'
    login = 'echo new >"$HOST/services/InvocationID/user@0.service"'
    identifier = watched(host, f"{job}; {login}", settle=500)
    host.awaited(identifier)
    assert host.confirm(identifier).phase == "committed"


def test_a_service_that_was_restarting_all_the_time_does_not_count(host: Host) -> None:
    """Each of its starts has a new id, but it is not the activation that starts it."""
    host.with_service_manager()
    properties(host, InvocationID="first", ActiveState="active", NRestarts="7")
    restarts = 'echo second >"$HOST/services/InvocationID/web.service"; touch "$HOST/flapping"'
    identifier = watched(host, restarts, settle=500)
    host.awaited(identifier)
    assert host.confirm(identifier).phase == "committed"


@pytest.mark.parametrize("pattern", ["web.service", "other w?b.*", "[uvw]e*"])
@pytest.mark.parametrize("test", ["touch $HOST/tested; exit 4", dies_after("confirm")])
def test_ignored_units_are_noted_only(host: Host, test: str, pattern: str) -> None:
    host.with_service_manager(failed_after="web.service")
    identifier = watched(host, test, ignored_units=pattern)
    host.awaited(identifier)
    done = host.confirm(identifier)
    assert (done.phase, done.failed_units) == ("committed", ())
    if "exit 4" in test:
        assert "failed units are ignored as asked: web.service" in done.notes


@EVERY_SHELL
def test_only_the_named_units_are_ignored(host: Host) -> None:
    failed = "'ugly\\x2dname.service' web.service"
    host.with_service_manager(failed_after=failed)
    names = "ugly\\x2dname.service we.service eb*"
    identifier = watched(host, "touch $HOST/tested; exit 4", ignored_units=names)
    ended = host.ended(identifier)
    assert (ended.reason, ended.failed_units) == ("failed_units", ("web.service",))
