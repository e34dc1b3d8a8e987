# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Find the output of a flake that describes hosts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import FlakeRoot
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.literal import nix_string

STEP = Step.READ_FLEET
_NO_OUTPUT = "does not provide attribute"
# Nix looks for a package of that name first (getDefaultFlakeAttrPathPrefixes in src/libcmd/installables.cc).
_IS_OUTPUT = 'value: !(value ? type && value.type == "derivation")'


def first_output(nix: Nix, root: FlakeRoot, wanted: Sequence[str]) -> tuple[str, list[str] | None]:
    """Return the first of the ``wanted`` outputs that a flake has, empty if none, and all outputs as far as known.

    ``root`` has the reference of the flake, and the options that reach it. Raises ``NixferryError`` if Nix fails.
    """
    if root.override_inputs:
        return _first_by_asking(nix, root, wanted), None
    outputs = _flake_outputs(nix, root)
    return next((name for name in wanted if name in outputs), ""), outputs


def _flake_outputs(nix: Nix, root: FlakeRoot) -> list[str]:
    """Return the names of a flake's outputs."""
    described = nix.run(root.lock_request().arguments, step=STEP)
    url = _metadata(described.stdout)["resolvedUrl"]
    expression = f"builtins.attrNames (builtins.getFlake {nix_string(str(url))}).outputs"
    answer = nix.run(["nix", "eval", "--impure", "--json", "--expr", expression], step=STEP)
    return [str(name) for name in json.loads(answer.stdout)]


def _first_by_asking(nix: Nix, root: FlakeRoot, wanted: Sequence[str]) -> str:
    """Return the first output that exists. ``builtins.getFlake`` knows no other inputs than those of the flake."""
    for name in wanted:
        request = replace(root, prefix=name, adapter=_IS_OUTPUT).value_request()
        # A flake without this output is not a failure that the user should read of.
        result = nix.trying().run_many([request], step=STEP, parallel=1)[0]
        if result.return_code != 0:
            error = result.error(step=STEP)
            if _NO_OUTPUT not in error.cause:
                raise error
        elif json.loads(result.stdout) is True:
            return name
    return ""


def _metadata(text: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads(text)
    except ValueError as error:
        raise NixferryError(f"nix flake metadata cannot be read: {error}", step=STEP) from error
    return found
