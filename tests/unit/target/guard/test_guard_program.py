# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's program on the host: sent once, told from what others have put there, and the same to the end."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from guard_host import DRIVER_BEGINS, SHELLS, Host, changed_program, wait_for

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import guard_program
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.requests import StartRequest
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import GuardRefusal

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
SHORT = 3800


def program_file(host: Host) -> Path:
    return host.state / "guard" / host.program_sent.name


def is_in_order(host: Host) -> bool:
    """The program is what its name says, root's alone, and there is nothing else."""
    file = program_file(host)
    name = hashlib.sha256(file.read_bytes()).hexdigest()
    return (
        name.startswith(file.name)
        and not file.is_symlink()
        and (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        and not file.parent.is_symlink()
    )


@EVERY_SHELL
def test_program_is_sent_once_and_verbs_are_short(host: Host) -> None:
    done = host.deploy(host.toplevel("new"))
    assert done.phase == "committed"
    # The first start on this host takes two round trips, and everything else one.
    verbs = [script.split(maxsplit=1)[0].decode() for script in host.sent]
    assert verbs == ["verb=start", "verb=start", "verb=status", "verb=confirm"]
    sizes = [len(script) for script in host.sent]
    assert sizes[1] > len(guard_program().text)
    assert max(size for number, size in enumerate(sizes) if number != 1) < 1.5 * SHORT
    assert max(sizes[2:]) < SHORT
    assert is_in_order(host)
    host.sent.clear()
    started = host.start(host.toplevel("newer"))
    host.awaited(started.activation_id)
    host.guard.hold(started.activation_id, seconds=100)
    host.abort(started.activation_id, "a health check said: " + "na\u00efve\n'" * 1000)
    host.recover(started.activation_id)
    host.probe(closure=True)
    assert len(host.sent) == 6
    assert max(map(len, host.sent)) < 1.5 * SHORT
    assert max(map(len, host.sent[1:5])) < SHORT


def test_unchanged_host_gets_the_program_as_well(host: Host) -> None:
    """Else every run that finds nothing to do would send it again."""
    assert host.start(host.current).unchanged
    assert host.start(host.current).unchanged
    assert len(host.sent) == 3
    assert is_in_order(host)


def test_probe_and_dry_activation_leave_no_program(host: Host) -> None:
    new = host.toplevel("new")
    host.probe(toplevel=new, dry_activate=True)
    assert host.start(new, action="dry-activate").exit_code == 0
    assert not host.state.exists()


@EVERY_SHELL
def test_records_link_the_program(host: Host) -> None:
    ids = [host.deploy(host.toplevel(name)).activation_id for name in ("one", "two")]
    links = [(host.record(found) / "guard.sh").stat().st_ino for found in ids]
    assert {*links, program_file(host).stat().st_ino} == {links[0]}


def test_record_has_a_copy_where_there_are_no_hard_links(host: Host) -> None:
    host.program(
        "ln", '#!/bin/sh\ncase $* in *guard.sh) exit 1 ;; esac\nexec /usr/bin/env -u x /bin/ln "$@"\n'
    )
    done = host.deploy(host.toplevel("new"))
    assert done.phase == "committed"
    copy = host.record(done.activation_id) / "guard.sh"
    assert copy.read_bytes() == program_file(host).read_bytes()
    assert copy.stat().st_nlink == 1


def tampered(host: Host) -> None:
    with program_file(host).open("a") as file:
        file.write("touch $HOST/hacked\n")


def writable_by_others(host: Host) -> None:
    tampered(host)
    program_file(host).chmod(0o666)


def writable_directory(host: Host) -> None:
    tampered(host)
    program_file(host).parent.chmod(0o777)


def a_link(host: Host) -> None:
    elsewhere = host.directory / "elsewhere"
    program_file(host).rename(elsewhere)
    program_file(host).symlink_to(elsewhere)


def a_directory(host: Host) -> None:
    program_file(host).unlink()
    program_file(host).mkdir()


def a_linked_directory(host: Host) -> None:
    elsewhere = host.directory / "others"
    program_file(host).parent.rename(elsewhere)
    program_file(host).parent.symlink_to(elsewhere)
    (elsewhere / program_file(host).name).write_text("touch $HOST/hacked\n")


def a_file_for_a_directory(host: Host) -> None:
    shutil.rmtree(program_file(host).parent)
    program_file(host).parent.write_text("")


def another_owner(host: Host) -> None:
    os.chown(program_file(host), 12345, -1)


def another_owner_of_the_directory(host: Host) -> None:
    os.chown(program_file(host).parent, 12345, -1)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@EVERY_SHELL
@pytest.mark.parametrize(
    "damage",
    [
        tampered,
        writable_by_others,
        writable_directory,
        a_link,
        a_directory,
        a_linked_directory,
        a_file_for_a_directory,
        pytest.param(another_owner, marks=as_root),
        pytest.param(another_owner_of_the_directory, marks=as_root),
    ],
)
def test_what_is_not_the_program_is_replaced_and_never_run(
    host: Host, damage: Callable[[Host], None]
) -> None:
    assert host.start(host.current).unchanged
    damage(host)
    host.sent.clear()
    assert host.probe().current == host.current
    assert host.deploy(host.toplevel("new")).phase == "committed"
    assert is_in_order(host)
    assert not (host.directory / "hacked").exists()
    host.sent.clear()
    host.probe()
    assert len(host.sent) == 1


def test_host_without_any_program_for_hashes_gets_it_each_time(host: Host) -> None:
    for name in ("sha256sum", "shasum", "openssl", "nix-hash"):
        host.program(name, "#!/bin/sh\nexit 127\n")
    for _time in range(2):
        host.sent.clear()
        assert host.start(host.current).unchanged
        assert len(host.sent) == 2


@pytest.mark.parametrize("tool", ["shasum", "openssl", "nix-hash"])
def test_other_programs_for_hashes_do_as_well(host: Host, tool: str) -> None:
    assert host.start(host.current).unchanged
    real = shutil.which("sha256sum")
    for name in ("sha256sum", "shasum", "openssl", "nix-hash"):
        works = f'for file; do :; done; exec {real} "$file"' if name == tool else "exit 127"
        host.program(name, f"#!/bin/sh\n{works}\n")
    host.sent.clear()
    assert host.start(host.current).unchanged
    assert len(host.sent) == 1


@as_root
@pytest.mark.parametrize(
    ("place", "damage"),
    [
        ("var/lib", lambda path: path.chmod(0o777)),
        ("var", lambda path: path.chmod(0o775)),
        ("var", lambda path: os.chown(path, 12345, -1)),
        ("var/lib/nixferry", lambda path: path.chmod(0o707)),
        ("var/lib/nixferry", lambda path: os.chown(path, 12345, -1)),
    ],
)
def test_state_that_others_can_change_is_refused(
    host: Host, place: str, damage: Callable[[Path], None]
) -> None:
    done = host.deploy(host.toplevel("new"))
    damage(host.directory / place)
    for ask in (
        lambda: host.start(host.toplevel("newer")),
        host.probe,
        lambda: host.status(done.activation_id),
    ):
        with pytest.raises(NixferryError, match=r"can write to|others write to|another user") as caught:
            ask()
        assert "chmod go-w" in caught.value.remedy


@as_root
def test_state_that_a_link_leads_to_is_looked_at_where_it_is(host: Host) -> None:
    """Hosts that forget everything but some directories have such links."""
    kept = host.directory / "persist/nixferry"
    kept.mkdir(parents=True, mode=0o700)
    host.state.symlink_to(kept)
    assert host.deploy(host.toplevel("new")).phase == "committed"
    kept.parent.chmod(0o777)
    with pytest.raises(NixferryError, match="every user can write to /persist"):
        host.start(host.toplevel("newer"))


# --- versions ---------------------------------------------------------------------------------------------------------

NEWER = "say_log() { :; }\nsay_status() { say phase committed; say note newer; }"


@EVERY_SHELL
def test_version_that_began_an_activation_ends_it(host: Host) -> None:
    """The collection on the controller is upgraded between the activation and the confirmation."""
    started = host.start(host.toplevel("new"))
    host.program_sent = changed_program(NEWER)
    host.sent.clear()
    waiting = host.awaited(started.activation_id)
    assert (waiting.phase, waiting.notes) == ("awaiting-confirmation", ())
    assert "newer" not in host.guard.hold(started.activation_id, seconds=50).notes
    assert host.confirm(started.activation_id).phase == "committed"
    assert max(map(len, host.sent)) < SHORT
    # And the next is the newer one's.
    assert "newer" in host.start(host.toplevel("newer")).notes


def test_interrupted_activation_of_another_version_is_undone_by_that_one(host: Host) -> None:
    # A version whose nixos driver keeps a diary.
    host.program_sent = changed_program(
        'nixos_roll_back() { echo older >>"$HOST/diary"; "$OLD_SYSTEM/bin/switch-to-configuration" test; }',
        DRIVER_BEGINS,
    )
    started = host.start(host.toplevel("new"))
    host.awaited(started.activation_id)
    host.kill_everything()
    host.program_sent = guard_program()
    assert host.deploy(host.toplevel("newer")).phase == "committed"
    assert (host.directory / "diary").read_text() == "older\n"
    assert (host.record(started.activation_id) / "phase").read_text() == "rolled-back\n"


def test_record_whose_program_is_gone_is_answered_by_the_newest(host: Host) -> None:
    done = host.deploy(host.toplevel("new"))
    (host.record(done.activation_id) / "guard.sh").unlink()
    assert host.status(done.activation_id).phase == "committed"


def test_versions_that_no_record_has_are_removed(host: Host) -> None:
    other = [changed_program(f"# {number}") for number in range(3)]
    ids = []
    for number, program in enumerate(other):
        host.program_sent = program
        ids.append(host.deploy(host.toplevel(f"v{number}")).activation_id)
    files = host.state / "guard"
    assert {path.name for path in files.iterdir()} == {program.name for program in other}
    shutil.rmtree(host.record(ids[0]))
    (files / "garbage").write_text("")
    host.program_sent = other[2]
    assert host.deploy(host.toplevel("v4")).phase == "committed"
    assert {path.name for path in files.iterdir()} == {other[1].name, other[2].name}


def test_version_that_another_deploy_has_removed_is_sent_again(host: Host) -> None:
    """Another deployer may replace the program between the look at it and the lock."""
    assert host.start(host.current).unchanged
    file = program_file(host)
    # What runs between the two.
    once = f'if [ -e {file} ] && [ ! -e "$HOST/once" ]; then touch "$HOST/once"; rm {file}; fi\n'
    host.program("chmod", f'#!/bin/sh\n{once}exec /bin/chmod "$@"\n')
    assert host.deploy(host.toplevel("new")).phase == "committed"
    assert is_in_order(host)


def test_simultaneous_first_starts_do_not_disturb_each_other(host: Host) -> None:
    """All of them find no program, and put it there; one of them has the lock."""
    requests = [host.request(host.toplevel(f"new{number}")) for number in range(6)]

    def start(request: StartRequest) -> str:
        try:
            return host.guard.start(request).phase
        except NixferryError as error:
            return error.cause

    with ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(start, requests))
    assert len([answer for answer in answers if "another deploy to this host is running" in answer]) == 5
    assert is_in_order(host)


