# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""A binary cache's description of one store path: parse it, and check its signatures as Nix does.

The format and what is signed: ``NarInfo::NarInfo`` in src/libstore/nar-info.cc and ``ValidPathInfo::fingerprint`` in
src/libstore/path-info.cc of Nix, the same from Nix 2.0 to 2.34.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import whole_number
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import (
    STORE_DIRECTORY,
    is_store_path,
)

# A path that refers to ten thousand others has 600 KiB.
NARINFO_BYTES = 4 * 1024 * 1024
_DIGITS = "0123456789abcdfghijklmnpqrsvwxyz"
_HASH = re.compile(r"sha256:[0-9a-z]{52}")
# Below the cache's own address: no scheme, no host, no way up.
_PLACE = re.compile(r"(?!/)(?!.*(?:^|/)\.\.(?:/|$))[A-Za-z0-9._~%+=?&/-]{1,1024}")


class NotANarInfo(ValueError):
    """The text is not the description of a store path. The message says why, without quoting more than a name."""


@dataclass(frozen=True)
class NarInfo:
    """What a cache says about ``path``. Sizes are in bytes; ``file_size`` is None if the cache does not give it.

    ``url`` is relative to the cache. ``references`` are store paths, without the path itself.
    """

    path: str
    url: str
    compression: str
    nar_hash: str
    nar_size: int
    file_size: int | None
    references: tuple[str, ...]
    self_reference: bool
    signatures: tuple[str, ...]

    @property
    def fingerprint(self) -> bytes:
        """Return what a signature is made over: the path, the content, and the names of the references in order."""
        references = [*self.references, *([self.path] if self.self_reference else [])]
        return fingerprint(self.path, self.nar_hash, self.nar_size, references)

    def signed_by(self, keys: Iterable[str]) -> str | None:
        """Return the name of the first of the public ``keys`` (``name:base64``) that has signed this path, or None.

        The name in front of a signature only says which key to try: a foreign key of the same name does not match.
        """
        for key in keys:
            name, _colon, encoded = key.partition(":")
            for signature in self.signatures:
                its_name, _colon, text = signature.partition(":")
                if its_name == name and _matches(encoded, text, self.fingerprint):
                    return name
        return None


def fingerprint(path: str, nar_hash: str, nar_size: int, references: Iterable[str]) -> bytes:
    """Return what a signature is made over. ``nar_hash`` is in base 32."""
    return f"1;{path};{nar_hash};{nar_size};{','.join(sorted(set(references)))}".encode("ascii")


def base32(digest: bytes) -> str:
    """Return a hash in the base 32 of Nix: five bits a digit, the last ones first (src/libutil/hash.cc)."""
    number = int.from_bytes(digest, "little")
    digits = -(-len(digest) * 8 // 5)
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(digits)))


def _matches(key: str, signature: str, signed: bytes) -> bool:
    # A dependency of ansible-core, which only what verifies signatures loads.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
        public.verify(base64.b64decode(signature, validate=True), signed)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def parse_narinfo(text: str) -> NarInfo:
    """Parse a description, which may come from a hostile server. Raises ``NotANarInfo``."""
    fields: dict[str, str] = {}
    signatures = []
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if not colon:
            raise NotANarInfo("a line has no colon")
        if name == "Sig":
            signatures.append(value.strip())
        elif name in fields:
            raise NotANarInfo(f"{name[:20]!r} stands there twice")
        else:
            fields[name] = value.strip()
    path = fields.get("StorePath", "")
    if not is_store_path(path):
        raise NotANarInfo("StorePath is missing or not a store path")
    if _HASH.fullmatch(fields.get("NarHash", "")) is None:
        raise NotANarInfo("NarHash is missing or not a SHA-256 hash in base 32")
    nar_size = whole_number(fields.get("NarSize", ""))
    if not nar_size:
        raise NotANarInfo("NarSize is missing or not a size")
    if _PLACE.fullmatch(fields.get("URL", "")) is None:
        raise NotANarInfo("URL is missing or not a place in the cache")
    references = [f"{STORE_DIRECTORY}/{name}" for name in fields.get("References", "").split()]
    if not all(map(is_store_path, references)):
        raise NotANarInfo("References are not names of store paths")
    return NarInfo(
        path=path,
        url=fields["URL"],
        # Old caches do not say it and mean bzip2 (nar-info.cc).
        compression=fields.get("Compression", "") or "bzip2",
        nar_hash=fields["NarHash"],
        nar_size=nar_size,
        file_size=whole_number(fields.get("FileSize", "")),
        references=tuple(dict.fromkeys(name for name in references if name != path)),
        self_reference=path in references,
        signatures=tuple(signatures),
    )
