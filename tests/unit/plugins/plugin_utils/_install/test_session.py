# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which login reaches the machine: that of the new system, of the installer, or of one that kexec has started."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sample_machines import INSTALLER

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import HostUnreachable
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install import session
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install.login import InstallerLogin
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install.session import Session

INVENTORY = InstallerLogin()
UBUNTU = InstallerLogin("ubuntu")
STARTED = InstallerLogin("root", 22)


def found(
    monkeypatch: pytest.MonkeyPatch,
    states: Mapping[InstallerLogin, str],
    *,
    login: InstallerLogin = UBUNTU,
    kexec: str = "image",
) -> tuple[str, list[InstallerLogin]]:
    """The state that is found on a machine that answers to some logins only, and the logins that were tried."""
    tried: list[InstallerLogin] = []

    @contextlib.contextmanager
    def on_installer(shell: object, candidate: InstallerLogin) -> Iterator[object]:
        tried.append(candidate)
        yield shell

    def look(*_words: object, **_options: object) -> object:
        if tried[-1] not in states:
            raise HostUnreachable(f"no {tried[-1].user}", step=Step.REACH)
        return replace(INSTALLER, state=states[tried[-1]])

    monkeypatch.setattr(session, "on_installer", on_installer)
    monkeypatch.setattr(session, "look", look)
    options = SimpleNamespace(
        login=login, given={"kexec": kexec, "kexec_port": 22}, mount_point="/mnt", script=""
    )
    machine = Session(cast(Any, SimpleNamespace(is_ssh=True)), cast(Any, options), cast(Any, None))
    with machine.found() as seen:
        return seen.state, tried


@pytest.mark.parametrize("state", ["managed", "installed"])
def test_a_host_is_found_by_its_own_login_first(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    assert found(monkeypatch, {INVENTORY: state, UBUNTU: "linux"}) == (state, [INVENTORY])
    # Whatever login reaches it, it is a host.
    assert found(monkeypatch, {STARTED: state})[0] == state


def test_another_system_is_reached_by_the_login_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, {UBUNTU: "linux"}) == ("linux", [INVENTORY, UBUNTU])
    assert found(monkeypatch, {INVENTORY: "linux", UBUNTU: "linux"}) == ("linux", [INVENTORY, UBUNTU])
    assert found(monkeypatch, {INVENTORY: "installer"}, login=INVENTORY) == ("installer", [INVENTORY])


def test_an_installer_that_kexec_has_started_lets_root_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, {STARTED: "installer"}) == ("installer", [INVENTORY, UBUNTU, STARTED])
    with pytest.raises(HostUnreachable):
        found(monkeypatch, {STARTED: "installer"}, kexec="")


def test_the_failure_is_that_of_the_login_that_the_user_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostUnreachable, match="no ubuntu"):
        found(monkeypatch, {})
    with pytest.raises(HostUnreachable, match="no ubuntu"):
        found(monkeypatch, {INVENTORY: "installer"})
