# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state directory takes no files any more: the old system comes back all the same, and the report is true."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from guard_disk import MOST_SHELLS, assert_usable_again, names, set_writable
from guard_host import SHELLS, Host, changed_program, wait_for

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import GUARD_PARTS, target_text

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)


@MOST_SHELLS
def test_disk_that_is_lost_while_the_guard_waits(plain: Host) -> None:
    started = plain.start(plain.toplevel("new"), timeout_confirm=8)
    assert plain.awaited(started.activation_id).phase == "awaiting-confirmation"
    set_writable(plain, False)
    ended = plain.ended(started.activation_id)
    assert (ended.phase, ended.reason, ended.interrupted) == ("rolled-back", "not_confirmed", False)
    assert "takes no files" in ended.message
    assert plain.actions == ["test new", "test old"]
    assert names(plain) == ("old", "old", "old")
    assert plain.probe().interrupted == ()
    assert_usable_again(plain, started.activation_id)


@MOST_SHELLS
def test_confirmation_on_a_lost_disk_goes_back_at_once(plain: Host) -> None:
    """What a power cut would forget is not committed."""
    started = plain.start(plain.toplevel("new"), timeout_confirm=1000)
    plain.awaited(started.activation_id)
    set_writable(plain, False)
    ended = plain.confirm(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "state_unwritable")
    assert plain.actions == ["test new", "test old"]
    assert names(plain) == ("old", "old", "old")
    assert_usable_again(plain, started.activation_id)


def test_disk_that_is_lost_during_the_activation(plain: Host) -> None:
    new = plain.toplevel("new", test="touch $HOST/half; until [ -e $HOST/lost ]; do sleep 0.03; done; exit 1")
    started = plain.start(new)
    wait_for((plain.directory / "half").exists, "the activation to begin")
    set_writable(plain, False)
    (plain.directory / "lost").touch()
    ended = plain.ended(started.activation_id)
    assert (ended.phase, ended.reason, ended.exit_code) == ("rolled-back", "activation_failed", 1)
    assert names(plain) == ("old", "old", "old")
    assert_usable_again(plain, started.activation_id)


@MOST_SHELLS
def test_guard_killed_on_a_lost_disk_is_replaced_once(plain: Host) -> None:
    """Several rescuers may come: the unit that has ended, the dead-man, and a verb. One of them rolls back."""
    old = Path(plain.current) / "bin/switch-to-configuration"
    old.write_text(old.read_text().replace("test)", "test) sleep 1;"))
    started = plain.start(plain.toplevel("new"), timeout_confirm=1000)
    plain.awaited(started.activation_id)
    set_writable(plain, False)
    os.kill(plain.worker(started.activation_id), signal.SIGKILL)
    plain.recover(started.activation_id)
    ended = plain.ended(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "guard_killed")
    assert plain.actions == ["test new", "test old"]
    assert names(plain) == ("old", "old", "old")
    assert_usable_again(plain, started.activation_id)


@EVERY_SHELL
def test_files_that_are_kept_for_a_disk_without_inodes(host: Host) -> None:
    """Every new file of the record fails but for those that a rename makes."""
    host.program_sent = changed_program(
        'put_new() { false; }; put_once() { if [ -e "${DIR:-}/worker" ]; then return 1; fi; '
        'printf "%s\\n" "$2" >"$1.new" && mv -f "$1.new" "$1"; }'
    )
    started = host.start(host.toplevel("new"))
    assert host.awaited(started.activation_id).phase == "awaiting-confirmation"
    assert len(list((host.record(started.activation_id) / "spare").iterdir())) < 20
    assert host.confirm(started.activation_id).phase == "committed"
    assert names(host) == ("new", "new", "new")
    assert not (host.record(started.activation_id) / "spare").exists()
    assert not (host.directory / "run/nixferry/unsaved").exists()


@EVERY_SHELL
def test_lock_that_cannot_be_written_leaves_no_file(host: Host) -> None:
    """Files may be made but hold nothing: a file size limit stands in for a full /run."""
    parts = "\n".join(target_text(part) for part in GUARD_PARTS if part.startswith("lib/"))
    script = f"""{parts}
trap '' XFSZ
ulimit -f 0
mkdir "$HOST/locks"
ID=20260101T000000-abcdef01
claim "$HOST/locks/lock" owner_lives
echo "claim $?"
put_once "$HOST/locks/deployer" tester
echo "put $?"
ls -A "$HOST/locks"
"""
    shell = [str(host.programs / "guard-shell"), "-c", script]
    done = subprocess.run(shell, capture_output=True, text=True, env=host.env(), check=False)
    assert done.stdout.splitlines() == ["claim 2", "put 1"], done.stderr


@EVERY_SHELL
@pytest.mark.parametrize("attended", [False, True])
def test_lock_that_cannot_be_written_prevents_no_roll_back(host: Host, attended: bool) -> None:
    """/run takes no file. A deploy is refused then, but what was begun is undone, unless another process does that."""
    started = host.start(host.toplevel("new"), timeout_confirm=1000)
    host.awaited(started.activation_id)
    if not attended:
        host.power_cut()
    locks = host.directory / "run/nixferry"
    shutil.rmtree(locks, ignore_errors=True)
    locks.write_text("not a directory")
    recovered = host.recover(started.activation_id)
    if attended:
        assert (recovered.phase, names(host)) == ("awaiting-confirmation", ("new", "old", "old"))
    else:
        assert (recovered.phase, recovered.reason) == ("rolled-back", "interrupted")
        with pytest.raises(NixferryError, match="cannot make the directory"):
            host.start(host.toplevel("next"))
