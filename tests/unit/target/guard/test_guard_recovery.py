# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power cuts, locks and other deployers: whatever happens, the next deploy works."""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from guard_host import SHELLS, Host, wait_for

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import profile_kind
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.requests import StartRequest
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)


def reached(host: Host, activation_id: str, text: str) -> None:
    """Wait until the activation's program has left ``text`` in $HOST/reached."""
    marker = host.directory / "reached"
    wait_for(lambda: marker.exists() and text in marker.read_text(), f"{activation_id} to reach {text}")


def systems(host: Host) -> tuple[str, str, str]:
    """The names of what runs, what boots and what the profile points to."""
    return Path(host.current).name, Path(host.boots).name, Path(host.profile_target).name


@EVERY_SHELL
def test_power_cut_during_the_activation(host: Host) -> None:
    started = host.start(host.toplevel("new", test="echo half >$HOST/reached; sleep 60"))
    reached(host, started.activation_id, "half")
    host.power_cut()
    assert systems(host) == ("old", "old", "old")
    status = host.status(started.activation_id, "activating")
    assert (status.phase, status.interrupted) == ("activating", True)
    assert host.probe().interrupted == (started.activation_id,)

    recovered = host.recover(started.activation_id)
    assert (recovered.phase, recovered.reason, recovered.interrupted) == ("rolled-back", "interrupted", False)
    assert host.actions == ["test new"], (
        "the boot has brought the old system back: nothing is activated again"
    )
    assert host.recover(started.activation_id) == recovered


def test_power_cut_while_waiting_does_not_block_the_next_deploy(host: Host) -> None:
    new = host.toplevel("new")
    first = host.start(new)
    host.awaited(first.activation_id)
    host.power_cut()
    assert systems(host) == ("old", "old", "old")
    second = host.start(new)
    assert f"the activation {first.activation_id} was interrupted: it is rolled-back now" in second.notes
    host.awaited(second.activation_id)
    assert host.confirm(second.activation_id).phase == "committed"
    assert host.status(first.activation_id).reason == "interrupted"
    assert systems(host) == ("new", "new", "new")


def commit_cut(host: Host, boot: str) -> GuardStatus:
    """Cut the power when the boot loader program of the system ``new`` has run ``boot``."""
    started = host.start(
        host.toplevel("new", boot=f"{boot}; echo boot >$HOST/reached; [ -e $HOST/again ] || sleep 60")
    )
    host.awaited(started.activation_id)
    (host.record(started.activation_id) / "confirm").touch()
    reached(host, started.activation_id, "boot")
    host.power_cut()
    (host.directory / "again").touch()
    return started


@EVERY_SHELL
def test_power_cut_between_profile_and_boot_loader_restores_the_old_generation(host: Host) -> None:
    started = commit_cut(host, ":")
    assert systems(host) == ("old", "old", "new")
    recovered = host.recover(started.activation_id)
    assert (recovered.phase, recovered.boot_default) == ("rolled-back", "old")
    assert systems(host) == ("old", "old", "old")
    assert host.actions == ["test new", "boot new", "boot old"]
    assert not Path(f"{host.profile}-2-link").is_symlink()


def test_power_cut_after_the_boot_loader_finishes_the_commit(host: Host) -> None:
    started = commit_cut(host, 'echo "$HOST/store/new" >$HOST/boot-default')
    assert systems(host) == ("new", "new", "new")
    recovered = host.recover(started.activation_id)
    assert (recovered.phase, recovered.boot_default) == ("committed", "new")
    assert host.actions == ["test new", "boot new", "boot new"]
    assert any("the commit is finished now" in note for note in recovered.notes)


def test_power_cut_during_the_commit_and_another_tool_afterwards(host: Host) -> None:
    """What was deployed by other means since then is not taken away."""
    started = commit_cut(host, ":")
    by_hand = host.toplevel("by-hand")
    host.run_system(by_hand)
    recovered = host.recover(started.activation_id)
    assert (recovered.phase, recovered.other_system) == ("failed", by_hand)
    assert systems(host) == ("by-hand", "by-hand", "by-hand")
    assert host.actions == ["test new", "boot new"]


def test_power_cut_during_the_roll_back_of_a_commit(host: Host) -> None:
    old = Path(host.current) / "bin/switch-to-configuration"
    old.write_text(
        old.read_text().replace("boot)", 'boot) echo back >$HOST/reached; [ -e "$HOST/again" ] || sleep 60')
    )
    started = host.start(host.toplevel("new", boot="echo $HOST/store/new >$HOST/boot-default; exit 1"))
    host.awaited(started.activation_id)
    (host.record(started.activation_id) / "confirm").touch()
    reached(host, started.activation_id, "back")
    host.power_cut()
    (host.directory / "again").touch()
    assert systems(host) == ("new", "new", "old")
    assert host.recover(started.activation_id).phase == "rolled-back"
    assert systems(host) == ("old", "old", "old")


