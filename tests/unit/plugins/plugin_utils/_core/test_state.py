# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the collection keeps its state on the controller, and locks there."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.state import locked, state_directory


@pytest.mark.parametrize(
    ("given", "expected"),
    [("/state", "/state/nixferry"), ("", "~/.local/state/nixferry"), ("relative", "~/.local/state/nixferry")],
)
def test_the_state_directory(given: str, expected: str) -> None:
    assert state_directory({"XDG_STATE_HOME": given}) == Path(expected).expanduser()


HOLDER = """
import sys, pathlib
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.state import locked
with locked("build", pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[5] / ".build" / "collections")},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_same_build_waits_for_the_other(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    told: list[float] = []

    def waiting() -> None:
        told.append(time.monotonic())
        assert holder.stdin is not None
        holder.stdin.close()

    with locked("build", tmp_path, waiting=waiting, timeout=20):
        assert len(told) == 1
        assert holder.wait(timeout=20) == 0


def test_another_build_does_not_wait(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with locked("another", tmp_path, waiting=lambda: pytest.fail("waited"), timeout=0):
        pass
    holder.kill()
    holder.wait()


def test_the_wait_for_the_lock_has_a_deadline(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with (
        pytest.raises(NixferryError, match="the lock timeout expired"),
        locked("build", tmp_path, timeout=0.3),
    ):
        pytest.fail("got the lock")
    holder.kill()
    holder.wait()


def test_a_lock_dies_with_its_process(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    with locked("build", tmp_path, timeout=0):
        pass


def test_without_a_place_for_locks_the_work_is_done_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = []
    with locked("build", tmp_path / "file"):
        done.append(True)
    assert done


def test_a_user_without_a_home_directory_has_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with locked("build", state_directory({})):
        assert not state_directory({}).exists()
