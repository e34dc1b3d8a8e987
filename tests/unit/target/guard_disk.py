# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that fails, for tests of the guard. Permissions stand in for it, so the guard must not be root here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from guard_host import SHELLS, Host

# The `id` of busybox is built in, so that its guard cannot take itself for root's here.
MOST_SHELLS = pytest.mark.parametrize("host", ["dash", "bash"], indirect=True)
NOBODY = 65534


def obey_permissions(host: Host) -> None:
    """Let the guard of the host obey the permissions of files, as root does not."""
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed, and root may write to every directory")
        own(host)
        drop = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups"
        shell = SHELLS[host.shell].removeprefix("exec ")
        host.program(
            "guard-shell",
            f'#!/bin/sh\ncase $(/usr/bin/id -u) in 0) exec {drop} {shell} "$@" ;; esac\nexec {shell} "$@"\n',
        )


def own(host: Host) -> None:
    """Give all files of the host to the user that its guard is."""
    if os.geteuid() == 0:
        for path in (host.directory, *host.directory.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def set_writable(host: Host, writable: bool) -> None:
    """Whether the state directory takes files. Permissions stand in for a disk that became read-only."""
    if not host.state.exists():
        return
    for path in (host.state, *host.state.rglob("*")):
        usual = 0o700 if path.is_dir() else 0o600
        path.chmod(usual if writable else usual & 0o500)


def names(host: Host) -> tuple[str, str, str]:
    """What runs, what boots, and what the profile leads to."""
    return Path(host.current).name, Path(host.boots).name, Path(host.profile_target).name


def assert_usable_again(host: Host, activation_id: str) -> None:
    """The next deploy works, and the record of the last one gets to the disk."""
    set_writable(host, True)
    done = host.deploy(host.toplevel("next"))
    assert done.phase == "committed"
    assert names(host) == ("next", "next", "next")
    assert (host.record(activation_id) / "phase").read_text() == "rolled-back\n"
    assert not list((host.directory / "run/nixferry/unsaved").glob("activations/*"))
