# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Copy closures to a binary cache, signed, and see that hosts will get all of them."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import SigningKey
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

from .bucket import HOW_TO_SIGN, OPTIONS, Bucket, can_sign, is_bucket
from .closure import Checked, Fault, check_closures
from .upload import TIMEOUT_NAME, Files, Sender, copy_through, sign_through
from .web import Certificate, Web

STEP = Step.PUBLISH
VERIFY_STEP = Step.READ_CACHE
COMPRESSIONS = ("zstd", "xz", "gzip", "bzip2", "none")
# Nix 2.8 takes the path of a file:// address as it stands, later ones decode it (parseURL in src/libutil/url.cc).
_PLAIN = re.compile(r"/[A-Za-z0-9._+/-]*")
_SCHEMES = ("file", "http", "https", "s3")
_NIX_AND_BUCKETS = (
    "Many builds of Nix, such as Debian's, have no object stores or no logins to them. "
    f"{HOW_TO_SIGN} Or use a Nix that has both."
)
_REMEDIES = {
    Fault.ABSENT: "If a proxy is in front of the cache, let it not keep the answer 404. Otherwise look whether "
    "`public_url` is the address of `cache`.",
    Fault.FORBIDDEN: "Give the login for this address in `netrc_file` or `certificate`, or let this machine in on the "
    "server. Nix takes this answer for an absent path.",
    Fault.UNREACHABLE: "Look whether the address can be reached from this machine, and into the log of the server.",
    Fault.UNSIGNED: "Name the key that signed them in `public_keys`, or sign what this machine has with `cache_key`.",
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
    certificate: Certificate | None = None
    temporary: str | None = None
    """The directory for temporary files of this machine, None for the system's own."""

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

    @property
    def shown(self) -> str:
        """Return the public address without options, for messages and lists."""
        return self.public.partition("?")[0]

    def in_directory(self, directory: Path) -> Cache:
        """Return a cache in a directory that Nix writes in the same way."""
        given = parse_qsl(urlsplit(self.address).query, keep_blank_values=True)
        query = urlencode([each for each in given if each[0] not in OPTIONS], quote_via=quote, safe="/")
        return replace(self, address=f"file://{directory}{'?' if query else ''}{query}", certificate=None)

    @property
    def nix_cannot(self) -> bool:
        """Whether the task sends files itself: to a bucket, if there is a library for that, and with a certificate."""
        if is_bucket(self.address):
            return can_sign()
        return self.certificate is not None and self.address.startswith("https://")

    def files(self) -> Files:
        """Return the files behind the address that is written to."""
        address = self.address if is_bucket(self.address) else public_address(self.address)
        return open_files(address, netrc_file=self.netrc_file, certificate=self.certificate, step=STEP)

    def public_files(self) -> Files:
        """Return the files behind the public address."""
        return open_files(
            self.public, netrc_file=self.netrc_file, certificate=self.certificate, step=VERIFY_STEP
        )


def open_files(
    address: str, *, netrc_file: str | None, certificate: Certificate | None = None, step: Step
) -> Files:
    """Return the files behind an address: a bucket's, a server's, or a directory's."""
    if is_bucket(address):
        return Bucket(address, step=step)
    return Web(address, netrc_file=netrc_file, certificate=certificate, step=step)


def public_address(address: str) -> str:
    """Return the address under which a cache can be read, if the user gave none: the same one without its options.

    Those of a bucket say where it is.
    """
    if address.startswith("/"):
        return f"file://{address}"
    return address if is_bucket(address) else urlunsplit(urlsplit(address)._replace(query=""))


def copy_to_cache(
    nix: Nix,
    cache: Cache,
    paths: Sequence[str],
    *,
    timeout: float | None,
    progress: Progress,
    again: bool = False,
) -> None:
    """Copy the closures of ``paths`` to ``cache``, references first. Raises ``NixferryError``.

    Nix remembers for thirty days what a cache behind HTTP or S3 has, and copies nothing of it. ``again`` makes it ask.
    """
    if not cache.nix_cannot:
        try:
            _run(
                nix,
                cache,
                ["copy", *(["--refresh"] if again else []), "--to", cache.store(), *paths],
                timeout,
            )
        except NixferryError as error:
            if is_bucket(cache.address):
                raise error.with_(remedy=_NIX_AND_BUCKETS) from None
            raise
        return

    def copy(directory: Path, seconds: float | None) -> None:
        _run(nix, cache, ["copy", "--to", cache.in_directory(directory).store(), *paths], seconds)

    with _staging(cache) as directory:
        sender = Sender(cache.files(), timeout=timeout, on_tick=progress.tick)
        copy_through(directory, nix, sender, paths, copy=copy)


def sign_in_cache(
    nix: Nix,
    cache: Cache,
    key: SigningKey,
    paths: Sequence[str],
    *,
    timeout: float | None,
    progress: Progress,
) -> None:
    """Add the signature of ``key`` to what the cache describes as this machine's store has it, without a trusted one.

    Raises ``NixferryError`` if the cache describes something else.
    """
    with _staging(cache) as directory:
        sender = Sender(cache.files(), timeout=timeout, on_tick=progress.tick)
        sign_through(
            directory,
            nix,
            sender,
            paths,
            key_file=key.path,
            is_signed=lambda info: info.signed_by(cache.keys) is not None,
        )


@contextlib.contextmanager
def _staging(cache: Cache) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nixferry-cache-", dir=cache.temporary) as name:
        yield Path(name)


def _run(nix: Nix, cache: Cache, arguments: Sequence[str], timeout: float | None) -> None:
    login = ["--option", "netrc-file", cache.netrc_file] if cache.netrc_file else []
    nix.run(["nix", *arguments, *login], step=STEP, timeout=timeout, deadline_name=TIMEOUT_NAME)


def verify_cache(cache: Cache, paths: Sequence[str], *, progress: Progress) -> Checked:
    """Return what the public address has of the closures of ``paths``, right or wrong."""
    return check_closures(cache.public_files(), paths, keys=cache.keys, on_tick=progress.tick)


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
        f"{cache.shown} does not give hosts {first.path}{more}: {first.fault} ({first.told})",
        step=VERIFY_STEP,
        remedy=f"{remedy_of(first.fault)} No pointer was written.",
        output=[f"{each.path}: {each.fault}: {each.told}" for each in checked.wrong],
    )
