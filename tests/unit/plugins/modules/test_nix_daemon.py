# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restarting the daemon under launchd, which is a program here that remembers what it was told."""

from __future__ import annotations

from pathlib import Path

import pytest
from module_runs import ran

MODULE = "nix_daemon"
LAUNCHCTL = """#!/bin/sh
echo "$*" >>"{log}"
case "$1 $2" in
    "print system/{loaded}") echo 'state = running' ;;
    print*) exit 113 ;;
    *) exit {status} ;;
esac
"""


def on_a_mac(directory: Path, loaded: str, status: int = 0) -> str:
    """A PATH with launchctl, and with a Nix whose daemon answers."""
    programs = directory / "bin"
    programs.mkdir()
    (programs / "nix").write_text("#!/bin/sh\necho 'nix (Nix) 2.26.3'\n")
    (programs / "nix").chmod(0o755)
    (programs / "launchctl").write_text(LAUNCHCTL.format(log=directory / "log", loaded=loaded, status=status))
    (programs / "launchctl").chmod(0o755)
    return f"{programs}:/usr/bin:/bin"


def calls(directory: Path) -> list[str]:
    return [line for line in (directory / "log").read_text().splitlines() if not line.startswith("print")]


@pytest.mark.parametrize("label", ["org.nixos.nix-daemon", "systems.determinate.nix-daemon"])
def test_launchd_is_told_to_kill_the_old_one(tmp_path: Path, label: str) -> None:
    result = ran(MODULE, {"state": "restarted"}, path=on_a_mac(tmp_path, label))
    assert result["changed"]
    assert (result["manager"], result["service"]) == ("launchd", label)
    assert calls(tmp_path) == [f"kickstart -k system/{label}"]


def test_a_daemon_that_runs_is_left_alone(tmp_path: Path) -> None:
    result = ran(MODULE, {"state": "started"}, path=on_a_mac(tmp_path, "org.nixos.nix-daemon"))
    assert not result["changed"]
    assert calls(tmp_path) == []


def test_check_mode_restarts_nothing(tmp_path: Path) -> None:
    path = on_a_mac(tmp_path, "org.nixos.nix-daemon")
    assert ran(MODULE, {"state": "restarted"}, check=True, path=path)["changed"]
    assert calls(tmp_path) == []


def test_what_launchd_refuses_is_said(tmp_path: Path) -> None:
    failed = ran(MODULE, {"state": "restarted"}, path=on_a_mac(tmp_path, "org.nixos.nix-daemon", status=1))
    assert failed["failed"]
    assert "kickstart" in failed["msg"]
    assert "Login Items" in failed["remedy"]


def test_a_host_without_a_service_is_left_alone(tmp_path: Path) -> None:
    result = ran(MODULE, {"state": "restarted"}, path=on_a_mac(tmp_path, "none"))
    assert (result["changed"], result["service"]) == (False, "")
