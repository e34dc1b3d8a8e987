# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A push to a host that pulls is refused before anything changes, unless it is wanted or the agent is held."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from guard_host import SHELLS, Host

from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import GuardRefusal

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
SYSTEMCTL = """\
#!/bin/sh
case "$*" in *"is-active nixferry-pull.timer"*) cat "$HOST/timer" ;; esac
"""


@pytest.fixture
def agent(host: Host) -> Path:
    """The state of an agent that keeps the host's profile, and whose timer runs."""
    host.program("systemctl", SYSTEMCTL)
    (host.directory / "timer").write_text("active\n")
    state = host.directory / "var/lib/nixferry-pull"
    state.mkdir(parents=True)
    (state / "profile").write_text(f"{host.profile}\n")
    return state


def is_refused(host: Host, **options: object) -> bool:
    """Whether a push is refused, and then nothing has happened."""
    refusals = []
    try:
        host.abort(host.start(host.toplevel(f"new-{time.monotonic_ns()}"), **options).activation_id)
    except GuardRefusal as refusal:
        refusals.append(refusal.code)
    assert refusals in ([], ["pulled"])
    assert not refusals or not (host.actions or list(host.state.glob("activations/*")))
    return bool(refusals)


@EVERY_SHELL
def test_a_push_is_refused_while_the_agent_looks(host: Host, agent: Path) -> None:
    assert is_refused(host)
    assert is_refused(host, action="boot")
    (agent / "hold").write_text(f"{int(time.time()) - 10} over\n")
    assert is_refused(host)


@pytest.mark.parametrize("hold", ["0 for ever", "999999999999 until the year 33658", "damaged"])
def test_a_held_agent_lets_pushes_through(host: Host, agent: Path, hold: str) -> None:
    (agent / "hold").write_text(f"{hold}\n")
    assert not is_refused(host)


@EVERY_SHELL
def test_a_push_that_insists_is_made(host: Host, agent: Path) -> None:
    assert agent.exists()
    assert not is_refused(host, despite_pull=True)


@pytest.mark.parametrize("timer", ["inactive", "failed", ""])
def test_an_agent_that_does_not_look_refuses_nothing(host: Host, agent: Path, timer: str) -> None:
    assert agent.exists()
    (host.directory / "timer").write_text(f"{timer}\n")
    assert not is_refused(host)


def test_an_agent_of_another_profile_refuses_nothing(host: Host, agent: Path) -> None:
    (agent / "profile").write_text("/nix/var/nix/profiles/other\n")
    assert not is_refused(host)
