# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deploy that expects a host to be what a plan has seen."""

from __future__ import annotations

import pytest
from guard_host import Host

from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import GuardRefusal


def test_a_host_as_planned_is_deployed(host: Host) -> None:
    done = host.deploy(
        host.toplevel("new"), expected_current=host.current, expected_profile=host.profile_target
    )
    assert done.phase == "committed"


@pytest.mark.parametrize("field", ["expected_current", "expected_profile"])
def test_a_host_that_another_deployer_has_changed_is_left_alone(host: Host, field: str) -> None:
    seen = host.current
    new = host.toplevel("new")
    assert host.deploy(host.toplevel("other")).phase == "committed"
    before = host.actions
    with pytest.raises(GuardRefusal, match="as planned") as refusal:
        host.start(new, **{field: seen})
    assert refusal.value.code == "not_as_planned"
    assert host.actions == before
    assert host.probe().lock_holder is None
    # What it already is needs no plan.
    assert host.start(host.current, expected_current=seen).phase == "none"


def test_a_first_deploy_expects_nothing(host: Host) -> None:
    with pytest.raises(GuardRefusal, match="not none as planned"):
        host.start(host.toplevel("new"), expected_current="none")