def test_power_cut_of_a_profile_without_boot_default_is_rolled_back_afterwards(host: Host) -> None:
    kind = replace(
        profile_kind('echo "$(basename "$TOPLEVEL")" >>"$HOST/commands"'), profile=str(host.profile)
    )
    started = host.start(host.toplevel("new"), kind=kind)
    host.awaited(started.activation_id)
    host.power_cut()
    assert host.recover(started.activation_id).phase == "rolled-back"
    assert Path(host.profile_target).name == "old"
    assert (host.directory / "commands").read_text().split() == ["new", "old"]


def test_state_that_a_power_cut_has_emptied_does_not_block_the_next_deploy(host: Host) -> None:
    started = host.start(host.toplevel("new"))
    host.awaited(started.activation_id)
    host.power_cut()
    record = host.record(started.activation_id)
    shutil.rmtree(record / "request")
    for name in ("phase", "worker", "boot", "history"):
        (record / name).write_text("")
    garbage = host.state / "activations/garbage"
    garbage.mkdir()
    (garbage / "phase").write_bytes(b"\xff\x00nonsense\n")
    (host.state / "activations/a file").write_text("")
    (host.state / "new").mkdir()
    locks = host.directory / "run/nixferry"
    locks.mkdir()
    (locks / "lock").write_bytes(b"\x00\xff not a lock")
    assert host.deploy(host.toplevel("newer")).phase == "committed"


def test_lock_that_is_a_directory_is_put_aside(host: Host) -> None:
    (host.directory / "run/nixferry/lock").mkdir(parents=True)
    assert host.deploy(host.toplevel("new")).phase == "committed"


@EVERY_SHELL
def test_live_lock_names_its_holder(host: Host) -> None:
    first = host.start(host.toplevel("new"), deployer="alice@laptop: it's 5 o'clock")
    host.awaited(first.activation_id)
    with pytest.raises(NixferryError) as caught:
        host.start(host.toplevel("other"))
    assert f"alice@laptop: it's 5 o'clock (activation {first.activation_id} for" in caught.value.cause
    holder = host.probe().lock_holder
    assert holder is not None
    assert (holder.activation_id, holder.deployer) == (first.activation_id, "alice@laptop: it's 5 o'clock")
    assert host.confirm(first.activation_id).phase == "committed"
    assert host.probe().lock_holder is None


def test_lock_of_an_earlier_boot_is_stale_even_if_the_process_number_is_taken(host: Host) -> None:
    locks = host.directory / "run/nixferry"
    locks.mkdir()
    start_time = Path("/proc/self/stat").read_text().rpartition(") ")[2].split()[19]
    (locks / "lock").write_text(f"20200101T000000-0 {os.getpid()} {start_time} another-boot:1 1577836800\n")
    assert host.deploy(host.toplevel("new")).phase == "committed"


def test_claim_of_a_deployer_that_died_while_taking_over_is_stale_too(host: Host) -> None:
    locks = host.directory / "run/nixferry"
    locks.mkdir()
    (locks / "lock").write_text("dead-1 999999 1 some-boot:1 1577836800\n")
    (locks / "lock.after.dead-1_999999_1_some-boot_1_1577836800").write_text(
        "dead-2 999998 1 some-boot:1 1577836801\n"
    )
    assert host.deploy(host.toplevel("new")).phase == "committed"


@pytest.mark.parametrize("stale", [False, True])
def test_of_simultaneous_starts_exactly_one_wins(host: Host, stale: bool) -> None:
    if stale:
        locks = host.directory / "run/nixferry"
        locks.mkdir()
        (locks / "lock").write_text("dead-1 999999 1 some-boot:1 1577836800\n")
    requests = [host.request(host.toplevel(f"new{number}")) for number in range(6)]

    def start(request: StartRequest) -> GuardStatus | NixferryError:
        try:
            return host.guard.start(request)
        except NixferryError as error:
            return error

    with ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(start, requests))
    winners = [answer for answer in answers if isinstance(answer, GuardStatus)]
    losers = [answer for answer in answers if isinstance(answer, NixferryError)]
    assert len(winners) == 1, [str(answer) for answer in answers]
    assert all("another deploy to this host is running" in loser.cause for loser in losers)
    assert host.awaited(winners[0].activation_id).phase == "awaiting-confirmation"
    assert len(host.actions) == 1


def test_old_activations_are_pruned_but_never_an_unfinished_one(host: Host) -> None:
    for number in range(25):
        record = host.record(f"20200101T0000{number:02}-0")
        record.mkdir(parents=True)
        (record / "phase").write_text("committed\n" if number else "activating\n")
        (record / "worker").write_text(worker_line(host))
        (record / "boot").write_text(worker_line(host).split()[3] + "\n")
        os.utime(record, (1577836800 + number, 1577836800 + number))
    unfinished = host.record("20200101T000000-0")
    host.deploy(host.toplevel("new"))
    left = sorted(path.name for path in (host.state / "activations").iterdir())
    assert len(left) == 21
    assert left[0] == "20200101T000000-0"
    assert (unfinished / "phase").read_text() == "activating\n"


def worker_line(host: Host) -> str:
    """A claim by this very process, which lives."""
    boot = (host.directory / "proc/sys/kernel/random/boot_id").read_text().strip()
    first = Path("/proc/1/stat").read_text().rpartition(") ")[2].split()[19]
    own = Path("/proc/self/stat").read_text().rpartition(") ")[2].split()[19]
    return f"20200101T000000-0 {os.getpid()} {own} {boot}:{first} 1577836800\n"


