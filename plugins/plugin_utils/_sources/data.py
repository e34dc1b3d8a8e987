# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Evaluate flakes, files and expressions to data."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import (
    PLACEHOLDER,
    STEP,
    Attribute,
    AttributePath,
    FlakeRoot,
    Root,
    expression_attribute,
    file_attribute,
    split_attribute_path,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.flake_places import FlakePlaces
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixRequest
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.explain import code_remedy
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.warnings import EvaluationWarnings

from .source import Source

DATA_SOURCES = ("flake", "file", "expr")
TIMEOUT_NAME = "the timeout for the evaluation"


def data_attributes(source: Source, paths: Sequence[str], host: str, *, directory: str) -> list[Attribute]:
    """Return the attributes of the values; ``paths`` are attribute paths relative to the attribute of ``source``.

    Raises ``NixferryError`` if the source or a path is invalid.
    """
    return [_attribute(source, path, host, directory) for path in paths]


def evaluate_data(
    nix: Nix,
    attributes: Sequence[Attribute],
    *,
    timeout: float | None,
    said: EvaluationWarnings | None = None,
) -> list[Any]:
    """Return the values at ``attributes``, in this order. One process evaluates those below the same root.

    Places in ``said``, which listens to ``nix``, become those in the flake, as they do in errors.
    Raises ``NixferryError`` if one of them cannot be evaluated or is not data.
    """
    groups: dict[Root, dict[str, AttributePath]] = {}
    for number, attribute in enumerate(attributes):
        groups.setdefault(attribute.root, {})[str(number)] = attribute.path
    deadline = None if timeout is None else time.monotonic() + timeout
    answers: dict[str, Any] = {}
    places = FlakePlaces(nix, STEP)
    for root, paths in groups.items():
        try:
            answers.update(_ask(nix, replace(root.request(paths, data=True), deadline=deadline), paths))
        except NixferryError as error:
            raise places.in_error(root, error) from None
        finally:
            if said is not None:
                places.in_warnings([root], said)
    return [answers[str(number)] for number in range(len(attributes))]


def _attribute(source: Source, path: str, host: str, directory: str) -> Attribute:
    names = split_attribute_path(source.attr) + split_attribute_path(path)
    if source.flake:
        reference, _hash, fragment = source.flake.partition("#")
        names = _for_host(split_attribute_path(fragment) + names, host)
        if not names:
            raise NixferryError(
                f"the flake reference {source.flake!r} names no attribute",
                step=STEP,
                remedy=f"Name one, for instance '{source.flake}#nixosConfigurations'.",
            )
        root = FlakeRoot(
            reference=reference.replace(PLACEHOLDER, quote(host)) or ".",
            prefix=names[0],
            override_inputs=source.override_inputs,
            impure=source.impure,
            # A query must not change a file.
            write_lock_file=False,
        )
        return Attribute(root, tuple(names[1:]))
    if source.file:
        whole = file_attribute(
            source.file, "", host, directory=directory, arguments=source.arguments, include=source.include
        )
    else:
        whole = expression_attribute(
            source.expr, "", host, arguments=source.arguments, include=source.include
        )
    return replace(whole, path=tuple(_for_host(names, host)))


def _for_host(names: Sequence[str], host: str) -> list[str]:
    return [name.replace(PLACEHOLDER, host) for name in names]


def _ask(nix: Nix, request: NixRequest, numbers: Iterable[str]) -> dict[str, Any]:
    result = nix.run_many([request], step=STEP, parallel=1)[0]
    if result.return_code != 0 or result.timed_out:
        error = result.error(step=STEP, deadline_name=TIMEOUT_NAME)
        raise error.with_(
            remedy=error.remedy or code_remedy(error.cause, "Fix the Nix code that the message is about.")
        )
    try:
        answer = json.loads(result.stdout)
        return {number: answer[number] for number in numbers}
    except (ValueError, KeyError, TypeError) as error:
        raise NixferryError(
            f"the evaluator's answer cannot be read: {error!r}", step=STEP, output=result.stdout.splitlines()
        ) from error
