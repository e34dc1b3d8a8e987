# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Read the secrets that a fleet file declares for a host, when they are placed. They stay in memory.

The evaluator's output of such a request is never shown: it may quote a content.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.state import locked, state_directory
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.limits import (
    available_processors,
    chunk_size,
    default_limits,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.fleet import FileFleet, Fleet
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.listing import read_fleet
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.source import (
    SOURCE_OPTIONS,
    source_from,
)

from .declared import (
    PERSISTENT,
    SOURCES,
    TMPFS,
    usual_words,
)

STEP = Step.READ_FLEET_SECRETS
EVALUATION_DEADLINE = 600
"""Seconds that reading the secrets of one host may take, as the inventory gives a whole fleet."""
DEADLINE_NAME = "the deadline for reading the secrets of the fleet"
# The source options that tell how to read a fleet.
FLEET_OPTIONS = {
    name: SOURCE_OPTIONS[name]
    for name in ("fleet", "fleet_format", "args", "argstrs", "include", "override_inputs", "impure")
}
# An evaluation cache on the disk would hold contents.
_NIX_OPTIONS = {"eval-cache": "false"}
_STORE = "/nix/store/"
_MEMORY = "/run/"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# Words of morph's `action` for units, and the options that they stand for.
_UNIT_VERBS = {
    "restart": "restart_units",
    "try-restart": "restart_units",
    "reload": "reload_units",
    "reload-or-restart": "reload_units",
    "try-reload-or-restart": "reload_units",
}


@dataclass(frozen=True)
class FleetSecrets:
    """The secrets that a fleet file declares for one host, as entries of the option ``secrets``."""

    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    directory: str = ""
    """The directory of their relative files and commands."""
    warnings: tuple[str, ...] = ()

    def with_declared(self, declared: Mapping[str, Any]) -> dict[str, Any]:
        """Merge these with the ``declared`` ones, which win by name.

        A key without content takes its content from Ansible and every other option from the fleet file.
        """
        merged: dict[str, Any] = {**self.entries, **declared}
        for name, entry in self.entries.items():
            own = declared.get(name)
            if isinstance(own, Mapping) and not any(word in entry for word in SOURCES):
                words = usual_words(name, own)
                moved = {"path", "dest_dir", "name", "storage"} & words.keys()
                kept = {word: value for word, value in entry.items() if word != "path" or not moved}
                merged[name] = {**kept, **words}
        return merged


def fleet_of(options: Mapping[str, Any], directory: str) -> Fleet | None:
    """Return the fleet that the task's options name, if any. Relative paths start at ``directory``."""
    if not options.get("fleet"):
        return None
    return source_from(options, ("fleet",)).fleet_in(directory, write_lock_file=False)


def read_fleet_secrets(
    fleet: Fleet, host: str, *, directory: str, storage: str | None = None, nix: Nix | None = None
) -> FleetSecrets:
    """Read what ``fleet`` declares for ``host``. ``directory`` is that of the playbook, ``storage`` the task's.

    Raises ``NixferryError``, whose text never holds a content.
    """
    nix = nix or Nix(options=_NIX_OPTIONS, working_directory=directory)
    fleet = fleet.settled(nix)
    # Ansible may have more forks than the controller has processors and memory for evaluators.
    with locked(f"fleet-secrets-{_turn(host)}", state_directory()):
        request = replace(fleet.secrets_request(host), deadline=time.monotonic() + EVALUATION_DEADLINE)
        result = nix.run_many([request], step=STEP, parallel=1)[0]
    if result.timed_out:
        raise NixferryError(
            f"{DEADLINE_NAME} expired after {EVALUATION_DEADLINE} s",
            step=STEP,
            remedy="See how long the fleet takes to be listed.",
        )
    try:
        found = json.loads(result.stdout) if result.return_code == 0 else None
    except ValueError:
        found = None
    if not isinstance(found, Mapping):
        raise _failed(nix, fleet, host)
    place = _directory_of(fleet, directory)
    warnings: list[str] = []
    entries = {str(name): _entry(str(name), given, place, storage, warnings) for name, given in found.items()}
    return FleetSecrets(entries, place, tuple(warnings))


def _turn(host: str) -> int:
    """Hosts with the same number are evaluated one after another."""
    _size, evaluators = chunk_size(available_processors(), default_limits())
    return zlib.crc32(host.encode()) % evaluators


def _failed(nix: Nix, fleet: Fleet, host: str) -> NixferryError:
    """Return why the secrets of ``host`` cannot be read, as far as known without reading contents."""
    listing = read_fleet(nix, fleet, timeout=EVALUATION_DEADLINE)
    if host in listing.errors:
        return listing.errors[host]
    if host not in listing.hosts:
        return NixferryError(
            f"the fleet {' '.join(fleet.words)} has no host {host!r}",
            step=STEP,
            remedy="The host's name in the fleet has to be its inventory name.",
        )
    names = ", ".join(listing.hosts[host]["keys"])
    return NixferryError(
        f"the contents of the secrets cannot be evaluated ({names}). What Nix says is not shown, as it may quote one",
        step=STEP,
        remedy="Look at their `text`, `keyFile` and `keyCommand` in the fleet file.",
    )


def _entry(
    name: str, given: Mapping[str, Any], directory: str, storage: str | None, warnings: list[str]
) -> dict[str, Any]:
    """Return an entry of the option ``secrets`` with the given options only."""
    words = ("path", "user", "group", "permissions", "upload_at", "storage", "text", "file", "command")
    entry = {word: given[word] for word in words if given.get(word) is not None}
    path = str(entry.get("path", ""))
    if "storage" not in entry:
        if not path.startswith(_MEMORY):
            entry["storage"] = PERSISTENT
        elif storage == PERSISTENT:
            entry["storage"] = TMPFS
    if "file" in entry:
        entry["file"] = os.path.normpath(posixpath.join(directory, str(entry["file"])))
        if entry["file"].startswith(_STORE):
            warnings.append(
                f"the file of the secret {name} lies in the Nix store, which every user of this machine can read: name "
                "it by a string with a path outside the flake"
            )
    units: dict[str, list[str]] = {
        word: list(given.get(word) or []) for word in ("restart_units", "reload_units")
    }
    action = [str(word) for word in given.get("action") or []]
    if action:
        verb, names = _units_of(action)
        if verb:
            units[verb] += names
        else:
            warnings.append(f"the action of the secret {name} is not run: {' '.join(action)}")
    return {**entry, **{word: names for word, names in units.items() if names}}


def _units_of(action: Sequence[str]) -> tuple[str, list[str]]:
    """Return the option for an ``action`` of morph, with the units; empty if none fits."""
    words = [word for word in action if word not in ("sudo", "--")]
    if len(words) > 2 and posixpath.basename(words[0]) == "systemctl" and words[1] in _UNIT_VERBS:
        names = words[2:]
        if not any(name.startswith("-") for name in names):
            return _UNIT_VERBS[words[1]], names
    return "", []


def _directory_of(fleet: Fleet, directory: str) -> str:
    """Return the fleet's directory on the controller, or the playbook's for a remote fleet."""
    if isinstance(fleet, FileFleet):
        return posixpath.dirname(fleet.files[0]) if fleet.files[0].startswith("/") else directory
    if _URL.match(fleet.reference):
        return directory
    return unquote(fleet.reference.partition("?")[0])
