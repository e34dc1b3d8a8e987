# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy the checkout as a contributor would commit it: export_tree.py DESTINATION

Files that git knows, or would add, are copied; anything else in DESTINATION is removed, except what a tool left in
``tests/output`` there. Unchanged files keep their times, so that caches keyed by them stay valid. DESTINATION
becomes a git repository of its own, because ansible-test asks git which files there are.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

KEPT = {".git", "tests/output"}


def listed_files(repository: Path) -> list[str]:
    """Paths, relative to the top, of all files that are tracked or neither tracked nor ignored."""
    listing = subprocess.run(
        ["git", "-C", str(repository), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    names = sorted(set(listing.split("\0")) - {""})
    return [name for name in names if os.path.lexists(repository / name)]


def copy_file(source: Path, destination: Path) -> None:
    """Copy one file or link unless the copy is there already; content, mode and time are kept."""
    if source.is_symlink():
        if destination.is_symlink() and destination.readlink() == source.readlink():
            return
        destination.unlink(missing_ok=True)
        destination.symlink_to(source.readlink())
        return
    same = (
        destination.is_file()
        and not destination.is_symlink()
        and destination.stat().st_mode == source.stat().st_mode
        and filecmp.cmp(source, destination, shallow=False)
    )
    if not same:
        destination.unlink(missing_ok=True)
        shutil.copy2(source, destination)


def remove_leftovers(destination: Path, wanted: set[str]) -> None:
    """Remove files of an earlier copy that are gone from the checkout, and directories that became empty."""
    for directory, subdirectories, files in os.walk(destination, topdown=True):
        here = Path(directory).relative_to(destination)
        subdirectories[:] = [name for name in subdirectories if str(here / name) not in KEPT]
        for name in [*files, *subdirectories]:
            path = destination / here / name
            if (path.is_symlink() or not path.is_dir()) and str(here / name) not in wanted:
                path.unlink()
    for directory, _subdirectories, _files in os.walk(destination, topdown=False):
        inside_kept = any(Path(directory).is_relative_to(destination / kept) for kept in KEPT)
        if not inside_kept and Path(directory) != destination and not any(Path(directory).iterdir()):
            Path(directory).rmdir()


def export(repository: Path, destination: Path) -> None:
    """Make ``destination`` equal to the checkout at ``repository``."""
    names = listed_files(repository)
    destination.mkdir(parents=True, exist_ok=True)
    remove_leftovers(destination, set(names))
    for name in names:
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_file(repository / name, target)
    if not (destination / ".git").exists():
        subprocess.run(["git", "init", "--quiet", str(destination)], check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: export_tree.py DESTINATION")
    export(Path(__file__).resolve().parents[2], Path(sys.argv[1]))
