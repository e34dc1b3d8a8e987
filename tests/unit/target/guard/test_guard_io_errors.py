# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that answers with errors: the guard needs nothing from it, and what cannot be read is not taken for empty.

Permissions stand in for the errors; a real disk that dies is in tests/e2e/faults/test_dying_disk.py.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from guard_disk import MOST_SHELLS, NOBODY, assert_usable_again, names, own, set_writable
from guard_host import Host, wait_for

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import profile_kind
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import GuardRefusal

HALF_WAY = "touch $HOST/half; until [ -e $HOST/lost ]; do sleep 0.03; done"
SYNC = """\
#!/bin/sh
# A disk that fails where $HOST/dead names it
[ "$1" = -f ] || exit 0
shift
for place; do
    if grep -qxF -e "$place" "$HOST/dead" 2>/dev/null; then
        echo "sync: error syncing '$place': Input/output error" >&2
        exit 1
    fi
done
"""


def lose_records(host: Host, lost: bool = True) -> None:
    """Neither the record of the deploy nor the guard's program can be read or written."""
    for name in ("activations", "guard"):
        (host.state / name).chmod(0 if lost else 0o700)


@MOST_SHELLS
@pytest.mark.parametrize("end", ["exit 1", "exit 0"], ids=["fails", "succeeds"])
def test_record_that_is_lost_during_the_activation(plain: Host, end: str) -> None:
    started = plain.start(plain.toplevel("new", test=f"{HALF_WAY}; {end}"), timeout_confirm=1000)
    wait_for((plain.directory / "half").exists, "the activation to begin")
    lose_records(plain)
    (plain.directory / "lost").touch()
    # The old system's program is run by the copy of the guard's program in main memory.
    ended = plain.ended(started.activation_id)
    assert (ended.phase, ended.interrupted) == ("rolled-back", False)
    assert "takes no files" in ended.message
    assert (ended.toplevel, Path(ended.old_system).name) == (started.toplevel, "old")
    assert plain.actions == ["test new", "test old"]
    assert names(plain) == ("old", "old", "old")
    lose_records(plain, lost=False)
    assert_usable_again(plain, started.activation_id)
    assert not list((plain.directory / "run/nixferry/copies/activations").iterdir())


def test_copy_of_the_record_goes_with_its_end(host: Host) -> None:
    copies = host.directory / "run/nixferry/copies/activations"
    started = host.start(host.toplevel("new"))
    host.awaited(started.activation_id)
    assert (copies / started.activation_id / "guard.sh").exists()
    assert host.confirm(started.activation_id).phase == "committed"
    assert list(copies.iterdir()) == []


def test_phase_that_cannot_be_read_is_not_an_interrupted_activation(plain: Host) -> None:
    """What was committed must not be undone."""
    done = plain.deploy(plain.toplevel("new"))
    assert done.phase == "committed"
    (plain.record(done.activation_id) / "phase").chmod(0)
    assert plain.probe().interrupted == ()
    assert plain.deploy(plain.toplevel("next")).phase == "committed"
    assert plain.actions == ["test new", "boot new", "test next", "boot next"]


def test_record_that_cannot_be_read_after_a_power_cut_is_not_guessed_at(plain: Host) -> None:
    started = plain.start(plain.toplevel("new"), timeout_confirm=1000)
    plain.awaited(started.activation_id)
    plain.power_cut()
    unreadable = plain.record(started.activation_id) / "request/toplevel"
    unreadable.chmod(0)
    after = plain.toplevel("next")
    with pytest.raises(GuardRefusal, match="cannot be read, so nothing was undone"):
        plain.start(after)
    assert plain.status(started.activation_id).phase == "failed"
    assert plain.deploy(after).phase == "committed"
    assert names(plain) == ("next", "next", "next")


def test_records_that_cannot_be_listed_are_not_overlooked(plain: Host) -> None:
    plain.deploy(plain.toplevel("new"))
    (plain.state / "activations").chmod(0o300)
    with pytest.raises(GuardRefusal, match="cannot read the state directory"):
        plain.start(plain.toplevel("next"))
    set_writable(plain, True)


