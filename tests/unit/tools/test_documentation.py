# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers find every page, and every picture is made from its present source."""

from __future__ import annotations

import re
from pathlib import Path

import diagrams
import pytest
import yaml

DOCSITE = Path(__file__).parents[3] / "docs/docsite"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((DOCSITE / "rst").glob("*.rst"))}
LANDING = "start"
LABEL = "ansible_collections.nixferry.deploy.docsite."
CLICKS = 2
LINK = re.compile(rf":ref:`(?:[^`<]*<)?{re.escape(LABEL)}(?P<page>\w+)>?`")
IMAGE = re.compile(r"^ *\.\. image:: (?P<file>\S+)\n +:alt: \S", re.MULTILINE)


def links(page: str) -> set[str]:
    return {match["page"] for match in LINK.finditer(PAGES[page])}


def test_every_page_has_its_label_and_links_lead_to_pages() -> None:
    for name, text in PAGES.items():
        assert f"\n.. _{LABEL}{name}:\n" in text, name
        assert links(name) <= set(PAGES), name


def test_every_page_is_two_clicks_from_the_landing_page() -> None:
    reached = {LANDING}
    for _click in range(CLICKS):
        reached |= {page for name in reached for page in links(name)}
    assert not set(PAGES) - reached, "link these from the landing page, or from a page that it links to"


def test_every_page_is_in_the_navigation_once() -> None:
    navigation = yaml.safe_load((DOCSITE / "extra-docs.yml").read_text(encoding="utf-8"))
    listed = [page for section in navigation["sections"] for page in section["toctree"]]
    assert sorted(listed) == sorted(PAGES)
    assert listed[0] == LANDING


def test_every_picture_is_used_described_and_up_to_date() -> None:
    used = {match["file"] for text in PAGES.values() for match in IMAGE.finditer(text)}
    assert used == {f"images/{path.stem}.svg" for path in diagrams.SOURCES.glob("*.dot")}
    assert used == {f"images/{path.name}" for path in diagrams.PICTURES.iterdir()}
    assert sum(text.count(".. image::") for text in PAGES.values()) == sum(
        len(IMAGE.findall(text)) for text in PAGES.values()
    ), "a picture has no :alt:"
    assert not diagrams.stale(), "run make diagrams"


def test_a_changed_source_makes_its_picture_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "guard.dot"
    source.write_bytes((diagrams.SOURCES / "guard.dot").read_bytes())
    monkeypatch.setattr(diagrams, "SOURCES", tmp_path)
    assert diagrams.main(["--check"]) == 0
    source.write_text(source.read_text() + "\n")
    assert diagrams.stale() == [source]
    assert diagrams.main(["--check"]) == 1
    monkeypatch.setattr(diagrams, "PICTURES", tmp_path)
    source.write_bytes((Path(diagrams.REPOSITORY) / "docs/docsite/diagrams/guard.dot").read_bytes())
    assert diagrams.stale() == [source]
