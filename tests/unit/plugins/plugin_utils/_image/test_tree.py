# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stages a root: the database of equal closures is equal, and a full disk is told as that."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image import tree as module

# As src/libstore/schema.sql of Nix has it, as far as it matters here.
SCHEMA = """
create table ValidPaths (
    id integer primary key autoincrement not null, path text unique not null, hash text not null,
    registrationTime integer not null, deriver text, narSize integer, ultimate integer, sigs text, ca text
);
create table Refs (
    referrer integer not null, reference integer not null, primary key (referrer, reference),
    foreign key (referrer) references ValidPaths(id) on delete cascade,
    foreign key (reference) references ValidPaths(id) on delete restrict
);
create trigger DeleteSelfRefs before delete on ValidPaths
  begin delete from Refs where referrer = old.id and reference = old.id; end;
create table DerivationOutputs (
    drv integer not null, id text not null, path text not null, primary key (drv, id)
);
"""


class FullDisk:
    def run(self, *_arguments: Any, step: Step, **_options: Any) -> None:
        raise NixferryError("committing transaction: database or disk is full (in 'db.sqlite')", step=step)


def test_a_full_disk_is_that_of_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(module, "closure", lambda *_arguments, **_options: [])
    with pytest.raises(NixferryError, match=f"the disk of {tmp_path} is full") as caught:
        module.stage(FullDisk(), "/nix/store/x", tmp_path / "work/root", timeout=1)  # type: ignore[arg-type]
    assert "nix-collect-garbage" not in caught.value.remedy


def database(file: Path, order: list[str], time: int) -> Path:
    """A database in which the paths were registered in this order; `b` refers to `a` and to itself."""
    file.parent.mkdir()
    with sqlite3.connect(file) as made:
        made.executescript(SCHEMA)
        for path in order:
            made.execute(
                "insert into ValidPaths (path, hash, registrationTime, narSize, sigs) values (?, ?, ?, 7, ?)",
                (path, f"sha256:{path}", time, f"key:{path}"),
            )
        made.execute("insert into Refs select b.id, a.id from ValidPaths a, ValidPaths b where b.path = 'b'")
    made.close()
    return file


def test_equal_closures_have_equal_databases(tmp_path: Path) -> None:
    one = database(tmp_path / "one/db.sqlite", ["a", "b"], 1000)
    other = database(tmp_path / "other/db.sqlite", ["b", "a"], 2000)
    assert one.read_bytes() != other.read_bytes()
    for file in (one, other):
        module._settle_database(file)
    assert one.read_bytes() == other.read_bytes()
    with sqlite3.connect(other) as read:
        rows = read.execute("select id, path, registrationTime, sigs from ValidPaths order by id").fetchall()
        references = read.execute("select referrer, reference from Refs order by reference").fetchall()
    read.close()
    assert rows == [(1, "a", 1, "key:a"), (2, "b", 1, "key:b")]
    assert references == [(2, 1), (2, 2)]


def test_a_database_of_another_kind_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite"
    file.write_text("not a database, but long enough to be looked at as one" * 10)
    with pytest.raises(NixferryError, match="cannot be settled"):
        module._settle_database(file)


def test_a_link_in_place_of_what_a_killed_run_has_left_leads_nowhere(tmp_path: Path) -> None:
    """Others may write to the directory of images."""
    other = tmp_path / "other/below"
    other.mkdir(parents=True)
    other.chmod(0o755)
    link = tmp_path / ".web1.work-1"
    link.symlink_to(other.parent)
    module.clean_up(link)
    assert not link.is_symlink()
    assert other.stat().st_mode & 0o777 == 0o755
    # A staged root goes, although its store cannot be written to.
    other.chmod(0o555)
    module.clean_up(other.parent)
    assert not other.parent.exists()
