# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Read the locked inputs of flake.lock, and get new locks from Nix itself."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixRequest

from .pins import (
    STEP,
    LockFile,
    Pin,
    without_password,
)

TIMEOUT_NAME = "the timeout for the update of the lock file"
# `nix flake update INPUT` and --flake came with 2.19 (its release notes). Lix, which has versions from 2.90 on, was
# forked from 2.18 and still takes the old options.
_UPDATE_TAKES_INPUTS = (2, 19)
_LIX = (2, 90)


@dataclass(frozen=True)
class FlakeLock:
    """flake.lock. ``nix`` works in the flake's directory; ``deadline`` is a time of ``time.monotonic``."""

    nix: Nix
    deadline: float | None = None

    def pins(self, file: LockFile) -> dict[str, Pin]:
        """Return the inputs by path, such as ``nixpkgs`` and ``home-manager/nixpkgs``; not those that follow others."""
        data = file.data()
        if not data:
            return {}
        try:
            nodes = data["nodes"]
            return {path: _pin(path, nodes[name]) for path, name in _inputs(nodes, str(data["root"])).items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise NixferryError(
                f"{file.path} is not a valid lock file of Nix: {error!r}", step=STEP
            ) from error

    def updated(self, file: LockFile, names: Sequence[str]) -> str:
        """Let Nix compute the new lock file; the one on the disk stays unchanged."""
        if _UPDATE_TAKES_INPUTS <= self.nix.version() < _LIX:
            with tempfile.TemporaryDirectory() as directory:
                output = Path(directory, "flake.lock")
                self._run("nix", "flake", "update", *names, "--flake", ".", "--output-lock-file", str(output))
                # Nix does not write an unchanged file.
                return output.read_text(encoding="utf-8") if output.exists() else file.text
        flags = [part for name in names for part in ("--update-input", name)] or ["--recreate-lock-file"]
        answer = self._run("nix", "flake", "metadata", ".", "--json", "--no-write-lock-file", *flags)
        try:
            locks = json.loads(answer)["locks"]
        except (ValueError, KeyError, TypeError) as error:
            raise NixferryError(
                f"the answer of nix flake metadata cannot be read: {error!r}", step=STEP
            ) from error
        # Nix's own form: LockFile::toString in src/libexpr/flake/lockfile.cc.
        return json.dumps(locks, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def _run(self, *arguments: str) -> str:
        request = NixRequest(arguments, deadline=self.deadline)
        result = self.nix.run_many([request], step=STEP, parallel=1)[0]
        if result.return_code != 0 or result.timed_out:
            raise result.error(step=STEP, deadline_name=TIMEOUT_NAME)
        return result.stdout


def _inputs(nodes: Mapping[str, Any], root: str) -> dict[str, str]:
    """Return the nodes by their path of inputs. An input that follows another one is a list, and not a pin."""
    found: dict[str, str] = {}
    waiting: list[tuple[str, str, tuple[str, ...]]] = [("", root, (root,))]
    while waiting:
        path, name, way = waiting.pop(0)
        for each, target in nodes[name].get("inputs", {}).items():
            inner = f"{path}/{each}" if path else each
            if isinstance(target, str) and target not in way:
                found[inner] = target
                waiting.append((inner, target, (*way, target)))
    return found


def _pin(path: str, node: Mapping[str, Any]) -> Pin:
    locked, original = node["locked"], node.get("original", node["locked"])
    return Pin(
        name=path,
        type=str(locked["type"]),
        url=without_password(_url(original)),
        branch=str(original.get("ref", "")),
        revision=str(locked.get("rev", "")),
        hash=str(locked.get("narHash", "")),
        time=locked.get("lastModified"),
    )


def _url(reference: Mapping[str, Any]) -> str:
    """Return a flake reference, without its branch, from its attributes."""
    kind = str(reference["type"])
    if "owner" in reference:
        return f"{kind}:{reference['owner']}/{reference['repo']}"
    if "url" in reference:
        url = str(reference["url"])
        return url if kind in ("tarball", "file") else f"{kind}+{url}"
    return f"{kind}:{reference.get('path', reference.get('id', ''))}"
