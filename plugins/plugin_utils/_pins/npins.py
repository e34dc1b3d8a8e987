# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""npins' npins/sources.json, versions 3 to 8 of the format.

Based on npins itself (libnpins/src/versions.rs, libnpins/src/pins/git.rs): hashes are sha256-BASE64 since version 6
and in Nix's base 32 before; a git pin on a known forge has the URL of an archive. One with submodules or from
elsewhere has none and is hashed as a checkout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

from .pins import (
    STEP,
    LockFile,
    Pin,
    without_password,
)
from .sources import Sources, url_refusal

VERSIONS = range(3, 9)
_BASE64_SINCE = 6


@dataclass(frozen=True)
class NpinsSources:
    """The format."""

    sources: Sources

    def pins(self, file: LockFile) -> dict[str, Pin]:
        """Return the pins, in the order of the file."""
        _version, pins = _content(file, file.data())
        return self.sources.with_times({name: _pin(name, pin) for name, pin in pins.items()})

    def updated(self, file: LockFile, names: Sequence[str]) -> str:
        """Look up the branches, and fetch new revisions to hash them."""
        data = file.data()
        version, pins = _content(file, data)
        for name in names:
            pin = pins[name]
            repository, branch = pin["repository"], str(pin["branch"])
            revision = self.sources.head_of(_repository(repository), branch)
            if revision != pin.get("revision"):
                self.sources.note_time(_repository(repository), branch, revision)
                submodules = bool(pin.get("submodules"))
                url = None if submodules else _archive(repository, revision)
                found = self._hash(url, repository, branch, revision, submodules=submodules, version=version)
                pin.update(revision=revision, url=url, hash=found)
        return file.written_like_this(data)

    def _hash(
        self,
        url: str | None,
        repository: Mapping[str, Any],
        branch: str,
        revision: str,
        *,
        submodules: bool,
        version: int,
    ) -> str:
        if url is not None:
            base32 = self.sources.download_hash(url, unpack=True)
            return self.sources.base64_form(base32) if version >= _BASE64_SINCE else base32
        base64 = self.sources.checkout_hash(_repository(repository), branch, revision, submodules=submodules)
        return base64 if version >= _BASE64_SINCE else self.sources.base32_form(base64)


def _content(file: LockFile, data: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    version, pins = int(data.get("version", -1)), data.get("pins")
    if not isinstance(pins, dict) or not all(isinstance(pin, dict) for pin in pins.values()):
        raise NixferryError(f"{file.path} is not a valid file of npins", step=STEP)
    if version not in VERSIONS:
        raise NixferryError(
            f"{file.path} has version {version} of npins' format, known are {VERSIONS[0]} to {VERSIONS[-1]}",
            step=STEP,
            remedy="Run `npins upgrade`, or use a newer version of this collection.",
        )
    return version, pins


def _pin(name: str, pin: Mapping[str, Any]) -> Pin:
    repository = pin.get("repository")
    url = _repository(repository) if isinstance(repository, Mapping) else str(pin.get("url", ""))
    return Pin(
        name=name,
        type=str(pin.get("type", "")),
        url=without_password(url),
        branch=str(pin.get("branch", "")),
        # A release is identified by its version, a channel by its URL.
        revision=str(pin.get("revision") or pin.get("version") or ""),
        hash=str(pin.get("hash") or ""),
        refusal=_refusal(pin),
    )


def _refusal(pin: Mapping[str, Any]) -> str:
    if pin.get("frozen"):
        return "it is frozen; `npins unfreeze` changes that"
    if pin.get("type") != "Git":
        return f"this collection cannot update a pin of type {pin.get('type')}; use `npins update`"
    if pin.get("lfs"):
        return "its files are kept in Git LFS, which `npins update` can fetch"
    repository = pin.get("repository")
    if not isinstance(repository, Mapping) or not _repository(repository):
        return "its kind of repository is not supported here"
    if repository.get("private_token"):
        return "its access token would be visible in the process list; use `npins update`"
    if not pin.get("branch"):
        return "it does not follow a branch"
    return url_refusal(_repository(repository))


def _repository(repository: Mapping[str, Any]) -> str:
    """Return the URL for git; empty for an unknown kind of repository."""
    if repository.get("type") == "Git":
        return str(repository.get("url", ""))
    home = _home(repository)
    return f"{home}.git" if home else ""


def _home(repository: Mapping[str, Any]) -> str:
    """Return the URL of a repository on a known forge; empty for others."""
    part = {
        name: str(repository.get(name, "")).strip("/") for name in ("server", "owner", "repo", "repo_path")
    }
    match repository.get("type"):
        case "GitHub":
            return f"https://github.com/{part['owner']}/{part['repo']}"
        case "Forgejo":
            return f"{part['server']}/{part['owner']}/{part['repo']}"
        case "GitLab":
            return f"{part['server']}/{part['repo_path']}"
    return ""


def _archive(repository: Mapping[str, Any], revision: str) -> str | None:
    """Return the URL of an archive of the revision; None if the host of the repository offers no archives."""
    match repository.get("type"):
        case "GitHub" | "Forgejo":
            return f"{_home(repository)}/archive/{revision}.tar.gz"
        case "GitLab":
            server = str(repository.get("server", "")).rstrip("/")
            project = quote(str(repository.get("repo_path", "")).strip("/"), safe="")
            return f"{server}/api/v4/projects/{project}/repository/archive.tar.gz?sha={revision}"
    return None
