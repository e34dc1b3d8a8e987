# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The requests to a host about its secrets (``target/secrets/``).

One round trip compares: the host gets keyed hashes, under a key that is never used again, and answers which secrets
differ. One more sends what has to change. Everything travels on standard input.
"""

from __future__ import annotations

import hashlib
import re
import secrets as random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import whole_number
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import Completed
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.received import received_script
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import (
    RECORDS,
    answer_of_script,
    host_script,
)

from .declared import SEALED, TMPFS, Secret

STEP = Step.PLACE_SECRETS
COMMON_PARTS = (*RECORDS, "lib/own.sh", "secrets/sets.sh", "secrets/check.sh")
NOT_ASKED = "-"
_VERB = "secrets"
# A unit name without systemd's own escapes, with room for its suffix
_UNIT_NAME = re.compile(r"[A-Za-z0-9:_.-]{1,200}")
# Digits of a mode with which neither a group nor others can write
_ROOTS_MODE = re.compile(r"[0-7]*[0145][0145]")
_STORAGES = {TMPFS: "memory", SEALED: "sealed"}
_NOTHING = "Nothing was changed."
_REMEDIES = {
    "not_root": f"Use `become: true` for this task. {_NOTHING}",
    "not_linux": _NOTHING,
    "unsafe_directory": "Choose a directory that belongs to root, like all above it, and that only root can write "
    f"to; a service can read a secret there that belongs to its user. {_NOTHING}",
    "not_in_memory": "Choose a directory on a tmpfs or ramfs, or `storage: persistent` for a secret that may lie on "
    f"the disk. {_NOTHING}",
    "no_owner": "Create them first. A secret with `upload_at: pre-activation` that is placed before the activation, "
    f"by the role, may belong to a user that the new system brings. {_NOTHING}",
    "not_a_file": f"Remove it, or choose another path. {_NOTHING}",
    "no_systemd_creds": f"Choose `storage: tmpfs` or `storage: persistent` for this host. {_NOTHING}",
    "no_sha256sum": f"Install coreutils or busybox on the host. {_NOTHING}",
    "incomplete": "The connection broke, or the host has too little memory left in /run. Run it again. "
    f"{_NOTHING}",
    "lock_held": "Wait until the other deploy has ended.",
    "unsafe_state": f"Remove it, for instance with setfacl --remove-default. {_NOTHING}",
    "state_unwritable": f"Check the file system of /var/lib on the host. {_NOTHING}",
    "not_placed": "See the output for the reason, such as a full disk. Nothing was changed.",
    "half_placed": "Look at the file systems of the host, and run it again.",
}


@dataclass(frozen=True)
class Difference:
    """How one secret differs from its declaration."""

    what: tuple[str, ...]
    """Of ``new``, ``content``, ``owner``, ``mode``."""
    owner: str
    """The owner of the existing file, as ``user:group``; ``-`` if it does not exist."""
    mode: str

    @property
    def is_roots(self) -> bool:
        """Whether the existing file can have been written by root alone."""
        return self.owner.startswith("root:") and _ROOTS_MODE.fullmatch(self.mode) is not None


@dataclass(frozen=True)
class Comparison:
    """The host's findings. A secret is named by its index in the request."""

    differences: Mapping[int, Difference]
    later: frozenset[int]
    """Secrets whose owner does not exist yet."""
    missing: frozenset[int]
    """Secrets that do not exist, and whose content was not compared."""
    ours: tuple[str, ...]
    """Paths that were placed earlier."""


@dataclass(frozen=True)
class Placement:
    """The changes to the secrets of a host."""

    secrets: Sequence[Secret]
    comparison: Comparison
    contents: Mapping[str, bytes]
    """Of every secret that is not there, or that another user than root could have written since it was compared."""
    exclusive: bool
    apply: bool
    deployer: str


def compare_script(
    secrets: Sequence[Secret],
    contents: Mapping[str, bytes],
    *,
    owners_may_come: bool,
) -> str:
    """Return the request to compare. Contents are compared only for secrets in ``contents``."""
    salt = random.token_hex(16)

    def keyed(text: str) -> str:
        return hashlib.sha256(f"{salt}{text}".encode()).hexdigest()

    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    lines = []
    for number, secret in enumerate(secrets):
        fields = (
            number,
            keyed(digests[secret.name]) if secret.name in digests else NOT_ASKED,
            len(contents[secret.name]) if secret.name in contents else NOT_ASKED,
            secret.user,
            secret.group,
            secret.mode,
            _storage(secret),
            "may" if owners_may_come and secret.upload_at == "pre-activation" else "must",
            secret.path,
        )
        lines.append("\t".join(map(str, fields)))
    known = [digests[secret.name] for secret in secrets if secret.name in digests]
    settings = {
        "SALT": salt,
        "ENTRIES": "\n".join(lines),
        # In the usual case nothing has changed: then the host needs no program for each secret.
        "ALL_HASH": keyed("\n".join(known)) if known else "",
        "DIRECTORIES": _directories(secrets),
        "SEALS": str(int(any(secret.storage == SEALED for secret in secrets))),
    }
    return host_script(settings, (*COMMON_PARTS, "secrets/compare.sh"))


