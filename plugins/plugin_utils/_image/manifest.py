# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""What an image is and how its files are called.

In the directory lie, with the first digits of the image's SHA-256 in their names::

    web1-2f1c0a7be2d93c41.raw          the image
    web1-2f1c0a7be2d93c41.raw.sha256   its checksum, for sha256sum --check
    web1-2f1c0a7be2d93c41.raw.json     the manifest
    web1-2f1c0a7be2d93c41.raw.json.sig the signature of the manifest, for ssh-keygen -Y verify
    web1.json                          a link to the manifest of the present image
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

from .tools import STEP

# Of the manifest's format.
FORMAT = 1
# Changes when the same wishes make another image.
RECIPE = 1
MANIFEST_BYTES = 1024 * 1024
NAMESPACE = "nixferry-image@v1"
_DIGITS = 16
_BUFFER = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,100}")
_IMAGE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")


@dataclass(frozen=True)
class Manifest:
    """``wishes`` is all that decides the image. Sizes are in bytes; ``virtual_size`` is that of the disk.

    Of an image that a variant has built, system, toplevel and closure are not known: they are empty.
    """

    name: str
    variant: str
    format: str
    system: str
    toplevel: str
    revision: str
    closure_paths: int
    closure_size: int
    image: str
    size: int
    virtual_size: int
    sha256: str
    wishes: Mapping[str, Any]

    def text(self) -> str:
        """Return the file."""
        data = {
            "nixferryImage": FORMAT,
            "name": self.name,
            "variant": self.variant,
            "format": self.format,
            "system": self.system or None,
            "toplevel": self.toplevel or None,
            "revision": self.revision or None,
            "closure": {"paths": self.closure_paths, "narSize": self.closure_size},
            "image": {
                "file": self.image,
                "size": self.size,
                "virtualSize": self.virtual_size,
                "sha256": self.sha256,
            },
            "wishes": dict(self.wishes),
        }
        return json.dumps(data, indent=2, sort_keys=True) + "\n"

    @property
    def checksum(self) -> str:
        """Return the checksum's file."""
        return f"{self.sha256}  {self.image}\n"

    @property
    def file(self) -> str:
        """Return the name of the manifest."""
        return f"{self.image}.json"


def checked_name(name: str) -> str:
    """Return the name of an image. Raises ``NixferryError`` if it is not a valid one."""
    if _NAME.fullmatch(name) is None:
        raise NixferryError(
            f"{name[:120]!r} is not a valid name of an image",
            step=STEP,
            remedy="Give a `name` of letters, digits, `.`, `_` and `-`.",
        )
    return name


def parse_manifest(text: str) -> Manifest | None:
    """Parse a manifest; None for anything else, which is then replaced."""
    try:
        data = json.loads(text)
        if data["nixferryImage"] != FORMAT or not isinstance(data["wishes"], dict):
            return None
        image = data["image"]
        found = Manifest(
            name=str(data["name"]),
            variant=str(data["variant"]),
            format=str(data["format"]),
            system=str(data["system"] or ""),
            toplevel=str(data["toplevel"] or ""),
            revision=str(data["revision"] or ""),
            closure_paths=int(data["closure"]["paths"]),
            closure_size=int(data["closure"]["narSize"]),
            image=str(image["file"]),
            size=int(image["size"]),
            virtual_size=int(image["virtualSize"]),
            sha256=str(image["sha256"]),
            wishes=data["wishes"],
        )
    except (ValueError, KeyError, TypeError):
        return None
    return found if _IMAGE_NAME.fullmatch(found.image) else None


def digest_of(wishes: Mapping[str, Any]) -> str:
    """Return the digest of all that decides an image."""
    return hashlib.sha256(json.dumps(dict(wishes), sort_keys=True).encode()).hexdigest()


def image_name(name: str, sha256: str, extension: str) -> str:
    """Return the name of an image with this content."""
    return f"{name}-{sha256[:_DIGITS]}.{extension}"


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def present(directory: Path, name: str) -> Manifest | None:
    """Return the manifest of the present image ``name``, None without one that is whole."""
    try:
        with (directory / f"{name}.json").open("rb") as file:
            found = parse_manifest(file.read(MANIFEST_BYTES).decode("utf-8", errors="replace"))
        if found is None or (directory / found.image).stat().st_size != found.size:
            return None
        if (directory / f"{found.image}.sha256").read_text() != found.checksum:
            return None
    except OSError:
        return None
    return found


def write_file(file: Path, content: bytes) -> None:
    """Replace a file by rename, durably."""
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with temporary.open("xb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(file)


def link_present(directory: Path, name: str, manifest: Manifest) -> None:
    """Make ``manifest`` the present one, in one step."""
    link = directory / f".{name}.json.{secrets.token_hex(4)}"
    link.symlink_to(manifest.file)
    link.replace(directory / f"{name}.json")
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
