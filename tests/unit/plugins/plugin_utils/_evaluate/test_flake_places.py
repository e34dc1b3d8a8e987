# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import (
    ExpressionRoot,
    FlakeRoot,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.flake_places import FlakePlaces
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixResult

OWN = "/nix/store/41yi696cs78axgrc5rcnassh0zd225pb-source"
INPUT = "/nix/store/zzyi696cs78axgrc5rcnassh0zd225pb-source"
ROOT = FlakeRoot("github:example/fleet", "deploy", (("nixpkgs", "path:/n"),), write_lock_file=False)


class Asked:
    """A Nix that has evaluated the copy OWN, and counts what it is asked."""

    def __init__(self, answer: str = json.dumps({"path": OWN})) -> None:
        self.answer = answer
        self.questions: list[tuple[str, ...]] = []

    def run(self, arguments: Sequence[str], **_settings: object) -> NixResult:
        self.questions.append(tuple(arguments))
        return NixResult(0 if self.answer else 1, self.answer, "", tuple(arguments))


def places(nix: Asked) -> FlakePlaces:
    return FlakePlaces(cast(Nix, nix), Step.EVALUATE)


def test_places_are_relative_to_the_flake() -> None:
    nix = Asked()
    told = places(nix)
    assert told.in_text(ROOT, f"{OWN}/hosts/web1.nix:3") == "hosts/web1.nix:3"
    cause = f"bad luck\nIn `{OWN}/flake.nix', not in `{INPUT}/lib.nix' (at {OWN}/flake.nix:7:2)"
    error = told.in_error(ROOT, NixferryError(cause, step=Step.EVALUATE, remedy="Go on.", output=[OWN]))
    assert error.cause == f"bad luck\nIn `flake.nix', not in `{INPUT}/lib.nix' (at flake.nix:7:2)"
    assert (error.remedy, error.output) == ("Go on.", [OWN])
    # Nix is asked once, with all options that reach the flake.
    assert nix.questions == [ROOT.lock_request().arguments]


@pytest.mark.parametrize("text", ["no place at all", "/srv/fleet/flake.nix:3", "the path /nix/store"])
def test_nothing_is_asked_about_another_text(text: str) -> None:
    nix = Asked()
    assert places(nix).in_text(ROOT, text) == text
    assert not nix.questions


def test_a_file_is_evaluated_where_it_is() -> None:
    nix = Asked()
    text = f"{OWN}/hive.nix:3"
    assert places(nix).in_text(ExpressionRoot("import ./hive.nix"), text) == text
    assert not nix.questions


@pytest.mark.parametrize("answer", ["", "{ }", "[]", "no JSON", '{"path": ""}'])
def test_what_nix_does_not_say_stays_as_it_is(answer: str) -> None:
    assert places(Asked(answer)).in_text(ROOT, f"{OWN}/flake.nix:3") == f"{OWN}/flake.nix:3"
