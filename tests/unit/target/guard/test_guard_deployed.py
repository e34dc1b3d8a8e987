# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host remembers of its deploys, and whose work it does not let go unknowingly."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from guard_host import SHELLS, Host

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_record import (
    DeployRecord,
    OtherRevision,
)

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
FIRST, SECOND = "1" * 40, "2" * 40


def records(host: Host) -> Path:
    return host.state / "deployed" / str(host.profile).replace("/", "%2f")


def known(host: Host) -> DeployRecord:
    found = host.probe().deployed
    assert found is not None
    return found


@EVERY_SHELL
def test_a_deploy_is_recorded(host: Host) -> None:
    begin = int(time.time())
    new = host.toplevel("new")
    done = host.deploy(new, revision=f"{FIRST}-dirty", deployer="ann lee@laptop")
    assert done.phase == "committed"
    record = known(host)
    assert begin <= record.time <= time.time()
    assert record == DeployRecord(
        2, new, record.time, done.activation_id, "switch", f"{FIRST}-dirty", "ann lee@laptop"
    )
    probe = host.probe()
    assert (probe.deployed_last, probe.deploys) == (2, (record,))


@EVERY_SHELL
def test_the_record_lives_as_long_as_its_generation(host: Host) -> None:
    for number in range(2, 5):
        host.deploy(host.toplevel(f"new{number}"), revision=FIRST)
    for record in (host.state / "activations").iterdir():
        assert record.is_dir()
    Path(f"{host.profile}-3-link").unlink()
    host.deploy(host.toplevel("new5"), revision=FIRST)
    assert sorted(path.name for path in records(host).iterdir()) == ["2", "4", "5", "history", "last"]


def test_what_was_not_committed_is_not_recorded(host: Host) -> None:
    host.deploy(host.toplevel("good"), revision=FIRST)
    before = host.probe().deploys
    assert host.deploy(host.toplevel("tried"), revision=FIRST, action="test").phase == "committed"
    assert host.deploy(host.toplevel("bad", boot="exit 1"), revision=FIRST).phase == "rolled-back"
    broken = host.toplevel("broken", test="exit 2")
    assert host.ended(host.start(broken, revision=FIRST).activation_id).phase == "rolled-back"
    assert host.probe().deploys == before
    assert known(host).toplevel.endswith("good")
    assert not (records(host) / "next").exists()


def test_there_is_no_moment_without_a_record(host: Host) -> None:
    """The power fails when the profile is set, and the host comes back with the new system."""
    new = host.toplevel("new", boot='echo "$0" >/dev/null; : >"$HOST/booting"; sleep 600')
    started = host.start(new, revision=FIRST)
    host.awaited(started.activation_id)
    (host.record(started.activation_id) / "confirm").touch()
    deadline = time.monotonic() + 20
    while not (host.directory / "booting").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert known(host).toplevel == new
    assert known(host).revision == FIRST
    host.kill_everything()


def test_a_damaged_record_is_no_record(host: Host) -> None:
    new = host.toplevel("new")
    host.deploy(new, revision=FIRST)
    for damage in (b"", b"\0\xff\n\n", f"{new} when?\n".encode(), f"{new} {'9' * 30} a b c d\n".encode()):
        (records(host) / "2").write_bytes(damage)
        (records(host) / "last").write_bytes(damage)
        assert host.probe().deployed is None
    assert host.deploy(host.toplevel("newer"), revision=SECOND).phase == "committed"


def test_the_records_may_be_unwritable(host: Host) -> None:
    host.state.mkdir(parents=True)
    (host.state / "deployed").write_text("in the way")
    done = host.deploy(host.toplevel("new"), revision=FIRST)
    assert done.phase == "committed"
    assert any("could not be recorded" in note for note in done.notes)


@EVERY_SHELL
def test_another_revision_is_refused_until_it_is_known(host: Host) -> None:
    first, second = host.toplevel("first"), host.toplevel("second")
    host.deploy(first, revision=FIRST, deployer="ann@laptop")
    with pytest.raises(OtherRevision) as refusal:
        host.start(second, revision=SECOND)
    assert refusal.value.record == known(host)
    assert refusal.value.record.deployer == "ann@laptop"
    assert host.current == host.profile_target == first
    # Neither a lock nor an activation is left.
    assert len(list((host.state / "activations").iterdir())) == 1
    with pytest.raises(OtherRevision):
        host.start(second, revision=SECOND, known_revision=SECOND)
    done = host.deploy(second, revision=SECOND, known_revision=FIRST)
    assert (done.phase, done.notes) == ("committed", ())


