# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""niv's nix/sources.json.

Based on niv itself (src/Niv/GitHub.hs, src/Niv/Git/Cmd.hs, nix/sources.nix): an entry of type ``tarball`` or ``file``
is downloaded from ``url``, made from ``url_template`` with the entry's other attributes for ``<name>``; one of type
``git`` is fetched by its ``rev``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

from .pins import (
    STEP,
    LockFile,
    Pin,
    without_password,
)
from .sources import Sources, url_refusal

_PLACE = re.compile(r"<([^<>]*)>")
_GITHUB_TEMPLATE = "https://github.com/<owner>/<repo>/archive/<rev>.tar.gz"


@dataclass(frozen=True)
class NivSources:
    """The format."""

    sources: Sources

    def pins(self, file: LockFile) -> dict[str, Pin]:
        """Return the entries, in the order of the file."""
        pins = {name: _pin(name, _checked(file, name, entry)) for name, entry in file.data().items()}
        return self.sources.with_times(pins)

    def updated(self, file: LockFile, names: Sequence[str]) -> str:
        """Look up the branches, and download new revisions to hash them."""
        data = file.data()
        for name in names:
            entry = data[name]
            revision = self.sources.head_of(_repository(entry), str(entry["branch"]))
            if revision == entry.get("rev"):
                continue
            self.sources.note_time(_repository(entry), str(entry["branch"]), revision)
            entry["rev"] = revision
            if entry.get("type") != "git":
                url = _filled(name, entry)
                unpack = entry.get("type", "tarball") == "tarball"
                entry.update(url=url, sha256=self.sources.download_hash(url, unpack=unpack))
            # niv sorts the attributes of an entry.
            data[name] = dict(sorted(entry.items()))
        return file.written_like_this(data)


def _checked(file: LockFile, name: str, entry: object) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        raise NixferryError(f"{file.path}: {name} is not an entry of niv", step=STEP)
    return entry


def _pin(name: str, entry: Mapping[str, Any]) -> Pin:
    return Pin(
        name=name,
        type=str(entry.get("type", "tarball")),
        url=without_password(_repository(entry) or str(entry.get("url", entry.get("path", "")))),
        branch=str(entry.get("branch") or ""),
        revision=str(entry.get("rev", "")),
        hash=str(entry.get("sha256", "")),
        refusal=_refusal(entry),
    )


def _repository(entry: Mapping[str, Any]) -> str:
    if entry.get("owner") and entry.get("repo"):
        return f"https://github.com/{entry['owner']}/{entry['repo']}.git"
    return str(entry.get("repo", ""))


def _refusal(entry: Mapping[str, Any]) -> str:
    kind = entry.get("type", "tarball")
    if kind not in ("tarball", "file", "git"):
        return f"an entry of type {kind} has no revisions"
    if kind != "git" and "<rev>" not in _template(entry):
        return "its URL does not depend on a revision"
    if not entry.get("branch"):
        return "it does not follow a branch"
    if kind == "git" and entry.get("ref") not in (None, entry["branch"], f"refs/heads/{entry['branch']}"):
        return "Nix fetches its `ref`, which is not its branch"
    return url_refusal(_repository(entry))


def _template(entry: Mapping[str, Any]) -> str:
    return str(entry.get("url_template") or (_GITHUB_TEMPLATE if entry.get("owner") else ""))


def _filled(name: str, entry: Mapping[str, Any]) -> str:
    def value(match: re.Match[str]) -> str:
        found = entry.get(match[1])
        if not isinstance(found, str):
            raise NixferryError(f"{name}: url_template names <{match[1]}>, which the entry lacks", step=STEP)
        return found

    return _PLACE.sub(value, _template(entry))
