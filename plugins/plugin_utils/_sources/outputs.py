# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""List the outputs of a flake."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.literal import nix_string

STEP = Step.READ_FLEET


def flake_outputs(nix: Nix, reference: str, write_lock_file: bool) -> list[str]:
    """Return the names of a flake's outputs."""
    flags = [] if write_lock_file else ["--no-write-lock-file"]
    described = nix.run(["nix", "flake", "metadata", *flags, "--json", reference], step=STEP)
    url = _metadata(described.stdout)["resolvedUrl"]
    expression = f"builtins.attrNames (builtins.getFlake {nix_string(str(url))}).outputs"
    answer = nix.run(["nix", "eval", "--impure", "--json", "--expr", expression], step=STEP)
    return [str(name) for name in json.loads(answer.stdout)]


def _metadata(text: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads(text)
    except ValueError as error:
        raise NixferryError(f"nix flake metadata cannot be read: {error}", step=STEP) from error
    return found
