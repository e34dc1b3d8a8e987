# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible import query as _jmespath
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import FlakeRoot
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixRequest, NixResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.data import (
    DATA_SOURCES,
    data_attributes,
    evaluate_data,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.source import Source, source_from


def source(**given: Any) -> Source:
    nothing = {"args": {}, "argstrs": {}, "override_inputs": {}, "impure": False, "include": [], "attr": ""}
    return source_from({**dict.fromkeys(DATA_SOURCES), **nothing, **given}, DATA_SOURCES)


class Answers:
    """Answers each question with the number of the question that it was, and how it was asked."""

    def __init__(self, output: str | None = None) -> None:
        self.output = output
        self.asked: list[NixRequest] = []

    def run_many(self, requests: list[NixRequest], **_options: object) -> list[NixResult]:
        self.asked += requests
        output = json.dumps({str(number): [number, len(self.asked)] for number in range(9)})
        return [NixResult(0, self.output if self.output is not None else output, "", requests[0].arguments)]


def test_paths_count_from_the_attribute_of_the_source() -> None:
    flake = data_attributes(source(flake="./x#hosts.{host}"), ["", 'a."b.c"'], "web1", directory="/play")
    root = FlakeRoot(reference="./x", prefix="hosts", write_lock_file=False)
    assert [(each.root, each.path) for each in flake] == [(root, ("web1",)), (root, ("web1", "a", "b.c"))]
    expression = data_attributes(source(expr="x", attr="a.{host}"), ["b"], "db.example", directory="/play")
    assert expression[0].path == ("a", "db.example", "b")


def test_what_shares_a_root_is_asked_once() -> None:
    flake = source(flake=".")
    nix = Answers()
    attributes = data_attributes(flake, ["a.x", "b.y", "a.z"], "web1", directory="/play")
    assert evaluate_data(cast(Nix, nix), attributes, timeout=5) == [[0, 1], [1, 2], [2, 1]]
    assert [request.arguments[-1] for request in nix.asked] == [".#a", ".#b"]
    assert all("--no-write-lock-file" in request.arguments for request in nix.asked)


def test_what_cannot_be_asked_or_read() -> None:
    with pytest.raises(NixferryError, match="names no attribute"):
        data_attributes(source(flake="."), [""], "web1", directory="/play")
    with pytest.raises(NixferryError, match="one of flake, file, expr is required"):
        source()
    with pytest.raises(NixferryError, match="cannot be read"):
        evaluate_data(
            cast(Nix, Answers("no JSON")),
            data_attributes(source(expr="1"), [""], "web1", directory="/play"),
            timeout=None,
        )


def test_a_query_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _jmespath.search("a[0]", {"a": [1]}) == 1
    with pytest.raises(NixferryError, match="Invalid"):
        _jmespath.search("a[", {})
    monkeypatch.setattr(_jmespath, "jmespath", None)
    with pytest.raises(NixferryError, match="is not installed"):
        _jmespath.search("a", {})
