# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Place host keys and files for a system before it boots for the first time (``target/install/place.sh``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.received import received_script
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import (
    answer_of_script,
    host_script,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.declared import (
    PERSISTENT,
    Secret,
    parse_secrets,
)

from .known_hosts import is_public_key
from .look import PARTS

STEP = Step.PLACE_FILES
GENERATE, KEEP, GIVEN = HOW = ("generate", "keep", "given")
KEY_TYPES = ("ed25519", "rsa", "ecdsa")
PLACE_SECONDS = 900
_DIRECTORY = re.compile(r"(/[A-Za-z0-9_.+-]+)+")
_REMEDIES = {
    "not_root": "Log in to the installer as root, or use `become: true`.",
    "no_room": "Look at the file systems of the installer.",
    "not_mounted": "Run the installation again from its first step: the installer was started anew.",
    "unsafe_place": "Choose another path for the file.",
    "not_placed": "See the output for the reason, such as a full disk, and run it again.",
    "no_old_key": "Generate a key, or give one.",
    "bad_key": "Give a private key in the form of OpenSSH, with its last newline and without a passphrase.",
    "incomplete": "The connection broke, or the installer has too little memory left in /run. Run it again.",
}


@dataclass(frozen=True)
class HostKeys:
    """The host keys of the new system. ``wanted`` are pairs of a type and one of ``HOW``."""

    wanted: tuple[tuple[str, str], ...]
    directory: str

    def lines(self) -> str:
        """Return them as ``install/place.sh`` reads them."""
        return "\n".join(f"{kind}\t{how}" for kind, how in self.wanted)


def host_keys(options: Mapping[str, Any]) -> tuple[HostKeys, dict[str, Any]]:
    """Return the host keys in ``options``, and the given ones as files. Raises ``NixferryError``."""
    directory = str(options["host_key_directory"]).rstrip("/")
    if _DIRECTORY.fullmatch(directory) is None or "/.." in directory:
        raise NixferryError(f"`host_key_directory` is not an absolute plain path: {directory!r}", step=STEP)
    given = options["host_keys"] or {}
    how = KEEP if options["keep_host_keys"] else GENERATE
    types = [*given, *(kind for kind in options["host_key_types"] if kind not in given)]
    for kind in types:
        if kind not in KEY_TYPES:
            raise NixferryError(
                f"{kind!r} is not a type of host keys", step=STEP, remedy=f"Use {', '.join(KEY_TYPES)}."
            )
    if not types:
        raise NixferryError(
            "the new system would have no host key that is known beforehand",
            step=STEP,
            remedy="Give a type in `host_key_types`, or a key in `host_keys`.",
        )
    files: dict[str, Any] = {}
    for kind, key in given.items():
        if not isinstance(key, str) or "PRIVATE KEY" not in key:
            raise NixferryError(
                f"the {kind} key in `host_keys` is not a private key",
                step=STEP,
                remedy="Give its content, for instance from a variable in a vault.",
            )
        # Templates drop the newline at the end, and OpenSSH refuses a key without.
        files[f"the {kind} host key"] = {
            "text": key.rstrip("\n") + "\n",
            "path": f"{directory}/ssh_host_{kind}_key",
            "permissions": "0600",
        }
    return HostKeys(tuple((kind, GIVEN if kind in given else how) for kind in types), directory), files


def declared_files(given: Mapping[str, Any]) -> list[Secret]:
    """Return files with the options of secrets; without a path of its own, the name of a file is its path."""
    entries = {}
    for name, entry in given.items():
        own = dict(entry) if isinstance(entry, Mapping) else entry
        if isinstance(own, dict) and "path" not in own and "dest" not in own and str(name).startswith("/"):
            own["path"] = str(name)
            # The name itself must be that of a file.
            entries[str(name).strip("/").replace("/", "-")] = own
        else:
            entries[str(name)] = own
    try:
        return parse_secrets(entries, {"storage": PERSISTENT})
    except NixferryError as error:
        raise error.with_(cause=error.cause.replace("the secret ", "the file ", 1), step=STEP) from None


@dataclass(frozen=True)
class PlacedFiles:
    """The paths that were written, and the public host keys."""

    placed: tuple[str, ...]
    host_keys: tuple[str, ...]


def place_files(
    shell: RemoteShell,
    files: Sequence[Secret],
    contents: Mapping[str, bytes],
    *,
    mount_point: str,
    keys: HostKeys | None = None,
) -> PlacedFiles:
    """Write ``files`` below ``mount_point``, which is empty for the installer's own root, and make the host keys."""
    lines, parts, offset = [], [], 0
    for file in files:
        content = contents[file.name]
        lines.append(f"{file.owner}\t{file.mode}\t{offset}:{len(content)}\t{file.path}")
        parts.append(content)
        offset += len(content)
    settings = {
        "MOUNT_POINT": mount_point,
        "FILES": "\n".join(lines),
        "HOST_KEYS": keys.lines() if keys else "",
        "KEY_DIRECTORY": keys.directory if keys else "",
    }
    script = host_script(settings, (*PARTS, "install/place.sh")).encode()
    command, data = received_script("files", "the files", script, b"".join(parts))
    said = shell.run_command(command, data=data, step=STEP, private=True, seconds=PLACE_SECONDS)
    answer = answer_of_script("files", said, step=STEP, remedies=_REMEDIES)
    found = answer.all("host_key")
    public = tuple(" ".join(line.split()[:2]) for line in found)
    for key in public:
        if not is_public_key(key):
            raise answer.broken(f"a host key is {key[:80]!r}")
    if keys and len(public) != len(keys.wanted):
        raise answer.broken(f"it has {len(public)} host keys instead of {len(keys.wanted)}")
    return PlacedFiles(answer.all("placed"), public)
