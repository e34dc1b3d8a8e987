# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Signatures that OpenSSH makes over any bytes, with ``ssh-keygen -Y`` (PROTOCOL.sshsig in the sources of OpenSSH).

A signature has a namespace, which says what it is for: one made for git is not one for a pointer.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.run import Ended, run_one

SSH_KEYGEN_SECONDS = 30.0
BEGIN = "-----BEGIN SSH SIGNATURE-----\n"
# With a key of RSA-16384 a signature has 4 KiB.
SIGNATURE_BYTES = 16384
_SIGNATURE = re.compile(
    r"-----BEGIN SSH SIGNATURE-----\n(?:[A-Za-z0-9+/=]{1,76}\n)+-----END SSH SIGNATURE-----\n"
)
# The form of a line in ~/.ssh/*.pub. A comment may follow.
_PUBLIC_KEY = re.compile(r"(?P<key>(?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2})(?: [^\n]*)?")


@dataclass(frozen=True)
class SshKey:
    """A key that signs. ``path`` is what ssh-keygen gets; ``public`` has the form ``type base64``."""

    path: str
    public: str


def read_ssh_key(path: str, *, comment: str, step: Step) -> SshKey:
    """Find the public half of a key file: that of a secret key, or of a public one whose secret half an agent has.

    ssh-keygen itself refuses a secret key that other users can read. A secret key with a passphrase must be in an
    ssh-agent, since nothing here may ask for it. ``comment`` is that of a new key in the remedy. Raises
    ``NixferryError``; the message never quotes the file.
    """
    try:
        content = Path(path).read_bytes()[: 64 * 1024].decode("utf-8", errors="replace")
    except OSError as error:
        raise NixferryError(
            f"the key file {path} cannot be read: {error.strerror}",
            step=step,
            remedy=f"Make a key with ssh-keygen -t ed25519 -N '' -C {comment} -f {path}",
        ) from None
    public = public_key(content)
    if public is not None:
        return SshKey(path, public)
    ended = _ssh_keygen(["-y", "-f", path], step=step)
    public = public_key(ended.text) if ended.succeeded else None
    if public is None:
        raise NixferryError(
            f"{path} cannot be used to sign: {_last_words(ended)}",
            step=step,
            remedy="Give the file of a secret key of OpenSSH without a passphrase. One with a passphrase belongs in an "
            "ssh-agent: then give the file of its public half.",
            output=ended.errors,
        )
    return SshKey(path, public)


def public_key(text: str) -> str | None:
    """Return type and content of a public key in OpenSSH's form, without its comment; None if it is not one."""
    found = _PUBLIC_KEY.fullmatch(text.strip())
    return found["key"] if found else None


def is_signature(text: str) -> bool:
    """Return True if ``text`` has the form of one signature and nothing else."""
    return len(text) <= SIGNATURE_BYTES and _SIGNATURE.fullmatch(text) is not None


def sign_bytes(content: bytes, key: SshKey, *, namespace: str, step: Step) -> str:
    """Return the signature of ``content`` for ``namespace``. Raises ``NixferryError``."""
    ended = _ssh_keygen(["-Y", "sign", "-q", "-n", namespace, "-f", key.path], step=step, input=content)
    if not ended.succeeded or not is_signature(ended.text):
        raise NixferryError(
            f"{key.path} did not sign: {_last_words(ended)}",
            step=step,
            remedy="If it is a public key, look with `ssh-add -L` whether the ssh-agent holds its secret half.",
            output=ended.errors,
        )
    return ended.text


def why_not_signed(
    content: bytes, signature: str, keys: Sequence[str], *, namespace: str, step: Step
) -> list[str] | None:
    """Return None if one of the public ``keys`` has signed ``content`` for ``namespace``, else what ssh-keygen said.

    Raises ``NixferryError`` if ssh-keygen cannot be started.
    """
    # OpenSSH wants a name in front of the keys of an allowed_signers file. Here it has no meaning.
    name = "signer"
    with tempfile.TemporaryDirectory(prefix="nixferry-signature-") as directory:
        signers = [f'{name} namespaces="{namespace}" {key}\n' for key in keys]
        Path(directory, "allowed_signers").write_text("".join(signers), encoding="ascii")
        Path(directory, "signature").write_text(signature, encoding="ascii")
        ended = _ssh_keygen(
            [
                *("-Y", "verify", "-n", namespace, "-I", name),
                *("-f", f"{directory}/allowed_signers", "-s", f"{directory}/signature"),
            ],
            step=step,
            input=content,
        )
    return None if ended.succeeded else [*ended.text.splitlines(), *ended.errors]


def _ssh_keygen(arguments: Sequence[str], *, step: Step, input: bytes | None = None) -> Ended:
    """Run ssh-keygen. It may ask neither a terminal nor a window for a passphrase or a touch."""
    environment = {**os.environ, "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"}
    try:
        return run_one(
            ["ssh-keygen", *arguments], timeout=SSH_KEYGEN_SECONDS, environment=environment, input=input
        )
    except OSError as error:
        raise NixferryError(
            f"ssh-keygen could not be started: {error.strerror}",
            step=step,
            remedy="Install OpenSSH 8.2 or later on the controller.",
        ) from None


def _last_words(ended: Ended) -> str:
    if ended.timed_out:
        return f"ssh-keygen did not end within {SSH_KEYGEN_SECONDS:.0f} seconds"
    words = [line.strip() for line in ended.errors if line.strip()]
    return words[-1] if words else f"ssh-keygen ended with exit code {ended.return_code}"
