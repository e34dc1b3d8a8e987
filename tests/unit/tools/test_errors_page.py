# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every table of errors in the code is on the page, and what it is found by is what programs say."""

from __future__ import annotations

import re
from pathlib import Path

import errors_page
import pytest
import yaml

LISTED = yaml.safe_load(errors_page.TABLES.read_text(encoding="utf-8"))
TABLES = errors_page.tables()


def test_the_page_is_up_to_date() -> None:
    assert errors_page.main(["--check"]) == 0, "run make pages"


def test_the_engine_finds_the_cause_of_the_words_on_the_page() -> None:
    """A reader searches the words that a program has printed: a phrase without an ellipsis is such words."""
    checked = 0
    for table in TABLES.values():
        for cause in table if isinstance(table, tuple) else ():
            for sign in cause.signs:
                found = errors_page.phrases(sign)
                assert found, f"no words for {sign}"
                # Words before or after, which a sign only looks at, are not in a phrase.
                if "(?!" in sign or "(?=" in sign or "(?<" in sign or "$" in sign:
                    continue
                plain = [text for text in found if errors_page.ELLIPSIS not in text]
                checked += len(plain)
                for text in plain:
                    spaced = (text, f" {text} ", f"{text} 1")
                    assert any(re.search(sign, each, re.IGNORECASE) for each in spaced), (sign, text)
    assert checked > 150


def test_a_table_that_is_not_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = {**LISTED, "tables": LISTED["tables"][1:]}
    (tmp_path / "errors.yml").write_text(yaml.safe_dump(short))
    monkeypatch.setattr(errors_page, "TABLES", tmp_path / "errors.yml")
    with pytest.raises(errors_page.PageError, match="LOGIN_CAUSES"):
        errors_page.page()


def test_every_entry_of_every_table_is_on_the_page() -> None:
    page = " ".join(errors_page.PAGE_FILE.read_text(encoding="utf-8").split())
    for entry in LISTED["tables"]:
        table = TABLES[entry["table"]]
        rows = errors_page.rows(entry, table, TABLES)
        assert rows, entry["title"]
        if isinstance(table, dict) and "only_differences_to" not in entry:
            assert len(rows) >= len(table)
        for words, said in rows:
            for word in words:
                assert f"``{errors_page._literal(word)}``" in page, word
            assert errors_page._prose(said).partition("{")[0].strip() in page


def test_the_codes_of_the_guard_stand_beside_their_messages() -> None:
    told = errors_page.messages(["guard", "lib"])
    assert "another deploy to this host is running" in told["lock_held"]
    assert "… was built for …, but this host is …" in told["wrong_system"]
    assert "the activation failed with exit code …" in told["activation_failed"]
    assert set(TABLES["plugin_utils._guard.texts:ERRORS"]) & set(told) > {"pulled", "no_nix", "too_late"}


def test_every_outcome_of_the_agent_has_advice() -> None:
    (entry,) = (entry for entry in LISTED["tables"] if "advice" in entry)
    told = errors_page.messages(entry["scripts"])
    assert len(told) > 10
    assert not set(told) - set(entry["advice"]) - set(TABLES[entry["table"]])
    assert not set(entry["advice"]) & set(TABLES[entry["table"]])


def test_further_words_of_a_code_stand_in_the_scripts() -> None:
    scripts = "".join(path.read_text() for path in errors_page.SCRIPTS.rglob("*.sh"))
    for entry in LISTED["tables"]:
        for code, texts in entry.get("words", {}).items():
            assert code in TABLES[entry["table"]]
            for text in texts:
                for piece in text.split(errors_page.ELLIPSIS):
                    assert piece.strip() in scripts, text


@pytest.mark.parametrize(
    ("sign", "expected"),
    [
        (r"lacks? a( valid)? signature", ["lacks a valid signature"]),
        (r"could ?n[o']t resolve host", ["could not resolve host"]),
        (r"unable to download '[^']*'", ["unable to download '…'"]),
        (r"(?<!x)no space\s+left$", ["no space left"]),
        (r"\b(sudo|doas): (command )?not found", ["sudo: command not found", "doas: command not found"]),
        (r"a{2}", []),
    ],
)
def test_words_of_a_sign(sign: str, expected: list[str]) -> None:
    assert errors_page.phrases(sign) == expected


def test_names_in_a_remedy_are_code() -> None:
    assert errors_page._prose("Set `a b` or ansible_x (nix_copy), not /etc/a_b.pub; a*b.") == (
        "Set ``a b`` or ``ansible_x`` (``nix_copy``), not ``/etc/a_b.pub``; a\\*b."
    )
