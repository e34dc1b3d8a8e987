# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Copy closures to a binary cache, signed, and see that hosts will get all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import SigningKey
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

from .closure import Checked, Fault, check_closures
from .web import Web

STEP = Step.PUBLISH
VERIFY_STEP = Step.READ_CACHE
TIMEOUT_NAME = "the timeout of the copy to the cache"
COMPRESSIONS = ("zstd", "xz", "gzip", "bzip2", "none")
# Nix 2.8 takes the path of a file:// address as it stands, later ones decode it (parseURL in src/libutil/url.cc).
_PLAIN = re.compile(r"/[A-Za-z0-9._+/-]*")
_SCHEMES = ("file", "http", "https", "s3")
_REMEDIES = {
    Fault.ABSENT: "If a proxy is in front of the cache, let it not keep the answer 404. Otherwise look whether "
    "`public_url` is the address of `cache`.",
    Fault.FORBIDDEN: "Give the login for this address in `netrc_file`, or let this machine in on the server. Nix takes "
    "this answer for an absent path.",
    Fault.UNREACHABLE: "Look whether the address can be reached from this machine, and into the log of the server.",
    Fault.UNSIGNED: "Name the key that signed them in `public_keys`, or let this task sign: `cache_key`.",
    Fault.NO_CONTENT: "Remove the .narinfo files of these paths from the cache, and publish again.",
    Fault.TRUNCATED: "Remove the .narinfo and content files of these paths from the cache, and publish again.",
    Fault.STALE: "Let the proxy keep the answer 404 for a minute at most, and empty its memory of this path.",
}


@dataclass(frozen=True)
class Cache:
    """A binary cache: ``address`` is where it is written to, ``public`` where hosts read it.

    ``key`` signs what is written. ``keys`` are the public keys that hosts trust.
    """

    address: str
    public: str
    key: SigningKey | None
    keys: tuple[str, ...]
    compression: str = "zstd"
    netrc_file: str | None = None

    def store(self) -> str:
        """Return the address for Nix. What the user's address says itself is left. Raises ``NixferryError``."""
        address = f"file://{self.address}" if self.address.startswith("/") else self.address
        parts = urlsplit(address)
        directory = address.removeprefix("file://").partition("?")[0]
        if parts.scheme == "file" and _PLAIN.fullmatch(directory) is None:
            raise NixferryError(
                f"the name of the directory {directory!r} has a character that not every Nix reads in an address",
                step=STEP,
                remedy="Give a directory whose path has letters, digits and the characters . _ - + / only.",
            )
        if parts.scheme not in _SCHEMES:
            raise NixferryError(
                f"{parts.scheme or address!r} is not a kind of binary cache that can be written",
                step=STEP,
                remedy=f"Give a directory, or an address that begins with {', '.join(_SCHEMES[1:])}.",
            )
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        ours = {"compression": self.compression}
        if self.compression in ("zstd", "xz"):
            ours["parallel-compression"] = "true"
        if self.key is not None:
            # The path of the file, not the key.
            ours["secret-key"] = self.key.path
        return urlunsplit(parts._replace(query=urlencode({**ours, **given}, quote_via=quote, safe="/")))

    def web(self) -> Web:
        """Return the files behind the public address."""
        return Web(self.public, netrc_file=self.netrc_file, step=VERIFY_STEP)


def public_address(address: str) -> str:
    """Return the address under which a cache can be read, if the user gave none: the same one without its options."""
    if address.startswith("/"):
        return f"file://{address}"
    return urlunsplit(urlsplit(address)._replace(query=""))


def copy_to_cache(
    nix: Nix, cache: Cache, paths: Sequence[str], *, timeout: float | None, ask_again: bool = False
) -> None:
    """Copy the closures of ``paths`` to ``cache``, references first. Raises ``NixferryError``.

    Nix remembers for thirty days what a cache behind HTTP or S3 has, and copies nothing of it. ``ask_again`` makes it
    ask.
    """
    again = ["--refresh"] if ask_again else []
    _run(nix, cache, ["copy", *again, "--to", cache.store(), *paths], timeout)


def sign_in_cache(
    nix: Nix, cache: Cache, key: SigningKey, paths: Sequence[str], *, timeout: float | None
) -> None:
    """Add the signature of ``key`` to the closures of ``paths`` in the cache, which have other signatures or none."""
    signing = ["store", "sign", "--recursive", "--store", cache.store(), "--key-file", key.path]
    _run(nix, cache, [*signing, *paths], timeout)


def _run(nix: Nix, cache: Cache, arguments: Sequence[str], timeout: float | None) -> None:
    login = ["--option", "netrc-file", cache.netrc_file] if cache.netrc_file else []
    nix.run(["nix", *arguments, *login], step=STEP, timeout=timeout, deadline_name=TIMEOUT_NAME)


def verify_cache(cache: Cache, paths: Sequence[str], *, progress: Progress) -> Checked:
    """Return what the public address has of the closures of ``paths``, right or wrong."""
    return check_closures(cache.web(), paths, keys=cache.keys, on_tick=progress.tick)


def faults(checked: Checked) -> set[Fault]:
    """Return the kinds of what is wrong."""
    return {each.fault for each in checked.wrong}


def remedy_of(fault: Fault) -> str:
    """Return what to do about a fault."""
    return _REMEDIES.get(fault, "Find out what answers at this address.")


def refuse_wrong(cache: Cache, checked: Checked) -> None:
    """Raise ``NixferryError`` if a host would not get all that it needs. The first fault gives the remedy."""
    if not checked.wrong:
        return
    first = checked.wrong[0]
    others = len(checked.wrong) - 1
    more = f", and {others} other {'path' if others == 1 else 'paths'}" if others else ""
    raise NixferryError(
        f"{cache.public} does not give hosts {first.path}{more}: {first.fault} ({first.told})",
        step=VERIFY_STEP,
        remedy=f"{remedy_of(first.fault)} No pointer was written.",
        output=[f"{each.path}: {each.fault}: {each.told}" for each in checked.wrong],
    )
