# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that has been found healthy waits longer, since others have not come so far."""

from __future__ import annotations

import pytest
from guard_host import SHELLS, Host

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)


def hold(host: Host, activation_id: str, seconds: int) -> GuardStatus:
    return host.guard.hold(activation_id, seconds=seconds)


def begin(host: Host, **options: object) -> str:
    """Start an activation and wait until it awaits its confirmation."""
    identifier = host.start(host.toplevel("new"), **options).activation_id
    assert host.awaited(identifier).phase == "awaiting-confirmation"
    return identifier


@EVERY_SHELL
def test_a_held_host_waits_longer_and_can_be_confirmed(host: Host) -> None:
    identifier = begin(host, timeout_confirm=30)
    held = hold(host, identifier, 1000)
    assert held.phase == "awaiting-confirmation"
    assert held.seconds_left is not None
    assert 900 < held.seconds_left <= 1000
    assert host.confirm(identifier).phase == "committed"


@EVERY_SHELL
def test_a_held_host_goes_back_by_itself_in_the_end(host: Host) -> None:
    old = host.current
    identifier = begin(host)
    hold(host, identifier, 2)
    ended = host.ended(identifier)
    assert (ended.phase, ended.reason, ended.message) == (
        "rolled-back",
        "not_confirmed",
        "the hold ended without a confirmation",
    )
    assert (host.current, host.boots, host.profile_target) == (old, old, old)


def test_a_held_host_can_be_aborted(host: Host) -> None:
    identifier = begin(host)
    hold(host, identifier, 1000)
    ended = host.abort(identifier, "another host is ill")
    assert (ended.phase, ended.message) == ("rolled-back", "aborted: another host is ill")


def test_the_dead_man_is_never_earlier_than_what_he_watches(host: Host) -> None:
    identifier = begin(host)

    def moments() -> tuple[int, int]:
        record = host.record(identifier)
        return int((record / "dead_man").read_text()), int((record / "deadline").read_text())

    dead_man, deadline = moments()
    for seconds in (5000, 6000):
        hold(host, identifier, seconds)
        assert moments()[0] - moments()[1] == dead_man - deadline
    host.abort(identifier)


def test_only_who_waits_can_be_held(host: Host) -> None:
    identifier = begin(host)
    host.confirm(identifier)
    with pytest.raises(NixferryError, match="the activation is committed"):
        hold(host, identifier, 10)
