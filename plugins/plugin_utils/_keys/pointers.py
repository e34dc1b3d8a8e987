# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Signed pointers: which store path one host of one channel should run.

The signatures in a binary cache say what a store path contains, never which path a host should run. A pointer says
that, for one host and one channel, with a serial number that only grows and a time at which it expires. An attacker who
writes to the web server can therefore withhold a pointer, but cannot make a host run a path that the publisher has not
signed for it.

A pointer is one file, so that it and its signature never disagree: lines of text, then the signature that OpenSSH's
``ssh-keygen -Y sign`` makes over exactly these lines (PROTOCOL.sshsig in the sources of OpenSSH)::

    nixferry-pointer 1
    host web1
    channel stable
    serial 1795225250
    issued 1795225250
    expires 1796434850
    toplevel /nix/store/4f0ghz...-nixos-system-web1
    -----BEGIN SSH SIGNATURE-----
    ...
    -----END SSH SIGNATURE-----

Every line is required, in this order, with one space, ended by one newline. Times are seconds since the epoch.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import is_store_path

from .ssh_signature import BEGIN, SshKey, is_signature, read_ssh_key, sign_bytes, why_not_signed

SIGN_STEP = Step.SIGN_POINTER
READ_STEP = Step.READ_POINTER
HEADER = "nixferry-pointer 1"
# What the signature is for (PROTOCOL.sshsig): one made for git or for a file is not one for a pointer.
NAMESPACE = "nixferry-pointer@v1"
# The name in front of the keys of an allowed_signers file, which OpenSSH wants.
PRINCIPAL = "publisher"
# With the signature of a key of RSA-16384 a pointer has 4 KiB.
POINTER_BYTES = 16384
# Below it every shell and every language can calculate with a number.
LARGEST_NUMBER = 999_999_999_999_999
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,14}")
_FIELDS = ("host", "channel", "serial", "issued", "expires", "toplevel")


@dataclass(frozen=True)
class Pointer:
    """What ``host`` of ``channel`` should run. ``issued`` and ``expires`` are seconds since the epoch."""

    host: str
    channel: str
    serial: int
    issued: int
    expires: int
    toplevel: str

    def text(self) -> str:
        """Return the lines that are signed. Raises ``NixferryError`` for a value that no pointer may have."""
        lines = [HEADER, *(f"{name} {getattr(self, name)}" for name in _FIELDS)]
        text = "".join(f"{line}\n" for line in lines)
        parse_pointer(text, step=SIGN_STEP)
        return text

    def life_left(self, now: float) -> float:
        """Return which part of its life is still to come at ``now``: 1 when just issued, 0 or less when expired."""
        return (self.expires - now) / max(1, self.expires - self.issued)


def parse_pointer(text: str, *, step: Step = READ_STEP) -> Pointer:
    """Parse the signed lines of a pointer. Raises ``NixferryError`` for whatever differs from the format."""
    lines = text.split("\n")
    if len(text) > POINTER_BYTES or len(lines) != len(_FIELDS) + 2 or lines[0] != HEADER or lines[-1] != "":
        raise _wrong("it does not have the lines of version 1 of the format", step)
    values: dict[str, str] = {}
    for name, line in zip(_FIELDS, lines[1:], strict=False):
        its_name, _space, values[name] = line.partition(" ")
        if its_name != name:
            raise _wrong(f"the line `{name}` is missing", step)
    for name in ("host", "channel"):
        if NAME.fullmatch(values[name]) is None:
            raise _wrong(f"{values[name][:140]!r} is not a valid name of a {name}", step)
    for name in ("serial", "issued", "expires"):
        if _NUMBER.fullmatch(values[name]) is None:
            raise _wrong(f"{values[name][:40]!r} is not a valid number for `{name}`", step)
    if not is_store_path(values["toplevel"]):
        raise _wrong("`toplevel` is not a store path", step)
    pointer = Pointer(
        host=values["host"],
        channel=values["channel"],
        serial=int(values["serial"]),
        issued=int(values["issued"]),
        expires=int(values["expires"]),
        toplevel=values["toplevel"],
    )
    if pointer.expires <= pointer.issued:
        raise _wrong("it expires before it is issued", step)
    return pointer


def _wrong(why: str, step: Step) -> NixferryError:
    return NixferryError(
        f"not a valid pointer: {why}", step=step, remedy="Publish again, which writes the pointer anew."
    )


def read_pointer_key(path: str) -> SshKey:
    """Return the key that signs pointers, from a file. Raises ``NixferryError``, see ``read_ssh_key``."""
    return read_ssh_key(path, comment=PRINCIPAL, step=SIGN_STEP)


def sign_pointer(pointer: Pointer, key: SshKey) -> bytes:
    """Return the file of ``pointer``: its lines and their signature. Raises ``NixferryError``."""
    text = pointer.text()
    signature = sign_bytes(text.encode("ascii"), key, namespace=NAMESPACE, step=SIGN_STEP)
    return (text + signature).encode("ascii")


def verify_pointer(
    content: bytes,
    keys: Sequence[str],
    *,
    host: str,
    channel: str,
    now: float | None = None,
) -> Pointer:
    """Return the pointer in the file ``content`` if one of the public ``keys`` has signed it for this host and channel.

    With ``now``, in seconds since the epoch, an expired one is refused. Raises ``NixferryError``. The signature is
    checked before anything is parsed; what is checked is exactly what is parsed.
    """
    text = content[: POINTER_BYTES + 1].decode("ascii", errors="replace")
    payload, begin, rest = text.partition(BEGIN)
    if len(content) > POINTER_BYTES or not is_signature(begin + rest):
        raise _wrong("it does not end with a signature", READ_STEP)
    said = why_not_signed(payload.encode("utf-8"), begin + rest, keys, namespace=NAMESPACE, step=READ_STEP)
    if said is not None:
        raise NixferryError(
            f"the pointer of {host} is not signed by a trusted key",
            step=READ_STEP,
            remedy="If the key was replaced, name the old public key as well in `trusted_pointer_keys`. Otherwise find "
            "out who wrote this file: it is not the publisher's.",
            output=said,
        )
    pointer = parse_pointer(payload)
    if (pointer.host, pointer.channel) != (host, channel):
        raise NixferryError(
            f"the pointer is for {pointer.host} in channel {pointer.channel}, not for {host} in {channel}",
            step=READ_STEP,
            remedy="Find out who put it there: the publisher writes each pointer to its own place.",
        )
    if now is not None and now >= pointer.expires:
        ended_at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(pointer.expires))
        raise NixferryError(
            f"the pointer of {host} has expired at {ended_at}",
            step=READ_STEP,
            remedy="Publish again, and look at the clock of this machine.",
        )
    return pointer
