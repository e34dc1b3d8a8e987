# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures for tests of the guard."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from guard_disk import obey_permissions, set_writable
from guard_host import Host, make_host

# In memory where that exists: the guard makes sure that its state reaches the disk, which takes a while.
MEMORY = Path("/dev/shm")

# Of so many tests under another shell than dash, one runs when a part of the matrix is chosen.
TURNS = 4


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run everything under dash, and under the other shells what the commit chooses."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and _shell(item) in ("bash", "busybox"):
            item.add_marker(pytest.mark.takes_turns(TURNS))


def _shell(item: pytest.Item) -> object:
    return (
        item.callspec.params.get("host")
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        else None
    )


def directory_for_hosts() -> Path | None:
    """Main memory where programs may run from it, which containers often forbid; None is the usual place."""
    usable = MEMORY.is_dir() and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    return MEMORY if usable else None


@pytest.fixture(params=["dash"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host that runs and boots the system ``old``; parametrise indirectly to choose the shell."""
    with tempfile.TemporaryDirectory(prefix="nixferry-", dir=directory_for_hosts()) as directory:
        made = make_host(Path(directory).resolve(), request.param)
        yield made
        made.kill_everything()
        print(made.story())  # noqa: T201 - pytest shows it when a test fails


@pytest.fixture
def plain(host: Host) -> Iterator[Host]:
    """A host whose guard obeys the permissions of files, as root does not."""
    obey_permissions(host)
    yield host
    set_writable(host, True)
