# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Remember the hosts of a flake, so that the next run lists an unchanged flake without evaluating it.

Without ``impure`` Nix lets a flake read nothing but itself and its locked inputs. So the list of its hosts depends on
these, on the question, and on Nix. All of them are in the name of the file that keeps a list. A fleet file may read
anything: its list is not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.state import state_directory
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix

from .fleet import FlakeFleet, Fleet
from .listing import TIMEOUT_NAME, FleetListing
from .outputs import STEP

# The newest lists that are kept. A large fleet takes about 1 KB a host.
KEPT_LISTS = 50


def fingerprint(nix: Nix, fleet: Fleet, *, timeout: float | None = None) -> str | None:
    """Return a name for all that the list of ``fleet`` depends on; None if that cannot be known.

    Fetches the flake, which a list needs anyway, but does not write its lock file. ``timeout`` is in seconds. Raises
    ``NixferryError`` if the flake cannot be fetched.
    """
    if not isinstance(fleet, FlakeFleet) or fleet.impure:
        return None
    deadline = None if timeout is None else time.monotonic() + timeout
    unlocked = replace(fleet, write_lock_file=False)
    asked = nix.run(unlocked.lock_request().arguments, step=STEP, timeout=timeout, deadline_name=TIMEOUT_NAME)
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    version = nix.run(["nix", "--version"], step=STEP, timeout=left, deadline_name=TIMEOUT_NAME).stdout
    try:
        metadata = json.loads(asked.stdout)
        contents = [metadata[part] for part in ("path", "locked", "locks")]
    except (ValueError, KeyError, TypeError):
        return None
    text = json.dumps(
        [version, contents, unlocked.list_request(None).arguments, repr(unlocked)], sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()


def recall(name: str) -> tuple[FleetListing, tuple[str, ...]] | None:
    """Return the list that was kept under this name, and what the evaluation warned of; None if there is none."""
    file = _directory() / f"{name}.json"
    try:
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        found = FleetListing.of_data(data["listing"]), tuple(map(str, data["warnings"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # The lists that are used are the newest. A directory that became read-only does not call for another evaluation.
    with contextlib.suppress(OSError):
        os.utime(file)
    return found


def remember(name: str, listing: FleetListing, warnings: Sequence[str]) -> None:
    """Keep a list under this name, and remove the oldest ones. Where nothing can be written nothing is kept."""
    text = json.dumps({"listing": listing.data(), "warnings": list(warnings)})
    directory = _directory()
    with contextlib.suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Another process may keep the same list: a file appears as a whole.
        with tempfile.NamedTemporaryFile("w", dir=directory, suffix=".new", delete=False) as file:
            file.write(text)
        Path(file.name).replace(directory / f"{name}.json")
        kept = sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[KEPT_LISTS:]:
            path.unlink(missing_ok=True)


def _directory() -> Path:
    return state_directory() / "lists"
