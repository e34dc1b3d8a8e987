# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the index of errors from the tables in the code: errors_page.py [--check]

A table is a tuple of ``Cause``, or a dictionary of remedies by code. docs/docsite/errors.yml has the order and the
titles; a table that is not in it is an error. The words of a ``Cause`` are those that its regular expressions match,
the words of a code are the messages beside it in the scripts for the host. With --check nothing is written: exits with
1 if the page is not what it would be.
"""

from __future__ import annotations

import importlib
import itertools
import re
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from re import _constants as constants  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import yaml

# The grammar of regular expressions (_constants, _parser) has no public reader. Python has had this one for long.

REPOSITORY = Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections.nixferry.deploy"
TABLES = REPOSITORY / "docs/docsite/errors.yml"
SCRIPTS = REPOSITORY / "plugins/plugin_utils/target"
PAGE_FILE = REPOSITORY / "docs/docsite/rst/troubleshooting.rst"
LABEL = f"{COLLECTION}.docsite.troubleshooting"
NAME_OF_A_TABLE = re.compile(r"_?([A-Z]+_)*(REMEDIES|REASONS|ERRORS|CAUSES|ROWS)(_[A-Z]+)*")
ELLIPSIS = "…"
PHRASES_OF_A_SIGN = 6
"""A sign with many alternatives is told by its first ones: any of them leads to the row."""
SHORTEST_PHRASE = 4
WIDTH = 126
# A code of a script and its message: error CODE "MESSAGE", REASON=CODE MESSAGE="MESSAGE", and
# answer error=CODE "message=MESSAGE".
MESSAGE = re.compile(
    r"\b(?:error|abandon|roll_back|give_up|conclude|rescue_activation) (?P<a>[a-z_-]+) \"(?P<b>(?:[^\"\\]|\\.)*)\""
    r"|\bREASON=(?P<c>[a-z_]+) MESSAGE=\"(?P<d>(?:[^\"\\]|\\.)*)\""
    r"|\berror=(?P<e>[a-z_]+) \"message=(?P<f>(?:[^\"\\]|\\.)*)\""
)
# A word of a remedy with an underscore: a variable, an option, a module, a file.
NAME = re.compile(r"(^|[\s(])([\w./-]*\w_[\w./-]*\w)")
# The quotes inside a substitution end none of the message.
SUBSTITUTION = re.compile(r"\$\((?:[^()]|\([^()]*\))*\)|\$\{[^}]*\}|\$\w+")
PLACEHOLDER = re.compile(r"\{(\w+)\}")
HEAD = """..
  Copyright: (c) 2026, nixferry contributors
  GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
  SPDX-License-Identifier: GPL-3.0-or-later

.. Written by tests/tools/errors_page.py from the tables of errors in plugins/ and docs/docsite/errors.yml: change
   these, then run make pages.

.. _{label}:

Troubleshooting: errors by their words
======================================

{about}

.. contents::
   :local:
   :depth: 1

