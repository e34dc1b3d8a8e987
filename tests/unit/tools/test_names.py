# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No variable has a name that ansible-test refuses, which the sanity tests of a change need minutes to tell."""

from __future__ import annotations

import ast
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
FOLDERS = ("benchmarks", "demo", "extensions", "plugins", "roles", "tests")
# `bad-names` of ansible-test's configuration of pylint for collections.
REFUSED = {"_", "bar", "baz", "foo"}


def refused_in(text: str) -> list[tuple[int, str]]:
    """The lines and names of variables, and of arguments of functions, that get such a name; a lambda's may."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in REFUSED:
            found.append((node.lineno, node.id))
        elif isinstance(node, ast.FunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            found += [(each.lineno, each.arg) for each in given if each.arg in REFUSED]
    return found


def test_names_are_found() -> None:
    text = "a, _ = 1, 2\nb = [0 for foo in a]\ndef f(bar): return _\nc = lambda _: 0\nd_ = _e = 0\n"
    assert sorted(refused_in(text)) == [(1, "_"), (2, "foo"), (3, "bar")]


def test_no_variable_has_a_refused_name() -> None:
    files = [path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py")]
    assert len(files) > 300
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{line}: {name}"
        for path in files
        for line, name in refused_in(path.read_text(encoding="utf-8"))
    ]
    assert wrong == []
