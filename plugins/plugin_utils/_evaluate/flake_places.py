# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Tell a place in a flake by the name that the file has in the flake.

Nix evaluates a copy of the flake, and names the copy's files: ``/nix/store/...-source/hosts/web1.nix:3``. A place in
an input of the flake keeps this form, since the flake's directory does not have that file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.warnings import EvaluationWarnings

from .attribute import FlakeRoot, Root

# How long Nix may take to say where the copy is that it has just evaluated.
TIMEOUT_SECONDS = 60.0
_COPY = re.compile(r"/[0-9a-z]{32}-[^/\s]+/")


class FlakePlaces:
    """Rewrites places in flakes. Asks ``nix`` where the copy of a flake is, once, when a text names a copy."""

    def __init__(self, nix: Nix, step: Step) -> None:
        self._nix = nix
        self._step = step
        self._copies: dict[FlakeRoot, str] = {}

    def in_text(self, root: Root, text: str) -> str:
        """Return ``text`` with places relative to the flake of ``root``. A file is evaluated where it is."""
        if not isinstance(root, FlakeRoot) or not _COPY.search(text):
            return text
        if root not in self._copies:
            self._copies[root] = self._copy(root)
        copy = self._copies[root]
        return text.replace(f"{copy}/", "") if copy else text

    def in_error(self, root: Root, error: NixferryError) -> NixferryError:
        """Return ``error`` with the places in its message relative to the flake. Nix's own output stays as it is."""
        return error.with_(cause=self.in_text(root, error.cause))

    def in_warnings(self, roots: Iterable[Root], said: EvaluationWarnings) -> None:
        """Rewrite the places in ``said``, which the evaluation of ``roots`` has warned of."""
        for root in dict.fromkeys(roots):
            said.rewrite(lambda text, root=root: self.in_text(root, text))  # type: ignore[misc]

    def _copy(self, root: FlakeRoot) -> str:
        """Return the directory that Nix evaluates; empty if Nix does not say."""
        arguments = root.lock_request().arguments
        result = self._nix.run(arguments, step=self._step, timeout=TIMEOUT_SECONDS, check=False)
        try:
            return str(json.loads(result.stdout)["path"])
        except (ValueError, KeyError, TypeError):
            return ""
