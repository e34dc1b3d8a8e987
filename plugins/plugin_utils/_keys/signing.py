# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Sign closures on the controller with a deploy key, so that hosts accept them from users whom they do not trust.

Nix reads the secret key from its file directly: its content is in no argument, no environment and no log. This module
only checks that the file contains a key, and reads the public half, which is the end of the secret one.
"""

from __future__ import annotations

import base64
import binascii
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixRequest

STEP = Step.SIGN
TIMEOUT_NAME = "the timeout of the signing"
# A closure of ten thousand paths takes seconds.
TIMEOUT_SECONDS = 1800
HOW_TO_MAKE_A_KEY = (
    "Make a key with (umask 077; nix --extra-experimental-features nix-command key generate-secret "
    "--key-name example-1 > deploy.key)."
)
# Ed25519 as libsodium keeps it: the secret half is the seed and the public half (src/libutil/signature of Nix).
SECRET_BYTES = 64
PUBLIC_BYTES = 32
_NAME = re.compile(r"[0-9A-Za-z._+@-]+")
# Nix's final message, the same in every version (src/nix/sigs.cc).
_ADDED = re.compile(r"added (\d+) signatures")
_UNTRUSTED = re.compile(r"path '(/nix/store/[^']+)' is untrusted")


@dataclass(frozen=True)
class SigningKey:
    """A file with a secret key, and its public parts."""

    path: str
    name: str
    public_key: str
    """The form of ``trusted-public-keys`` in nix.conf: ``name:base64``."""


def read_signing_key(path: str) -> SigningKey:
    """Check the file of a secret key.

    Raises ``NixferryError`` if it cannot be read, if users other than its owner and group may read it or users other
    than its owner may change it, or if it contains no secret key. The message never quotes the file.
    """
    file = Path(path)
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        content = file.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise NixferryError(
            f"the key file {path} cannot be read: {error.strerror}", step=STEP, remedy=HOW_TO_MAKE_A_KEY
        ) from None
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise NixferryError(
            f"the key file {path} has mode {mode:04o}, so other users may read or change it",
            step=STEP,
            remedy=f"Make a new key if other users could have read it, and run chmod 600 {path}.",
        )
    name, _colon, secret = content.partition(":")
    key = decoded(secret)
    if _NAME.fullmatch(name) is None or key is None or len(key) != SECRET_BYTES:
        raise NixferryError(
            f"{path} does not contain a secret key of Nix"
            + (", but a public one" if key is not None and len(key) == PUBLIC_BYTES else ""),
            step=STEP,
            remedy=HOW_TO_MAKE_A_KEY,
        )
    public = base64.b64encode(key[-PUBLIC_BYTES:]).decode("ascii")
    return SigningKey(path=path, name=name, public_key=f"{name}:{public}")


def is_public_key(text: str) -> bool:
    """Return True if ``text`` is a public key in the form of ``trusted-public-keys`` in nix.conf."""
    name, _colon, encoded = text.partition(":")
    key = decoded(encoded)
    return _NAME.fullmatch(name) is not None and key is not None and len(key) == PUBLIC_BYTES


def checked_public_keys(keys: Sequence[str], *, step: Step) -> list[str]:
    """Return public ``keys`` without surrounding space and duplicates. Raises ``NixferryError`` for an invalid one.

    The message has the name only: what was given may be a secret key.
    """
    found = list(dict.fromkeys(key.strip() for key in keys))
    for key in found:
        if not is_public_key(key):
            raise NixferryError(
                f"the key {key.partition(':')[0]!r} is not a valid public key of Nix",
                step=step,
                remedy="Give it as name:base64, which `nix key convert-secret-to-public < deploy.key` prints.",
            )
    return found


def decoded(text: str) -> bytes | None:
    """Decode ``text`` from base64; None if it is not valid."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def sign(nix: Nix, paths: Sequence[str], key: SigningKey, *, timeout: float = TIMEOUT_SECONDS) -> int:
    """Sign the closures of ``paths`` in the controller's store; return the number of added signatures.

    Paths that already have the key's signature are skipped. Raises ``NixferryError``.
    """
    result = nix.run(
        ["nix", "store", "sign", "--recursive", "--key-file", key.path, *paths],
        step=STEP,
        timeout=timeout,
        deadline_name=TIMEOUT_NAME,
    )
    added = _ADDED.search(result.stderr)
    return int(added[1]) if added else 0


def unsigned(
    nix: Nix, paths: Sequence[str], key: SigningKey, *, timeout: float = TIMEOUT_SECONDS
) -> list[str]:
    """Return the paths in the closures of ``paths`` that would get a signature.

    Raises ``NixferryError`` if a path is not in the store.
    """
    listing = nix.run(
        ["nix", "path-info", "--recursive", "--sigs", *paths],
        step=STEP,
        timeout=timeout,
        deadline_name=TIMEOUT_NAME,
    )
    lacking = without_signature_of(listing.stdout, key.name)
    # An older key of the same name may have made signatures.
    verify = ["nix", "store", "verify", "--recursive", "--no-contents", "--sigs-needed", "1"]
    verify += ["--option", "trusted-public-keys", key.public_key, *paths]
    request = NixRequest(tuple(verify), keep_messages=True)
    checked = nix.run_many([request], step=STEP, parallel=1)[0]
    wrong = _UNTRUSTED.findall("\n".join((*checked.messages, *checked.errors)))
    return list(dict.fromkeys([*lacking, *wrong]))


def without_signature_of(listing: str, name: str) -> list[str]:
    """Return the paths in ``listing`` of ``nix path-info --sigs`` without a signature by a key named ``name``."""
    lacking = []
    for line in listing.splitlines():
        path, *words = line.split()
        if path.startswith("/") and not any(word.startswith(f"{name}:") for word in words):
            lacking.append(path)
    return lacking