"""


class PageError(Exception):
    """The tables and the list of them do not fit; the text says how."""


def tables() -> Mapping[str, Any]:
    """Return every table of errors in plugins/ as ``{"MODULE:NAME": table}``, modules relative to plugins."""
    found: dict[str, Any] = {}
    seen: set[int] = set()
    # The pages of modules and the library; what else is under plugins explains nothing itself.
    for folder in ("module_utils", "plugin_utils", "modules", "action"):
        for path in sorted((REPOSITORY / "plugins" / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if (
                not re.search(rf"^{NAME_OF_A_TABLE.pattern}\b.* = ", text, re.MULTILINE)
                and "Cause(" not in text
            ):
                continue
            name = ".".join(path.relative_to(REPOSITORY / "plugins").with_suffix("").parts)
            module = importlib.import_module(f"{COLLECTION}.plugins.{name}")
            for key, value in _tables_of(module):
                if id(value) not in seen:
                    seen.add(id(value))
                    found[f"{name}:{key}"] = value
    return found


def _tables_of(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    for key, value in vars(module).items():
        is_causes = (
            isinstance(value, tuple) and value and all(type(item).__name__ == "Cause" for item in value)
        )
        if is_causes or (isinstance(value, dict) and value and NAME_OF_A_TABLE.fullmatch(key)):
            yield key, value


def phrases(sign: str) -> list[str]:
    """Return texts that a regular expression matches, with an ellipsis for what may be anything."""
    texts = list(itertools.islice(_texts(parser.parse(sign)), 200))
    clean = [re.sub(rf"\s*{ELLIPSIS}[{ELLIPSIS}\s]*", f" {ELLIPSIS} ", text) for text in texts]
    clean = [
        re.sub(r"(['\"]) … (['\"])", r"\1…\2", re.sub(r"\s+", " ", text)).strip(f" {ELLIPSIS}")
        for text in clean
    ]
    return [text for text in dict.fromkeys(clean) if len(text) >= SHORTEST_PHRASE][:PHRASES_OF_A_SIGN]


def _texts(pattern: Any) -> Iterator[str]:
    """Yield a text for each combination of the alternatives in a parsed regular expression."""
    pieces = [list(itertools.islice(_piece(*item), 30)) for item in pattern]
    for combination in itertools.product(*pieces):
        yield "".join(combination)


def _piece(kind: Any, value: Any) -> Iterator[str]:
    if kind is constants.LITERAL:
        yield chr(value)
    elif kind is constants.BRANCH:
        for branch in value[1]:
            yield from _texts(branch)
    elif kind is constants.SUBPATTERN:
        yield from _texts(value[-1])
    elif kind in (constants.MAX_REPEAT, constants.MIN_REPEAT):
        least, most, inner = value
        if (least, most) == (0, 1) or all(item[0] is constants.LITERAL for item in inner):
            yield from _texts(inner)
        elif (
            inner
            and inner[0][0] is constants.IN
            and (constants.CATEGORY, constants.CATEGORY_SPACE) in inner[0][1]
        ):
            yield " "
        else:
            yield ELLIPSIS
    elif kind is constants.IN:
        literals = [chr(item[1]) for item in value if item[0] is constants.LITERAL]
        # One of a few characters, such as a capital or a small letter: any will do.
        yield (
            literals[0] if literals and len(literals) == len(value) else " " if _is_space(value) else ELLIPSIS
        )
    elif kind in (constants.ASSERT, constants.ASSERT_NOT, constants.AT):
        yield ""
    else:
        yield ELLIPSIS


def _is_space(value: Any) -> bool:
    return list(value) == [(constants.CATEGORY, constants.CATEGORY_SPACE)]


def messages(scripts: Sequence[str]) -> dict[str, list[str]]:
    """Return the messages in these scripts for the host by their codes. A folder stands for all its scripts."""
    found: dict[str, list[str]] = {}
    for name in scripts:
        place = SCRIPTS / name
        for path in sorted(place.glob("*.sh")) if place.is_dir() else [place]:
            text = SUBSTITUTION.sub(ELLIPSIS, path.read_text(encoding="utf-8"))
            for match in MESSAGE.finditer(text):
                code = match["a"] or match["c"] or match["e"]
                message = (match["b"] or match["d"] or match["f"] or "").removesuffix(f"; {ELLIPSIS}")
                # A message that the program makes elsewhere says nothing here.
                if len(message.replace(ELLIPSIS, "").strip()) >= SHORTEST_PHRASE:
                    found.setdefault(code, []).append(message)
    return {code: list(dict.fromkeys(texts)) for code, texts in found.items()}


def rows(entry: Mapping[str, Any], table: Any, others: Mapping[str, Any]) -> list[tuple[list[str], str]]:
    """Return the rows of a table: the words by which it is found, and what is said about them."""
    if isinstance(table, tuple):
        return [
            (
                list(dict.fromkeys(phrase for sign in cause.signs for phrase in phrases(sign))),
                _said(cause.message, cause.remedy),
            )
            for cause in table
        ]
    known = messages(entry.get("scripts", ()))
    reference = others[entry["only_differences_to"]] if "only_differences_to" in entry else {}
    found = []
    for code, value in table.items():
        if reference.get(code) == value:
            continue
        remedy = value[-1] if isinstance(value, tuple) else value
        told = known.get(str(code), []) or known.get(str(code).replace("-", "_"), [])
        found.append(([*told, *entry.get("words", {}).get(str(code), ()), str(code)], _said("", remedy)))
    found += [([*known.get(code, ()), code], text) for code, text in entry.get("advice", {}).items()]
    return found


def _said(message: str, remedy: str) -> str:
    cause = message.replace("{line}", "").strip(" :")
    cause = f"{cause[0].upper()}{cause[1:]}. " if cause else ""
    return f"{cause}{remedy}".strip()


def page() -> str:
    """Return the page. Raises ``PageError`` if the list and the tables in the code differ."""
    listed = yaml.safe_load(TABLES.read_text(encoding="utf-8"))
    found = tables()
    named = [entry["table"] for entry in listed["tables"]]
    if sorted(named) != sorted(found):
        raise PageError(f"{TABLES.name} and the tables in plugins/ differ in: {sorted({*named} ^ {*found})}")
    stands_for = listed["placeholders"]
    parts = [HEAD.format(label=LABEL, about=listed["about"].strip())]
    for entry in listed["tables"]:
        title = entry["title"]
        parts += [f"{title}\n{'-' * len(title)}\n\n", _wrapped(entry["about"]), "\n"]
        parts += [
            _row(words, PLACEHOLDER.sub(lambda match: stands_for.get(match[1], match[0]), said))
            for words, said in rows(entry, found[entry["table"]], found)
        ]
    return "".join(parts).rstrip("\n") + "\n"


def _row(words: Sequence[str], said: str) -> str:
    shown = ", ".join(f"``{_literal(word)}``" for word in words)
    return _wrapped(f"- {shown}", "  ") + (f"\n{_wrapped(_prose(said), '  ', '  ')}" if said else "") + "\n"


def _literal(text: str) -> str:
    # A literal of reStructuredText neither begins nor ends with a space, and holds no two backquotes.
    return re.sub(r"\\(.)", r"\1", text).replace("`", "'").strip()


def _prose(text: str) -> str:
    """Return a remedy as reStructuredText: what stands between backquotes, and names with an underscore, are code."""
    pieces = text.split("`")
    return "".join(
        f"``{piece}``" if number % 2 else re.sub(r"[*|\\]", r"\\\g<0>", NAME.sub(r"\1``\2``", piece))
        for number, piece in enumerate(pieces)
    )


def _wrapped(text: str, indent: str = "", first: str = "") -> str:
    return (
        textwrap.fill(
            text,
            WIDTH,
            initial_indent=first,
            subsequent_indent=indent,
            break_on_hyphens=False,
            break_long_words=False,
        )
        + "\n"
    )


def _is_importable() -> bool:
    """Return whether Ansible's importer of collections is at work, as it is in a test."""
    return any(type(finder).__name__ == "_AnsibleCollectionFinder" for finder in sys.meta_path)


def main(arguments: list[str]) -> int:
    """Write or check the page; returns the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: errors_page.py [--check]", file=sys.stderr)
        return 2
    if not _is_importable():
        from ansible.plugins.loader import init_plugin_loader

        init_plugin_loader([str(REPOSITORY / ".build/collections")])
    try:
        text = page()
    except PageError as error:
        print(error, file=sys.stderr)
        return 1
    if not arguments:
        PAGE_FILE.write_text(text, encoding="utf-8")
    elif not PAGE_FILE.exists() or PAGE_FILE.read_text(encoding="utf-8") != text:
        print(f"Not up to date: {PAGE_FILE.relative_to(REPOSITORY)}. Run `make pages`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