def test_profile_that_cannot_be_read_is_no_third_party_s(plain: Host) -> None:
    profiles = plain.profile.parent
    new = plain.toplevel("new", boot=f"chmod 0 {profiles}; exit 1")
    started = plain.start(new)
    plain.awaited(started.activation_id)
    ended = plain.confirm(started.activation_id)
    profiles.chmod(0o700)
    assert (ended.phase, ended.reason) == ("failed", "commit_failed")
    assert f"the profile {plain.profile} cannot be read" in ended.message
    assert "third party" not in ended.message
    assert Path(plain.current).name == "old"


@MOST_SHELLS
@pytest.mark.parametrize("foreign", [False, True], ids=["free", "taken by another user"])
def test_user_without_a_runtime_directory_whose_home_becomes_read_only(plain: Host, foreign: bool) -> None:
    """As with become and no login. The activation was rolled back, but counted as interrupted for ever."""
    host = plain
    if foreign and os.geteuid() != 0:
        pytest.skip("only root can give a directory to another user")
    host.program("id", "#!/bin/sh\ncase $1 in -[ug]) exec /usr/bin/id $1 ;; *) echo ann ;; esac\n")
    memory = host.directory / "dev/shm"
    memory.mkdir(parents=True)
    memory.chmod(0o1777)
    place = memory / f"nixferry-{NOBODY if os.geteuid() == 0 else os.geteuid()}"
    if foreign:
        place.mkdir(mode=0o777)
    profile = host.directory / "home/.local/state/nix/profiles/app"
    profile.parent.mkdir(parents=True)
    own(host)
    if foreign:
        os.chown(place, 0, 0)
    kind = replace(profile_kind("echo $PROFILE >>$HOST/activated"), profile="~/.local/state/nix/profiles/app")
    assert host.deploy(host.toplevel("first"), kind=kind).phase == "committed"
    started = host.start(host.toplevel("new"), kind=kind, timeout_confirm=20)
    assert host.awaited(started.activation_id).phase == "awaiting-confirmation"
    state = host.directory / "home/.local/state/nixferry"
    paths = [path for path in (state, *state.rglob("*")) if path.is_dir()]
    for path in paths:
        path.chmod(0o500)
    ended = host.ended(started.activation_id)
    for path in paths:
        path.chmod(0o700)
    if foreign:
        # What another user could change is not believed.
        assert (ended.phase, ended.interrupted) == ("awaiting-confirmation", True)
        assert list(place.iterdir()) == []
        # Its dead-man ends it as soon as the home takes files again.
        wait_for(lambda: host.status(started.activation_id).final, "the end of the activation")
    else:
        assert (ended.phase, ended.reason, ended.interrupted) == ("rolled-back", "not_confirmed", False)
        assert "takes no files" in ended.message
    done = host.deploy(host.toplevel("next"), kind=kind)
    assert done.phase == "committed"
    assert os.path.realpath(profile).endswith("/next")
    assert (state / "activations" / started.activation_id / "phase").read_text() == "rolled-back\n"


@MOST_SHELLS
@pytest.mark.parametrize(
    ("place", "reason", "begun"),
    [("var/lib/nixferry", "state_unwritable", []), ("profiles", "commit_failed", ["boot new"])],
)
def test_flush_that_fails_is_no_commit(host: Host, place: str, reason: str, begun: list[str]) -> None:
    """The writes themselves ended in main memory, and seemed to succeed."""
    host.program("sync", SYNC)
    started = host.start(host.toplevel("new"))
    host.awaited(started.activation_id)
    (host.directory / "dead").write_text(f"{host.directory / place}\n")
    ended = host.confirm(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", reason)
    assert host.actions == ["test new", *begun, "boot old", "test old"]
    assert names(host) == ("old", "old", "old")


def test_flush_that_fails_after_the_boot_default_was_set_is_no_commit(host: Host) -> None:
    host.program("sync", SYNC)
    (host.directory / "boot").mkdir()
    started = host.start(host.toplevel("new", boot=f'echo "{host.directory}/boot" >$HOST/dead'))
    host.awaited(started.activation_id)
    ended = host.confirm(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "commit_failed")
    assert names(host) == ("old", "old", "old")


def test_flush_that_fails_before_the_activation_prevents_it(host: Host) -> None:
    host.program("sync", SYNC)
    (host.directory / "dead").write_text(f"{host.state}\n")
    with pytest.raises(GuardRefusal, match="cannot write to the state directory"):
        host.start(host.toplevel("new"))
    assert host.actions == []