def parse_comparison(completed: Completed, secrets: int) -> Comparison:
    """Read the answer about as many ``secrets``. Raises ``NixferryError`` for an error that it reports."""

    def index(text: str) -> int:
        found = whole_number(text)
        if found is None or found >= secrets:
            raise answer.broken(f"it names the secret {text!r} of {secrets}")
        return found

    answer = answer_of_script(_VERB, completed, step=STEP, remedies=_REMEDIES)
    differences: dict[int, Difference] = {}
    later = set(map(index, answer.all("later")))
    for text in answer.all("entry"):
        fields = text.split(" ")
        if len(fields) != 4:
            raise answer.broken(f"not a difference: {text!r}")
        which, words = index(fields[0]), fields[1].split(",")
        if "later" in words:
            later.add(which)
        told = tuple(word for word in words if word != "later")
        differences[which] = Difference(told, owner=fields[2], mode=fields[3])
    return Comparison(
        differences=differences,
        later=frozenset(later),
        missing=frozenset(map(index, answer.all("missing"))),
        ours=answer.all("ours"),
    )


def place_command(placement: Placement) -> tuple[str, bytes]:
    """Return the command that places what has to change, and its standard input."""
    comparison = placement.comparison
    set_name = f"s{random.token_hex(8)}"
    contents: list[bytes] = []
    offset = 0
    lines: list[str] = []
    units: list[str] = []
    key_units: list[str] = []
    for number, secret in enumerate(placement.secrets):
        if number in comparison.missing:
            continue
        difference = comparison.differences.get(number)
        source = "keep"
        if difference is not None and secret.name not in placement.contents:
            source = "copy"
        elif difference is not None:
            content = placement.contents[secret.name]
            source = f"{offset}:{len(content)}"
            offset += len(content)
            contents.append(content)
        when = "later" if number in comparison.later else "now"
        fields = (number, when, secret.owner, secret.mode, _storage(secret), source, secret.path)
        lines.append("\t".join(map(str, fields)))
        if _UNIT_NAME.fullmatch(secret.name):
            key_units.append(f"{secret.name}\t{secret.path}")
        units += [f"{number}\trestart\t{unit}\n" for unit in secret.restart_units]
        units += [f"{number}\treload\t{unit}\n" for unit in secret.reload_units]
    on_disk = any(secret.storage != TMPFS for secret in placement.secrets)
    script = host_script(
        {
            "SET": set_name,
            "ENTRIES": "\n".join(lines),
            "UNITS": "".join(units),
            "KEY_UNITS": "\n".join(key_units),
            "DIRECTORIES": _directories(placement.secrets),
            "EXCLUSIVE": str(int(placement.exclusive)),
            "APPLY": str(int(placement.apply)),
            "DEPLOYER": placement.deployer,
            "BOOT_SCRIPT": host_script({}, (*COMMON_PARTS, "secrets/boot.sh")).rstrip("\n")
            if on_disk
            else "",
        },
        (*COMMON_PARTS, "secrets/units.sh", "secrets/place.sh"),
    ).encode()
    return received_script(_VERB, "the secrets", script, b"".join(contents))


@dataclass(frozen=True)
class Placed:
    """The changes that a host has made."""

    set_name: str
    failed_units: tuple[str, ...]
    output: tuple[str, ...]
    """The output of the programs."""


def parse_placed(completed: Completed) -> Placed:
    """Read the answer of ``place_command``. Raises ``NixferryError`` for an error that it reports."""
    answer = answer_of_script(_VERB, completed, step=STEP, remedies=_REMEDIES)
    return Placed(answer.text("set"), answer.all("unit_failed"), answer.all("output"))


def _storage(secret: Secret) -> str:
    return _STORAGES.get(secret.storage, "disk")


def _directories(secrets: Sequence[Secret]) -> str:
    found = {(("disk" if _storage(secret) == "disk" else "memory"), secret.directory) for secret in secrets}
    return "\n".join(f"{storage} {directory}" for storage, directory in sorted(found))
