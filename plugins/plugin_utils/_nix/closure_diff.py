# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Compare two closures, package by package."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import parse_store_path

from .progress import size_text

# How NixOS names the store path of a unit (makeUnit in nixos/lib/systemd-lib.nix of nixpkgs). In the name, `@`, `:` and
# `\\` of the unit are dashes. What a unit runs is called unit-script-… and has no such end.
_UNIT = re.compile(
    r"unit-(.+\.(?:automount|device|mount|path|scope|service|slice|socket|swap|target|timer))", re.ASCII
)

# Nix's own "store diff-closures" prints this for a path without a version in its name.
NO_VERSION = "∅"


def change_text(number_of_bytes: int) -> str:
    """Format a difference in size, with its sign."""
    sign = "-" if number_of_bytes < 0 else "+" if number_of_bytes else ""
    return sign + size_text(abs(number_of_bytes))


@dataclass(frozen=True)
class PackageChange:
    """One package name whose paths differ; sizes are NAR sizes in bytes."""

    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    size_delta: int

    @property
    def word(self) -> str:
        """Return ``added``, ``removed``, ``changed`` (other versions) or ``rebuilt`` (same versions)."""
        if not self.before:
            return "added"
        if not self.after:
            return "removed"
        return "rebuilt" if self.before == self.after else "changed"

    def line(self) -> str:
        """Return one readable line."""
        before, after = (", ".join(versions) or "-" for versions in (self.before, self.after))
        versions = after if self.word in ("added", "rebuilt") else f"{before} -> {after}"
        versions = before if self.word == "removed" else versions
        return f"{self.word:8} {self.name} {versions} ({change_text(self.size_delta)})"


@dataclass(frozen=True)
class UnitChanges:
    """Names of systemd units whose store paths differ."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True)
class ClosureDiff:
    """The difference between two closures; sizes in bytes."""

    changes: tuple[PackageChange, ...]
    size_before: int
    size_after: int
    units: UnitChanges

    def text(self) -> str:
        """Return the changes, one per line, and a line with the sizes."""
        lines = [change.line() for change in self.changes]
        sizes = f"{size_text(self.size_before)} -> {size_text(self.size_after)}"
        lines.append(f"closure  {sizes} ({change_text(self.size_after - self.size_before)})")
        return "\n".join(lines) + "\n"

    def result(self) -> dict[str, Any]:
        """Return the difference as data for an Ansible result."""
        return {
            "packages": [
                {
                    "name": change.name,
                    "change": change.word,
                    "before": list(change.before),
                    "after": list(change.after),
                    "size_delta": change.size_delta,
                }
                for change in self.changes
            ],
            "size_before": self.size_before,
            "size_after": self.size_after,
            "units": {word: list(names) for word, names in asdict(self.units).items()},
        }


def _versions(paths: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    packages: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in paths:
        name, version = parse_store_path(path).package
        packages[name].append((version or NO_VERSION, path))
    return packages


def is_unit(name: str) -> bool:
    """Return True if a store path of this name is a unit of NixOS."""
    return _UNIT.fullmatch(name) is not None


def _units(paths: Iterable[str]) -> dict[str, set[str]]:
    units: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        found = _UNIT.fullmatch(parse_store_path(path).name)
        if found is not None:
            units[found[1]].add(path)
    return units


def diff_units(before: Iterable[str], after: Iterable[str]) -> UnitChanges:
    """Compare the systemd units in two closures of NixOS, given as store paths, by the names of the paths.

    A unit whose path differs is one that the activation may restart, reload or leave alone, as the unit says. Raises
    ``NixferryError`` for what is not a store path.
    """
    old, new = _units(before), _units(after)
    return UnitChanges(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(name for name in old.keys() & new.keys() if old[name] != new[name])),
    )


def diff_closures(before: Mapping[str, int], after: Mapping[str, int]) -> ClosureDiff:
    """Compare two closures, each a mapping of store path to NAR size in bytes.

    A package is listed if the set of its paths differs. Raises ``NixferryError`` if a key is not a store path.
    """
    old, new = _versions(before), _versions(after)
    changes = []
    for name in sorted(old.keys() | new.keys()):
        old_paths = {path for _version, path in old.get(name, [])}
        new_paths = {path for _version, path in new.get(name, [])}
        if old_paths == new_paths:
            continue
        changes.append(
            PackageChange(
                name=name,
                before=tuple(sorted({version for version, _path in old.get(name, [])})),
                after=tuple(sorted({version for version, _path in new.get(name, [])})),
                size_delta=sum(after[path] for path in new_paths) - sum(before[path] for path in old_paths),
            )
        )
    return ClosureDiff(tuple(changes), sum(before.values()), sum(after.values()), diff_units(before, after))
