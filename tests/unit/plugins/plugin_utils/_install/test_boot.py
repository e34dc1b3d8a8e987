# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wait for the new system: who may answer, and what is believed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    HostUnreachable,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.result import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install import boot
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install.boot import Expected, wait_for_system
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

NEW = Expected("/nix/store/new", "installer:1", ())
AWAY = HostUnreachable("the port refuses connections: x", step=Step.REACH)
REFUSED = HostUnreachable("the host does not let this user in: x", step=Step.REACH, transient=False)
OTHER_KEY = HostUnreachable(
    "the host shows another key than the one that is known: x", step=Step.REACH, transient=False
)


def answer(state: str = "running", current: str = NEW.toplevel, boot_id: str = "new:1") -> RemoteResult:
    text = f"nixferry=1\nboot={boot_id}\ncurrent={current}\nstate={state}\nend=booted\n"
    return RemoteResult(0, text, "")


class Host:
    """Gives its answers in order, and the last one for ever."""

    is_ssh = False
    host = "web1"

    def __init__(self, answers: Sequence[RemoteResult | HostUnreachable]) -> None:
        self.answers = list(answers)
        self.asked = 0

    @contextlib.contextmanager
    def fresh(self) -> Iterator[Host]:
        yield self

    def run(self, _script: str, **_options: Any) -> RemoteResult:
        found = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(found, HostUnreachable):
            raise found
        return found


class Silent:
    verbosity = 0

    def display(self, *_words: object, **_options: object) -> None:
        """Show nothing."""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(boot.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(boot.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


def wait(*answers: RemoteResult | HostUnreachable, seconds: int = 60) -> str:
    progress = Progress(Silent(), prefix="web1", muted=True, mode="none")
    return wait_for_system(cast(RemoteShell, Host(answers)), NEW, seconds=seconds, progress=progress)


def test_it_waits_through_the_reboot() -> None:
    installer = answer(current="/nix/store/installer", boot_id=NEW.boot)
    assert wait(installer, AWAY, OTHER_KEY, answer("starting"), answer("degraded")) == "degraded"
    # A host without systemd does not tell a state.
    assert wait(answer("")) == ""


def test_a_few_refusals_may_come_from_a_system_that_starts() -> None:
    assert wait(REFUSED, REFUSED, REFUSED, answer()) == "running"
    with pytest.raises(NixferryError, match="does not let the deployer in"):
        wait(REFUSED)


def test_another_system_is_not_waited_for() -> None:
    with pytest.raises(NixferryError, match="has booted /nix/store/installer, and not /nix/store/new"):
        wait(answer(current="/nix/store/installer", boot_id="installer:2"))
    with pytest.raises(NixferryError, match="a system that is not NixOS"):
        wait(answer(current=""))


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (AWAY, "did not come up within timeout_reboot .*the port refuses"),
        (OTHER_KEY, "does not have the new system's host key"),
        (answer(boot_id=NEW.boot), "the installer still answers"),
        (answer("starting"), "the new system answers, and is starting"),
    ],
)
def test_the_deadline_says_what_was_seen_last(last: RemoteResult | HostUnreachable, words: str) -> None:
    with pytest.raises(NixferryError, match=words):
        wait(AWAY, last, seconds=10)
