# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Garbage is collected with `-d` while the new system waits: the old generation comes back all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from guard_host import SHELLS, Host

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import profile_kind
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import GuardRefusal

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)


def roots(host: Host) -> dict[str, str]:
    """What the guard keeps from being collected, by the end of the root's name."""
    directory = host.directory / "nix/var/nix/gcroots/nixferry"
    return {path.name.rpartition("-")[2]: str(path.readlink()) for path in directory.iterdir()}


@pytest.mark.parametrize("name", ["new", "old"])
def test_a_toplevel_that_is_there_and_not_valid_is_refused_without_a_trace(host: Host, name: str) -> None:
    """As after a copy that was cut off, or when the store has lost what it knew of the running system."""
    toplevel = host.toplevel("new") if name == "new" else host.current
    host.program("nix-store", "#!/bin/sh\nexit 1\n")
    request = host.request(toplevel)
    with pytest.raises(GuardRefusal) as refusal:
        host.guard.start(request)
    assert refusal.value.code == "invalid_toplevel"
    assert not host.record(request.activation_id).exists()
    assert not (host.directory / "run/nixferry/lock").exists()
    assert not (host.directory / "nix/var/nix/gcroots/nixferry").exists() or roots(host) == {}


@EVERY_SHELL
@pytest.mark.parametrize("command", ["", "true"])
def test_profile_is_put_back_to_a_generation_that_exists(host: Host, command: str) -> None:
    kind = replace(profile_kind(command), profile=str(host.profile))
    old = host.profile_target
    started = host.start(host.toplevel("new"), kind=kind)
    host.awaited(started.activation_id)
    host.collect_old_generations()
    ended = host.abort(started.activation_id)
    assert (ended.phase, str(host.profile.readlink())) == ("rolled-back", "system-1-link")
    assert host.profile_target == old
    assert str((host.profile.parent / "system-1-link").readlink()) == old
    assert not (host.profile.parent / "system-2-link").is_symlink()


@EVERY_SHELL
def test_failed_commit_puts_the_profile_back_to_a_generation_that_exists(host: Host) -> None:
    keep = '[ "$link" -ef "$HOST/profiles/system" ]'
    collect = f'for link in "$HOST"/profiles/system-*-link; do {keep} || rm "$link"; done'
    old = host.profile_target
    ended = host.deploy(host.toplevel("new", boot=f"{collect}; exit 1"))
    assert (ended.phase, ended.reason) == ("rolled-back", "commit_failed")
    assert (host.current, host.boots, host.profile_target) == (old, old, old)
    assert host.actions[-2:] == ["boot old", "test old"]


def test_profile_that_leads_nowhere_is_no_success(host: Host) -> None:
    """The text of the link is what it was, and the old system itself is gone."""
    kind = replace(profile_kind(""), profile=str(host.profile))
    started = host.start(host.toplevel("new"), kind=kind)
    host.awaited(started.activation_id)
    host.collect_old_generations()
    (host.directory / "store/old").rename(host.directory / "gone")
    ended = host.abort(started.activation_id)
    assert ended.phase == "failed"
    assert f"the profile {host.profile} could not be put back" in ended.message


def test_profile_is_kept_from_collection_when_another_system_ran(host: Host) -> None:
    """The old system was only tested; what boots has no other root once its generation is removed."""
    boots, tested = host.profile_target, host.toplevel("tested")
    host.switch_to(tested)
    started = host.start(host.toplevel("new"))
    host.awaited(started.activation_id)
    assert roots(host) == {"new": str(host.directory / "store/new"), "old": tested, "profile": boots}
    host.abort(started.activation_id)
    assert roots(host) == {}
