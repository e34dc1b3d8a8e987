# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which room of plugin_utils may import which, and that no shell function calls one of a later part of the guard.

The table is that of the development guide. ``_core`` lies at the bottom; what a room may import stands to its right.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import GUARD_PARTS

REPOSITORY = Path(__file__).parents[2]
PLUGINS = REPOSITORY / "plugins"
ROOMS = PLUGINS / "plugin_utils"
PREFIX = "ansible_collections.nixferry.deploy.plugins."
MAY_IMPORT = {
    "core": "",
    "nix": "core",
    "host": "core nix",
    "health": "core nix host",
    "ansible": "core nix host",
    "keys": "core nix host",
    "evaluate": "core nix",
    "sources": "core nix evaluate ansible",
    "copy": "core nix host keys",
    "build": "core nix host ansible evaluate sources keys copy",
    "guard": "core host keys",
    "switch": "core nix host health ansible guard",
    "secrets": "core nix host ansible evaluate sources guard",
    "install": "core nix host copy secrets",
    "pins": "core nix",
    "publish": "core nix keys",
    "image": "core nix keys publish",
    "pull": "core host health keys guard",
    "report": "core nix keys",
    "netboot": "core nix host health",
}
KNOW_ANSIBLE = ("ansible", "host", "health")


def imported(file: Path) -> list[str]:
    """The modules that a file imports, absolute names only: those inside a room are relative."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            found.append(node.module or "")
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


def files_of(room: str) -> list[Path]:
    return sorted((ROOMS / f"_{room}").glob("**/*.py"))


def test_every_file_lies_in_a_room() -> None:
    assert {path.name for path in ROOMS.iterdir() if path.name != "__pycache__"} == {
        *(f"_{room}" for room in MAY_IMPORT),
        "nix",
        "target",
    }
    assert not list(ROOMS.glob("**/__init__.py"))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    allowed = MAY_IMPORT[room].split()
    wrong = []
    for file in files_of(room):
        for module in imported(file):
            if module.startswith(f"{PREFIX}plugin_utils"):
                there = module.removeprefix(f"{PREFIX}plugin_utils._").partition(".")[0]
                if there not in allowed:
                    wrong.append(f"{file.name} imports {module}")
            elif (module.startswith(PREFIX) and not module.startswith(f"{PREFIX}module_utils.")) or (
                module.partition(".")[0] == "ansible" and room not in KNOW_ANSIBLE
            ):
                wrong.append(f"{file.name} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_the_rooms_are_layers() -> None:
    """Without a circle among the rooms there is an order in which a reader can take them."""
    rest = {room: set(below.split()) for room, below in MAY_IMPORT.items()}
    while rest:
        lowest = {room for room, below in rest.items() if not below & rest.keys()}
        assert lowest, f"a circle among {sorted(rest)}"
        rest = {room: below for room, below in rest.items() if room not in lowest}


def test_what_runs_on_hosts_imports_nothing_of_the_controller() -> None:
    for file in sorted((PLUGINS / "module_utils").glob("**/*.py")):
        foreign = [
            module
            for module in imported(file)
            if module.startswith("ansible") and not module.startswith(f"{PREFIX}module_utils.")
        ]
        assert not foreign, f"{file}: {foreign}"


# --- the shell code of the host ---------------------------------------------------------------------------------------

_DEFINITION = re.compile(r"^ {0,4}([a-z_][a-z0-9_]*)\(\) *[{(]", re.M)
# A word where the shell looks for a command.
_COMMAND = re.compile(
    r"(?:^|[;&|(){])[ \t]*(?:(?:then|do|else|elif|if|while|until|!)[ \t]+)*([a-z_][a-z0-9_]*)(?![\w=/.-])",
    re.M,
)


def calls(text: str) -> set[str]:
    """The commands that a shell text runs, as far as they look like functions."""
    text = re.sub(r"='\n.*?\n'", "=''", text, flags=re.S)
    return set(_COMMAND.findall(re.sub(r"(^|\s)#.*$", r"\1", text, flags=re.M)))


def test_the_reader_of_shell_finds_commands() -> None:
    assert calls('if first; then x=$(second "third $(fourth)") || fifth; fi # sixth') >= {
        "first",
        "second",
        "fourth",
        "fifth",
    }
    assert not {"third", "sixth"} & calls('if first; then x=$(second "third $(fourth)") || fifth; fi # sixth')


def test_no_function_of_the_guard_calls_one_of_a_later_part() -> None:
    texts = {part: (ROOMS / "target" / part).read_text(encoding="utf-8") for part in GUARD_PARTS}
    defined = {name: part for part, text in texts.items() for name in _DEFINITION.findall(text)}
    position = {part: number for number, part in enumerate(GUARD_PARTS)}
    wrong = [
        f"{part} calls {name}, which is in {defined[name]}"
        for part, text in texts.items()
        for name in sorted(calls(text) & defined.keys())
        if position[defined[name]] > position[part]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_function_of_the_guard_is_defined_twice() -> None:
    names = [
        (name, part)
        for part in GUARD_PARTS
        for name in set(_DEFINITION.findall((ROOMS / "target" / part).read_text(encoding="utf-8")))
    ]
    assert len({name for name, _part in names}) == len(names), sorted(names)


def test_every_shell_file_belongs_to_a_program() -> None:
    """A file that no Python file names is dead."""
    sources = "".join(path.read_text(encoding="utf-8") for path in ROOMS.glob("_*/**/*.py"))
    for path in (ROOMS / "target").glob("**/*.sh"):
        part = str(path.relative_to(ROOMS / "target"))
        assert f'"{part}"' in sources, part
