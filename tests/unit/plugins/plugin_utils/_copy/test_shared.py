# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Closures that the hosts of a run look up together."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.shared import announce, shared_closure
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step


def path(number: int) -> str:
    return f"/nix/store/{number:032d}-p"


def no(_message: str) -> None:
    raise NixferryError("error: path is not valid", step=Step.COPY)


class Store:
    """A store in which every path refers to lower numbers, and to itself where that is odd."""

    def __init__(self, references: Mapping[int, Sequence[int]], calls: Path, *, broken: str = "") -> None:
        self.references = references
        self.calls = calls
        self.broken = broken

    def requisites(self, number: int, found: dict[int, None]) -> dict[int, None]:
        for each in self.references[number]:
            if each not in found:
                self.requisites(each, found)
        found[number] = None
        return found

    def run(self, arguments: Sequence[str], **_others: Any) -> SimpleNamespace:
        with self.calls.open("a") as file:
            file.write(" ".join(arguments[:3]) + "\n")
        numbers = [int(each[11:43]) for each in arguments if each.startswith("/")]
        if self.broken and self.broken in arguments:
            no(self.broken)
        if "--requisites" in arguments:
            found: dict[int, None] = {}
            for number in numbers:
                self.requisites(number, found)
            return SimpleNamespace(stdout="".join(f"{path(each)}\n" for each in found))
        assert arguments[1] == "--dump-db"
        text = ""
        for number in numbers:
            references = [*self.references[number], *([number] if number % 2 else [])]
            lines = [
                path(number),
                "0" * 64,
                str(number + 7),
                "",
                str(len(references)),
                *map(path, references),
            ]
            text += "\n".join(lines) + "\n"
        return SimpleNamespace(stdout=text)


@st.composite
def graphs(draw: st.DrawFn) -> dict[int, list[int]]:
    size = draw(st.integers(2, 12))
    return {
        number: draw(st.lists(st.integers(0, number - 1), unique=True, max_size=4)) if number else []
        for number in range(size)
    }


@given(graphs())
def test_a_shared_closure_is_the_one_of_the_store(references: dict[int, list[int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        store = Store(references, directory / "calls")
        tops = [path(number) for number in references]
        announce(tops, directory)
        for number in references:
            items = shared_closure(store, path(number), directory)  # type: ignore[arg-type]
            assert items is not None
            places = {item.path: place for place, item in enumerate(items)}
            assert set(places) == {path(each) for each in store.requisites(number, {})}
            assert len(places) == len(items)
            for item in items:
                own = int(item.path[11:43])
                assert item.nar_size == own + 7
                assert all(places[path(each)] < places[item.path] for each in references[own])
        assert len(store.calls.read_text().splitlines()) == 2


DIAMOND = {0: [], 1: [0], 2: [0], 3: [1, 2], 4: [2]}


def look(directory: Path, place: int) -> None:
    store = Store(DIAMOND, directory / "calls")
    items = shared_closure(store, path(3 + place % 2), directory)  # type: ignore[arg-type]
    (directory / f"found-{place}").write_text(str(len(items or [])))


def test_many_processes_at_once_look_once(tmp_path: Path) -> None:
    announce([path(3), path(4)], tmp_path)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=look, args=(tmp_path, place)) for place in range(8)]
    for each in processes:
        each.start()
    for each in processes:
        each.join(60)
    found = [(tmp_path / f"found-{place}").read_text() for place in range(8)]
    assert found == ["4", "3"] * 4
    assert len((tmp_path / "calls").read_text().splitlines()) == 2


@pytest.mark.parametrize("broken", ["--requisites", "--dump-db"])
def test_a_look_that_fails_is_not_repeated_and_no_error(tmp_path: Path, broken: str) -> None:
    store = Store(DIAMOND, tmp_path / "calls", broken=broken)
    announce([path(3), path(4)], tmp_path)
    for top in (path(3), path(4)):
        assert shared_closure(store, top, tmp_path) is None  # type: ignore[arg-type]
    assert len(store.calls.read_text().splitlines()) == (1 if broken == "--requisites" else 2)


def test_one_system_alone_and_what_was_not_announced_are_not_shared(tmp_path: Path) -> None:
    store = Store(DIAMOND, tmp_path / "calls")
    announce([path(3), path(3)], tmp_path)
    assert shared_closure(store, path(3), tmp_path) is None  # type: ignore[arg-type]
    announce([path(3), path(4)], tmp_path)
    assert shared_closure(store, path(1), tmp_path) is None  # type: ignore[arg-type]
    assert not store.calls.exists()


def test_what_was_left_is_not_believed_when_it_is_damaged(tmp_path: Path) -> None:
    store = Store(DIAMOND, tmp_path / "calls")
    announce([path(3), path(4)], tmp_path)
    assert shared_closure(store, path(3), tmp_path)  # type: ignore[arg-type]
    (graph,) = (tmp_path / "nixferry-closures").glob("*.graph")
    graph.write_text(f'{{"{path(3)}": [3, ["{path(1)}"]]}}')
    assert shared_closure(store, path(3), tmp_path) is None  # type: ignore[arg-type]
    graph.write_text("{")
    assert shared_closure(store, path(3), tmp_path) is None  # type: ignore[arg-type]
