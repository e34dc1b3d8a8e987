# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Parse the options of the inventory plugin, and select its hosts."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.query import search
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import arguments_literal

from .fleet import FileFleet, Fleet
from .fleet_words import fleet_from, fleet_words
from .listing import FleetListing
from .outputs import STEP

# In characters. A larger file is an inventory of something else: a configuration names its plugin among a few options.
HEAD_OF_A_CONFIGURATION = 65536

OPTIONS = ("fleet", "format", "args", "argstrs", "include", "override_inputs", "impure")


@dataclass(frozen=True)
class FleetOptions:
    """The fleet to read. ``common`` has further options for a build of its hosts, by their names in nix_build."""

    fleet: Fleet
    directory: str
    common: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Return a digest that differs from that of any other fleet."""
        return hashlib.sha256(repr(self.fleet).encode()).hexdigest()[:16]


def names_plugin(path: str, plugin: str) -> bool:
    """Return whether a YAML file says that it configures the inventory plugin of this name.

    Ansible asks this of every file of an inventory: nothing is parsed, and a file that cannot be read is not one.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            head = file.read(HEAD_OF_A_CONFIGURATION)
    except (OSError, UnicodeDecodeError):
        return False
    said = rf"""^(?P<quote>["']?)plugin(?P=quote)\s*:\s+(?P<other>["']?){re.escape(plugin)}(?P=other)\s*(?:#.*)?$"""
    return re.search(said, head, re.MULTILINE) is not None


def refuse_unknown(given: Iterable[object], known: Collection[str]) -> None:
    """Raise ``NixferryError`` if a key of a configuration is not among the ``known`` options, which Ansible ignores."""
    causes = []
    for key in given:
        if key not in known:
            similar = difflib.get_close_matches(str(key), known, n=1)
            causes.append(
                f"{key} is not a valid option" + (f": did you mean {similar[0]}?" if similar else "")
            )
    if causes:
        raise NixferryError(
            "; ".join(causes),
            step=STEP,
            remedy="Correct or remove it. `ansible-doc -t inventory nixferry.deploy.fleet` lists the options.",
        )


def fleet_options(options: Mapping[str, Any], path: str) -> FleetOptions:
    """Parse the options in the configuration ``path``. Raises ``NixferryError`` for invalid ones."""
    words = fleet_words(options["fleet"])
    if not words:
        raise NixferryError("`fleet` is empty", step=STEP, remedy="Name a fleet file or a flake.")
    # A relative path would depend on the directory from which the link is followed.
    directory = str(Path(os.path.abspath(path)).parent)  # noqa: PTH100  (links stay)
    include = tuple(_entry(str(entry), directory) for entry in options["include"])
    fleet = fleet_from(
        words,
        directory=directory,
        format_=str(options["format"]),
        arguments=arguments_literal(options["args"], options["argstrs"]),
        include=include,
        override_inputs={str(name): str(value) for name, value in options["override_inputs"].items()},
        impure=bool(options["impure"]),
        write_lock_file=False,
    )
    strings = {name: str(value) for name, value in options["argstrs"].items()}
    named: dict[str, Any] = {"args": {**options["args"], **strings}}
    if isinstance(fleet, FileFleet):
        named["include"] = list(include)
    else:
        named.update(override_inputs=options["override_inputs"], impure=options["impure"])
    return FleetOptions(fleet, directory, {name: value for name, value in named.items() if value})


def selected(listing: FleetListing, query: str) -> list[str]:
    """Return the names of the hosts that the JMESPath expression ``query`` selects; all of them if it is empty.

    Hosts that could not be read are always included: it is unknown whether the query selects them.
    Raises ``NixferryError`` if the expression is invalid or selects other values than hosts.
    """
    if not query:
        return [*listing.hosts, *listing.errors]
    hosts = [{"name": name, **host} for name, host in listing.hosts.items()]
    found = search(query, hosts)
    items = found if isinstance(found, list) else [found]
    names = [item.get("name") if isinstance(item, dict) else item for item in items if item is not None]
    strange = [name for name in names if name not in listing.hosts]
    if strange:
        raise NixferryError(
            f"the query {query!r} selects {strange[0]!r}, which is not a host of the fleet",
            step=STEP,
            remedy="It must result in hosts or their names, as in \"[?contains(tags, 'web')].name\".",
        )
    return [*dict.fromkeys(map(str, names)), *listing.errors]


def _entry(entry: str, directory: str) -> str:
    """Return an entry of the search path with an absolute path."""
    name, equals, path = entry.rpartition("=")
    if ":" in path or path.startswith("/"):
        return entry
    return f"{name}{equals}{os.path.normpath(Path(directory, Path(path).expanduser()))}"
