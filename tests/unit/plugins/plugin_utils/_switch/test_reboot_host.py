# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reboot without a deploy: what is booted, and what is said about it."""

from __future__ import annotations

from typing import Any

import pytest
from scripted_host import NEW, OLD, Host, Lines, answer, guard_of

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.options import SWITCH_OPTIONS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.reboot_host import reboot_host


def probe(**fields: str) -> tuple[str, str]:
    """The answer of a host that runs and boots ``OLD``; an empty value removes a field."""
    known = {
        "system": "x86_64-linux",
        "current": OLD,
        "profile": "/p",
        "profile_target": OLD,
        "generation": "3",
        "generations": f"3 1700000000 {OLD}",
    }
    lines = [f"{key}={value.replace(' ', '%20')}" for key, value in {**known, **fields}.items() if value]
    return "probe", "\n".join(["nixferry=1", *lines, "end=probe"])


def reboot(host: Host, *, check_mode: bool = False, **given: Any) -> dict[str, Any]:
    defaults = {name: option.get("default") for name, option in SWITCH_OPTIONS.items()}
    options = {**defaults, "reboot": "always", "specialisation": "", **given}
    return reboot_host(guard_of(host), options, Lines(), check_mode=check_mode)  # type: ignore[arg-type]


def asks(host: Host, *fields: str) -> bool:
    """Whether the second request has all of these fields."""
    return all(field in host.sent[1] for field in fields)


def test_the_boot_default_is_booted_whatever_was_booted_before() -> None:
    same = {"reboot": "done", "system": OLD, "toplevel": OLD}
    host = Host(
        probe(),
        answer("start", "activating", **{**same, "reboot": "planned"}),
        answer("status", "awaiting-confirmation", **same),
        answer("confirm", "committed", **same),
    )
    result = reboot(host)
    assert (result["outcome"], result["rebooted"], result["changed"]) == ("committed", True, True)
    assert asks(host, "reboot=always", "force=1", f"toplevel={OLD}", "is_rollback=1")


def test_a_host_that_is_not_healthy_is_named_and_runs_what_it_ran() -> None:
    same = {"reboot": "done", "system": OLD, "toplevel": OLD}
    host = Host(
        probe(),
        answer("start", "activating", **{**same, "reboot": "planned"}),
        answer("status", "rolled-back", reason="failed_units", message="units failed: a.service", **same),
    )
    result = reboot(host)
    assert (result["failed"], result["outcome"]) == (True, "rolled-back")
    assert f"web1: activate failed: units failed: a.service. The host runs {OLD}, as before" in result["msg"]


def test_a_reboot_that_is_not_required() -> None:
    result = reboot(Host(probe()), reboot="if-required")
    assert (result["failed"], result["changed"], result["outcome"]) == (False, False, "unchanged")
    assert result["rebooted"] is False


@pytest.mark.parametrize("option", ["always", "if-required"])
def test_check_mode_tells_and_reboots_nothing(option: str) -> None:
    due = probe(reboot_reason="kernel")
    later = probe(toplevel_valid="1", toplevel_system=OLD, reboot="planned", toplevel_reboot_reason="kernel")
    host = Host(due, later)
    result = reboot(host, check_mode=True, reboot=option)
    assert (result["changed"], result["rebooted"], result["new"]) == (True, True, OLD)
    assert asks(host, "reboot=always", "force=1")


def test_what_cannot_be_booted_is_refused_before_anything_happens() -> None:
    with pytest.raises(NixferryError, match="the profile /p holds no system"):
        reboot(Host(probe(profile_target="", current="", generations="")))
    with pytest.raises(NixferryError, match="not a generation of /p") as error:
        reboot(Host(probe(current=NEW)))
    assert "specialisation" in error.value.remedy
    with pytest.raises(NixferryError, match="no meaning for kind darwin"):
        reboot(Host(probe()), kind="darwin")
    with pytest.raises(NixferryError, match="no EFI variables"):
        reboot(Host(probe(), probe(reboot="planned", reboot_problem="no EFI variables")), check_mode=True)


def test_check_mode_tells_that_the_boot_default_is_not_ours() -> None:
    due = probe(reboot_reason="kernel")
    later = probe(toplevel_valid="1", toplevel_system=OLD, boot_default_problem="a variable chooses it")
    with pytest.raises(NixferryError, match="would not become the boot default: a variable chooses it"):
        reboot(Host(due, later), check_mode=True)
