# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A binary cache made by hand, for tests without Nix."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.narinfo import base32

_BASE32 = "0123456789abcdfghijklmnpqrsvwxyz"


class SigningKey:
    """A key pair, and the public half as in nix.conf."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._key = Ed25519PrivateKey.generate()
        raw = self._key.public_key().public_bytes_raw()
        self.public = f"{name}:{base64.b64encode(raw).decode()}"

    def secret(self) -> str:
        """The file of the secret key, as `nix key generate-secret` writes it."""
        both = self._key.private_bytes_raw() + self._key.public_key().public_bytes_raw()
        return f"{self.name}:{base64.b64encode(both).decode()}"

    def sign(self, text: str) -> str:
        return f"{self.name}:{base64.b64encode(self._key.sign(text.encode())).decode()}"


def store_path(name: str) -> str:
    digest = hashlib.sha256(name.encode()).digest()
    return f"/nix/store/{''.join(_BASE32[byte % 32] for byte in digest)}-{name}"


class HandmadeCache:
    """Descriptions and contents in a directory, as `nix copy --to file://` lays them out."""

    def __init__(self, directory: Path, key: SigningKey) -> None:
        self.directory = directory
        self.key = key
        self.registrations: dict[str, str] = {}
        """What `nix-store --dump-db` prints about the paths that were added."""
        (directory / "nar").mkdir(parents=True)

    def add(self, name: str, references: Sequence[str] = (), *, key: SigningKey | None = None) -> str:
        """Add a path; returns it."""
        path = store_path(name)
        content = f"the content of {name}".encode()
        nar_hash = base32(hashlib.sha256(content).digest())
        fingerprint = f"1;{path};sha256:{nar_hash};4096;{','.join(sorted(references))}"
        lines = {
            "StorePath": path,
            "URL": f"nar/{nar_hash}.nar.zst",
            "Compression": "zstd",
            "FileSize": str(len(content)),
            "NarHash": f"sha256:{nar_hash}",
            "NarSize": "4096",
            "References": " ".join(reference.rpartition("/")[2] for reference in references),
            "Sig": (key or self.key).sign(fingerprint),
        }
        digest = hashlib.sha256(content).hexdigest()
        registered = [path, digest, "4096", "", str(len(references)), *references, ""]
        self.registrations[path] = "\n".join(registered)
        self.content(path, nar_hash).write_bytes(content)
        self.description(path).write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
        return path

    def description(self, path: str) -> Path:
        return self.directory / f"{path.rpartition('/')[2][:32]}.narinfo"

    def content(self, path: str, nar_hash: str = "") -> Path:
        if not nar_hash:
            text = self.description(path).read_text()
            nar_hash = text.partition("URL: nar/")[2].partition(".")[0]
        return self.directory / f"nar/{nar_hash}.nar.zst"
