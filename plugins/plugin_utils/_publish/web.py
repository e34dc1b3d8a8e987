# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Read and write files behind an address: ``http://``, ``https://``, or ``file://`` for a directory of this machine.

Proxies come from the environment, as for Nix. A login comes from a netrc file, which Nix reads as well (its setting
``netrc-file``): neither an argument nor an address then has a password. A server that asks for a certificate gets one.
"""

from __future__ import annotations

import base64
import http.client
import netrc
import os
import secrets
import ssl
import stat
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote, urlsplit

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step

# Seconds for one file: a server that neither answers nor refuses must not hold a publish.
REQUEST_SECONDS = 60.0
# What the names of files in caches may have: harmonia asks with a query.
_KEPT = "/?=&%+~"
ABSENT = (404, 410)
FORBIDDEN = (401, 403, 407)
LOGIN_TO_BUCKET = (
    "Give Ansible a login that may read, list and write the bucket, in the way of AWS's own programs: the file "
    "~/.aws/credentials with AWS_PROFILE or ?profile=NAME in the address, or the role of this machine."
)


@dataclass(frozen=True)
class Certificate:
    """Files in PEM format with which a client logs in: a certificate, with its chain, and its secret key."""

    file: str
    key: str

    def context(self, step: Step) -> ssl.SSLContext:
        """Return what presents it. Raises ``NixferryError``; the message never quotes the files."""
        context = ssl.create_default_context()
        try:
            mode = stat.S_IMODE(Path(self.key).stat().st_mode)
            if mode & (stat.S_IRWXO | stat.S_IWGRP):
                raise NixferryError(
                    f"the key file {self.key} has mode {mode:04o}, so other users may read or change it",
                    step=step,
                    remedy=f"Get a new certificate if other users could have read it, and run chmod 600 {self.key}.",
                )
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self.file, self.key, password="")
        except ssl.SSLError:
            raise NixferryError(
                f"{self.file} and {self.key} are not a certificate and its secret key",
                step=step,
                remedy="Give both in PEM format, the key without a passphrase.",
            ) from None
        except OSError as error:
            raise NixferryError(
                f"the certificate {self.file} or its key {self.key} cannot be read: {error.strerror}",
                step=step,
                remedy="Name the files in `certificate` and `certificate_key`.",
            ) from None
        return context


@dataclass(frozen=True)
class Answer:
    """What a server said. ``status`` is that of HTTP, 0 if there was no answer, which ``words`` then explains."""

    status: int
    body: bytes = b""
    size: int | None = None
    words: str = ""

    @property
    def found(self) -> bool:
        """Whether the file is there."""
        return self.status == http.client.OK

    @property
    def absent(self) -> bool:
        """Whether the server says that there is no such file."""
        return self.status in ABSENT

    def told(self) -> str:
        """Return the answer in words."""
        if self.status == 0:
            return self.words
        reason = http.client.responses.get(self.status, "")
        more = f" ({self.words})" if self.words else ""
        return f"HTTP status {self.status} {reason}".rstrip() + more


class Web:
    """Files below ``address``, which has no slash at its end."""

    def __init__(
        self,
        address: str,
        *,
        netrc_file: str | None = None,
        certificate: Certificate | None = None,
        step: Step = Step.READ_CACHE,
    ) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https", "file") or (parts.scheme != "file" and not parts.hostname):
            raise NixferryError(
                f"{_shown(address)} is not an address that can be read here",
                step=step,
                remedy="Give an address that begins with https://, http:// or file:///.",
            )
        refuse_password(address, step=step)
        self.address = address.rstrip("/")
        self.is_file = parts.scheme == "file"
        self.directory = Path(unquote(parts.path))
        # One for all requests: each reads the certificates of all authorities, which takes longer than a request.
        context = None
        if parts.scheme == "https":
            context = certificate.context(step) if certificate else ssl.create_default_context()
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
        self._login = _login_of(netrc_file, parts.hostname, step) if netrc_file and not self.is_file else ""

    def get(self, name: str, *, limit: int) -> Answer:
        """Read a file of at most ``limit`` bytes; a longer one is cut after one byte more."""
        if self.is_file:
            return self._read(name, limit)
        return self._request("GET", name, limit=limit)

    def head(self, name: str) -> Answer:
        """Ask for the size of a file."""
        if not self.is_file:
            return self._request("HEAD", name)
        try:
            return Answer(200, size=(self.directory / name).stat().st_size)
        except OSError as error:
            return _failed(error)

    def put(self, name: str, content: bytes) -> Answer:
        """Replace a file at once, by HTTP PUT or by rename."""
        return self._write(name, content) if self.is_file else self._request("PUT", name, data=content)

    def put_file(self, name: str, source: Path) -> Answer:
        """Write the file ``source`` by HTTP PUT, without reading all of it into memory. Raises ``OSError``."""
        with source.open("rb") as opened:
            return self.put_stream(name, opened)

    def put_stream(self, name: str, opened: BinaryIO) -> Answer:
        """Write an open file by HTTP PUT."""
        return self._request("PUT", name, data=opened)

    def _read(self, name: str, limit: int) -> Answer:
        try:
            with (self.directory / name).open("rb") as file:
                return Answer(200, file.read(limit + 1), os.fstat(file.fileno()).st_size)
        except OSError as error:
            return _failed(error)

    def _write(self, name: str, content: bytes) -> Answer:
        file = self.directory / name
        temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        try:
            temporary.write_bytes(content)
            temporary.chmod(0o644)
            temporary.replace(file)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            return _failed(error)
        return Answer(200)

    def _request(
        self, method: str, name: str, *, data: bytes | BinaryIO | None = None, limit: int = 0
    ) -> Answer:
        request = urllib.request.Request(  # noqa: S310
            f"{self.address}/{quote(name, safe=_KEPT)}", data=data, method=method
        )
        # A cache on the way must not answer with what was there before.
        request.add_header("Cache-Control", "no-cache")
        if data is not None:
            request.add_header("Content-Type", "application/octet-stream")
        if data is not None and not isinstance(data, bytes):
            # Without it the file would go in chunks, which object stores refuse.
            request.add_header("Content-Length", str(os.fstat(data.fileno()).st_size))
        if self._login:
            request.add_unredirected_header("Authorization", self._login)
        try:
            with self._opener.open(request, timeout=REQUEST_SECONDS) as response:
                length = response.headers.get("Content-Length") or ""
                return Answer(
                    # PUT answers with 200, 201 or 204, which all mean that it was done.
                    200 if 200 <= response.status < 300 else response.status,
                    response.read(limit + 1) if limit else b"",
                    int(length) if length.isascii() and length.isdigit() else None,
                )
        except urllib.error.HTTPError as error:
            error.close()
            return Answer(error.code)
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            return Answer(0, words=str(getattr(reason, "strerror", None) or reason) or type(error).__name__)


def refuse_password(address: str, *, step: Step) -> None:
    """Raise ``NixferryError`` for an address with a password in it."""
    parts = urlsplit(address)
    if parts.password:
        raise NixferryError(
            f"the address of {parts.hostname} contains a password, which logs and process lists would show",
            step=step,
            remedy="Put it into a file that only its owner can read: a netrc file that `netrc_file` names, or "
            "~/.aws/credentials for a bucket.",
        )


def _failed(error: OSError) -> Answer:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Answer(404)
    return Answer(403 if isinstance(error, PermissionError) else 0, words=error.strerror or str(error))


def _shown(address: str) -> str:
    """Return an address without a login in it."""
    return repr(address if "@" not in address else f"...@{address.rpartition('@')[2]}")


def _login_of(netrc_file: str, host: str | None, step: Step) -> str:
    try:
        found = netrc.netrc(netrc_file).authenticators(host or "")
    except (OSError, netrc.NetrcParseError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not a valid netrc file"
        raise NixferryError(
            f"the netrc file {netrc_file} cannot be read: {why}",
            step=step,
            remedy="It has lines such as: machine cache.example.org login USER password PASSWORD.",
        ) from None
    if found is None:
        return ""
    login, _account, password = found
    return "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode("ascii")


def refusal(answer: Answer, what: str, *, address: str, step: Step, writing: bool = False) -> NixferryError:
    """Return the error for an answer other than yes, with a remedy for each kind."""
    if answer.status in FORBIDDEN and address.startswith("s3://"):
        remedy = LOGIN_TO_BUCKET
    elif answer.status in FORBIDDEN:
        remedy = (
            "Give the login for this server in `netrc_file` or `certificate`, or let this machine in there."
        )
        if not writing:
            remedy += " Object stores answer so for what is absent, too, unless the login may list."
    elif answer.status in (405, 501) and writing:
        remedy = "Let the server take files by PUT at this address, or give a directory."
    elif answer.status == 0:
        remedy = (
            f"Look whether {address} can be reached from this machine, and whether its certificate is valid."
        )
    else:
        remedy = "Look into the log of the server."
    return NixferryError(f"{what}: {answer.told()}", step=step, remedy=remedy)