# --- a state directory that takes nothing -----------------------------------------------------------------------------


# Busybox has a mkdir of its own.
@pytest.mark.parametrize("host", ["dash", "bash"], indirect=True)
@pytest.mark.parametrize("known", [False, True])
def test_nothing_begins_with_a_state_directory_that_takes_nothing(host: Host, known: bool) -> None:
    old = host.current
    if known:
        assert host.start(host.current).unchanged
    # As on a file system that is mounted read-only.
    host.program("mkdir", '#!/bin/sh\ncase $* in *nixferry*) exit 1 ;; esac\nexec /bin/mkdir "$@"\n')
    with pytest.raises(NixferryError, match="cannot make") as caught:
        host.start(host.toplevel("new"))
    assert "Nothing was changed" in caught.value.remedy
    assert (host.current, host.actions) == (old, [])
    assert host.probe().current == old


@as_root
def test_a_host_that_lacks_the_program_is_not_asked_twice(host: Host) -> None:
    """The first deploy of a system that the host lacks: a start that is refused, the copy, a start."""
    guard = host.guard
    with pytest.raises(GuardRefusal, match="not in this host's store"):
        guard.start(host.request(str(host.directory / "store/absent")))
    assert len(host.sent) == 2
    started = guard.start(host.request(host.toplevel("new")))
    assert len(host.sent) == 3
    guard.status(started.activation_id)
    assert len(host.sent[-1]) < SHORT


