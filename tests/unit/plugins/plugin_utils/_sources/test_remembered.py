# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of hosts that are kept from run to run."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.fleet import FileFleet, FlakeFleet
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.listing import FleetListing
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.remembered import (
    KEPT_LISTS,
    fingerprint,
    recall,
    remember,
)

LISTING = FleetListing(("/f#colmena",), "colmena", {"name": "hive"}, {"web1": {"tags": ["a"]}})


@pytest.fixture(autouse=True)
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "nixferry/lists"


def test_what_was_kept_comes_back(lists: Path) -> None:
    assert recall("a") is None
    remember("a", LISTING, ["w"])
    assert recall("a") == (LISTING, ("w",))
    assert recall("b") is None
    assert lists.stat().st_mode & 0o077 == 0
    assert [path.stat().st_mode & 0o077 for path in lists.iterdir()] == [0]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"listing": {}}', '{"listing": 1, "warnings": []}', "\x00"]
)
def test_a_damaged_file_is_no_list(lists: Path, text: str) -> None:
    lists.mkdir(parents=True)
    (lists / "a.json").write_text(text)
    assert recall("a") is None
    remember("a", LISTING, [])
    assert recall("a") == (LISTING, ())


def test_the_lists_that_are_used_stay(lists: Path) -> None:
    for number in range(KEPT_LISTS):
        remember(str(number), LISTING, [])
        os.utime(lists / f"{number}.json", (1000 + number, 1000 + number))
    assert recall("0")
    remember("new", LISTING, [])
    assert recall("0")
    assert recall("new")
    assert recall("1") is None
    assert len(list(lists.iterdir())) == KEPT_LISTS


def test_a_list_is_used_although_its_use_cannot_be_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    remember("a", LISTING, [])

    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(os, "utime", refuse)
    assert recall("a") == (LISTING, ())


def test_nothing_is_kept_where_nothing_can_be_written(lists: Path) -> None:
    lists.parent.parent.joinpath("nixferry").write_text("a file")
    remember("a", LISTING, [])
    assert recall("a") is None


def test_what_may_read_anything_has_no_fingerprint() -> None:
    """No program is asked: this machine may have none."""
    nix = Nix()
    assert fingerprint(nix, FileFleet(("/f.nix",), "auto")) is None
    assert fingerprint(nix, FlakeFleet("/f", "", "auto", impure=True)) is None