@pytest.mark.parametrize(
    "options",
    [
        {"revision": FIRST},
        {"revision": f"{FIRST}-dirty"},
        {"revision": ""},
        {"revision": SECOND, "action": "dry-activate"},
    ],
    ids=["the same", "modified", "not known", "dry"],
)
def test_what_is_not_compared(host: Host, options: dict[str, str]) -> None:
    host.deploy(host.toplevel("first"), revision=FIRST, deployer="ann@laptop")
    assert host.start(host.toplevel("second"), **options).notes == ()


def test_a_deploy_over_an_unknown_revision_is_not_refused(host: Host) -> None:
    host.deploy(host.toplevel("first"))
    assert known(host).revision == ""
    assert host.deploy(host.toplevel("second"), revision=SECOND).phase == "committed"


def test_an_unchanged_host_is_left_alone_whatever_the_revision(host: Host) -> None:
    first = host.toplevel("first")
    host.deploy(first, revision=FIRST)
    assert host.start(first, revision=SECOND).unchanged
    assert known(host).revision == FIRST


def test_force_replaces_any_revision_and_says_so(host: Host) -> None:
    host.deploy(host.toplevel("first"), revision=FIRST, deployer="ann@laptop")
    done = host.deploy(host.toplevel("second"), revision=SECOND, any_revision=True)
    assert done.phase == "committed"
    assert [note for note in done.notes if FIRST in note and "ann@laptop" in note]


def test_the_modified_tree_of_another_user_is_named(host: Host) -> None:
    host.deploy(host.toplevel("first"), revision=f"{FIRST}-dirty", deployer="ann@laptop")
    done = host.deploy(host.toplevel("second"), revision=FIRST, deployer="ann@laptop")
    assert done.notes == ()
    host.deploy(host.toplevel("third"), revision=f"{FIRST}-dirty", deployer="ann@laptop")
    done = host.deploy(host.toplevel("fourth"), revision=SECOND, known_revision=FIRST, deployer="bob@desk")
    assert [note for note in done.notes if "modified working tree of ann@laptop" in note]


@EVERY_SHELL
def test_going_back_is_recorded_with_the_revision_gone_back_to(host: Host) -> None:
    first = host.toplevel("first")
    host.deploy(first, revision=FIRST, deployer="ann@laptop")
    host.deploy(host.toplevel("second"), revision=SECOND, known_revision=FIRST)
    assert host.deploy(first, is_rollback=True, deployer="bob@desk").phase == "committed"
    record = known(host)
    assert (record.action, record.revision, record.deployer) == ("rollback", FIRST, "bob@desk")
    assert next(found.deployer for found in host.probe().deploys) == "ann@laptop"


def test_another_tool_is_noted_and_does_not_stop_a_deploy(host: Host) -> None:
    host.deploy(host.toplevel("first"), revision=FIRST)
    host.run_system(host.toplevel("by-hand"))
    probe = host.probe()
    assert (probe.deployed, probe.deployed_last, probe.generation) == (None, 2, 3)
    done = host.deploy(host.toplevel("second"), revision=SECOND)
    assert done.phase == "committed"
    assert [note for note in done.notes if "changed by something else" in note]


def test_a_host_that_never_saw_a_deploy_has_no_records(host: Host) -> None:
    probe = host.probe()
    assert (probe.deployed, probe.deployed_last, probe.deploys) == (None, None, ())


@EVERY_SHELL
def test_what_a_run_deployed_is_remembered_when_its_generation_is_gone(host: Host) -> None:
    first, second = host.toplevel("first"), host.toplevel("second")
    host.deploy(first, deploy="20260921T141300-00000001", deployer="ann lee@laptop")
    record = known(host)
    assert (record.deploy, record.deployer) == ("20260921T141300-00000001", "ann lee@laptop")
    # A deploy of what the profile's newest generation holds already makes no other one.
    host.deploy(first, deploy="20260921T141500-00000002", force=True)
    host.deploy(second, deploy="20260921T141600-00000003", revision=FIRST, deployer="")
    Path(f"{host.profile}-2-link").unlink()
    host.deploy(host.toplevel("third"), revision=FIRST)
    probe = host.probe(history=True)
    assert [(found.generation, found.toplevel, found.deploy[-1:]) for found in probe.history[:3]] == [
        (2, first, "1"),
        (2, first, "2"),
        (3, second, "3"),
    ]
    assert probe.history[3].deploy == ""
    assert [found.generation for found in probe.deploys] == [3, 4]
    assert host.probe().history == ()


@EVERY_SHELL
def test_the_history_has_an_end_and_survives_damage(host: Host) -> None:
    host.deploy(host.toplevel("first"))
    history = records(host) / "history"
    line = history.read_text()
    history.write_text(line * 400 + line[:30])
    host.deploy(host.toplevel("second"), deploy="20260921T141300-00000001")
    lines = history.read_text().splitlines()
    assert len(lines) == 200
    found = host.probe(history=True).history
    assert len(found) == 199
    assert (found[-1].generation, found[-1].deploy) == (3, "20260921T141300-00000001")