def test_ordinary_user_keeps_the_state_at_home(host: Host) -> None:
    host.program("id", "#!/bin/sh\ncase $1 in -[ug]) echo 1000 ;; *) echo other ;; esac\n")
    profile = host.directory / "home/.local/state/nix/profiles/app"
    profile.parent.mkdir(parents=True)
    kind = replace(profile_kind("echo $PROFILE >$HOST/where"), profile="~/.local/state/nix/profiles/app")
    new = host.toplevel("new")
    started = host.start(new, kind=kind)
    waiting = host.awaited(started.activation_id)
    state = host.directory / "home/.local/state/nixferry"
    assert Path(waiting.log_path).is_relative_to(state)
    assert (state / "activations" / started.activation_id / "root-new").readlink() == Path(new)
    assert (state / "lock").exists()
    assert not host.state.exists()
    assert host.confirm(started.activation_id).profile == str(profile)
    assert (host.directory / "where").read_text().strip() == str(profile)
    assert os.path.realpath(profile) == new


def test_what_a_power_cut_during_a_test_of_the_disk_has_left_goes(host: Host) -> None:
    host.state.mkdir()
    (host.state / "test.123").write_text("a copy of the guard")
    assert host.deploy(host.toplevel("new")).phase == "committed"
    assert not list(host.state.glob("test.*"))


@EVERY_SHELL
def test_committed_system_whose_record_became_garbage_is_not_undone(host: Host) -> None:
    first = host.deploy(host.toplevel("new"))
    for name in ("phase", "boot", "worker", "request/timeout_activation"):
        (host.record(first.activation_id) / name).write_bytes(b"\xff\x00garbage $(false) ' \" *")
    shutil.rmtree(host.directory / "run/nixferry")
    (host.directory / "run/nixferry/lock/garbage").mkdir(parents=True)
    (host.state / "activations/20200101T000000-nothing").mkdir()
    (host.state / "activations/not an id").mkdir()
    second = host.deploy(host.toplevel("newer"))
    assert second.phase == "committed"
    assert Path(second.old_system).name == "new"
    assert not [note for note in second.notes if "interrupted" in note]


@EVERY_SHELL
@pytest.mark.parametrize("place", ["", "activations", "contact"])
def test_what_lies_in_the_place_of_the_state_is_set_aside(host: Host, place: str) -> None:
    path = host.state / place
    if place == "contact":
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text("of another user")
    assert host.deploy(host.toplevel("new")).phase == "committed"
    assert len(list(path.parent.glob(f"{path.name}.garbage.*"))) == 1
    assert path.is_dir() == (place != "contact")


def test_roots_of_a_failed_activation_go_when_another_is_committed(host: Host) -> None:
    roots = host.directory / "nix/var/nix/gcroots/nixferry"
    old = Path(host.current) / "bin/switch-to-configuration"
    text = old.read_text()
    old.write_text(text.replace("test)", "test) exit 1;"))
    failed = host.ended(host.start(host.toplevel("new", test="exit 2")).activation_id)
    assert failed.phase == "failed"
    assert len(list(roots.iterdir())) == 2
    old.write_text(text)
    host.deploy(host.toplevel("newer"))
    assert list(roots.iterdir()) == []


def test_what_the_next_boot_needs_reaches_the_disk_in_order(host: Host) -> None:
    """The record before the profile, the profile before the boot loader, and all of it before the end is told."""
    (host.directory / "boot").mkdir()
    links = "$(readlink $HOST/profiles/system) $(basename $(cat $HOST/boot-default))"
    say = f'echo "$place {links} $(cat $HOST/var/lib/nixferry/activations/*/phase)"'
    host.program(
        "sync", f'#!/bin/sh\n[ "$1" = -f ] || exit\nshift\nfor place; do {say} >>"$HOST/synced"; done\n'
    )
    assert host.deploy(host.toplevel("new")).phase == "committed"
    home = str(host.directory)
    synced = [line.removeprefix(home) for line in (host.directory / "synced").read_text().splitlines()]
    before, after = "system-1-link old", "system-2-link new"
    assert synced[-8:] == [
        f"/var/lib/nixferry {before} committing",
        f"/profiles {before} committing",
        f"/boot {before} committing",
        "/profiles/system system-2-link old committing",
        f"/var/lib/nixferry {after} committing",
        f"/profiles {after} committing",
        f"/boot {after} committing",
        # Only then is the copy of the record in main memory forgotten.
        f"/var/lib/nixferry {after} committed",
    ]


@pytest.mark.parametrize("host", list(SHELLS), indirect=True)
def test_no_process_outlives_a_record_that_is_deleted(host: Host) -> None:
    """A user who removes the state by hand removes the dead-man with it."""
    started = host.start(host.toplevel("new"))
    host.awaited(started.activation_id)
    worker = host.worker(started.activation_id)
    shutil.rmtree(host.record(started.activation_id))
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: host.processes() == [], "the end of all processes")
