# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guard would refuse is refused on the controller, with words that help."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import target_text
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.requests import (
    StartRequest,
    request_fields,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.words import Action
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.activation import SETTLE_PATIENCE
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.options import (
    SWITCH_OPTIONS,
    start_request,
)

NEW = f"/nix/store/{'b' * 32}-system"
DEFAULTS = {name: option.get("default") for name, option in SWITCH_OPTIONS.items()}


def request(specialisation: str = "", **options: Any) -> StartRequest:
    return start_request({**DEFAULTS, **options}, NEW, Action.SWITCH, specialisation)


@pytest.mark.parametrize(
    "name", ["../../x", "..", ".x", "-x", "a/b", "a\nb", "a\x7f", "x" * 256, "\u00e9" * 128]
)
def test_names_that_are_not_a_specialisation(name: str) -> None:
    with pytest.raises(NixferryError, match="is not a valid name of a specialisation") as error:
        request(name)
    assert "specialisation.NAME" in error.value.remedy


@pytest.mark.parametrize("name", ["", "fallback", "with space", "a-b.c", "\u00e9" * 127])
def test_names_of_specialisations(name: str) -> None:
    assert request(name).specialisation == name


@pytest.mark.parametrize(
    "profile", ["x", "-x", "/", "//x", "/a/../b", "/a/./b", "/a/", "/a\nb", "~root/x", "~", "/x" * 2049]
)
def test_paths_that_are_not_a_profile(profile: str) -> None:
    with pytest.raises(NixferryError, match=r"is not a valid profile|x/x/x"):
        request(profile=profile)


@pytest.mark.parametrize(
    "profile", ["/nix/var/nix/profiles/system", "~/.local/state/x", "/a/..b/.c/d..", "/\u00e9"]
)
def test_profiles(profile: str) -> None:
    assert request(profile=profile).profile == profile


@pytest.mark.parametrize(
    "name", ["timeout_activation", "timeout_confirm", "timeout_rollback", "timeout_reboot"]
)
@pytest.mark.parametrize("seconds", [0, -1, 1_000_000, 10**4000])
def test_times_out_of_bounds(name: str, seconds: int) -> None:
    with pytest.raises(NixferryError, match=f"{name} is ") as error:
        request(**{name: seconds})
    assert error.value.remedy == "Give 1 to 999999 seconds."
    assert len(str(error.value)) < 200


def fields(**given: Any) -> dict[str, str]:
    return dict(request_fields(request(**given)))


def test_units_to_ignore_and_the_time_to_watch_are_sent() -> None:
    names = ["backup-*.service", "a\\x2db@1.service", "[!x]?.timer"]
    sent = fields(ignored_units=names, settle=7)
    assert (sent["ignored_units"], sent["settle"]) == (" ".join(names), "7")
    assert fields()["settle"] == "3"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ignored_units": ["two words"]}, "'two words' is not a valid name or pattern"),
        ({"ignored_units": ["$(id).service"]}, "not a valid name or pattern"),
        ({"ignored_units": [""]}, "not a valid name or pattern"),
        ({"ignored_units": ["x" * 300] * 4}, "longer than 1000 characters"),
        ({"settle": -1}, "settle is -1"),
        ({"settle": 601}, "settle is 601"),
    ],
)
def test_what_the_guard_would_not_take_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(NixferryError, match=re.escape(words)):
        fields(**given)


def test_controller_and_guard_wait_equally_long() -> None:
    assert f"\nSETTLE_PATIENCE={SETTLE_PATIENCE} " in target_text("guard/settle.sh")