def test_nothing_begins_with_a_full_state_directory(host: Host) -> None:
    old = host.current
    (host.directory / "var/lib/nixferry").mkdir(mode=0o700)
    # Every write of more than a little fails.
    host.program_sent = changed_program(
        'printf() { case $1 in %[0-9]*s) return 1 ;; *) command printf "$@" ;; esac; }'
    )
    with pytest.raises(NixferryError, match="cannot write to the state directory"):
        host.start(host.toplevel("new"))
    assert (host.current, host.actions) == (old, [])
    assert not list(host.state.glob("activations/*"))
    assert not list(host.state.glob("guard/*"))


# --- requests ---------------------------------------------------------------------------------------------------------


def test_request_that_is_too_long_begins_nothing(host: Host) -> None:
    with pytest.raises(NixferryError, match="longer than"):
        host.start(host.toplevel("new"), deployer="\u00e9" * 50_000)
    assert not host.state.exists()


@EVERY_SHELL
def test_value_that_breaks_its_rule_begins_nothing(host: Host) -> None:
    new = host.toplevel("new")
    for wrong in (
        {"deployer": "two\nlines"},
        {"specialisation": "../../etc"},
        {"revision": "a b"},
        {"environment": (("A B", "c"),)},
        {"toplevel": "relative"},
    ):
        with pytest.raises(NixferryError, match=r"the value of \w+ is not one that is allowed"):
            host.start(**{"toplevel": new, **wrong})  # type: ignore[arg-type]
    assert not host.state.exists()


@EVERY_SHELL
def test_hostile_values_reach_the_record_and_the_programs_as_they_are(host: Host) -> None:
    hostile = 'it\'s "$(touch $HOST/hacked)" `touch $HOST/hacked`; % %41 na\u00efve \\'
    seen = 'printf %s "$HOSTILE" >"$HOST/seen"'
    variables = (("HOSTILE", f"{hostile}\n\nEND=1\n"), ("LONG", "x" * 100_000))
    started = host.start(host.toplevel("new", test=seen), deployer=hostile, environment=variables)
    assert host.awaited(started.activation_id).deployer == hostile
    assert (host.directory / "seen").read_text() == variables[0][1]
    done = host.abort(started.activation_id, f"{hostile}\nsecond line")
    assert done.message == f"aborted: {hostile}\nsecond line"
    assert not (host.directory / "hacked").exists()
    wait_for(lambda: not (host.directory / "run/nixferry/lock").exists(), "the end of it")
