# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A redirection that fails ends no shell on a host: no special builtin has one (``shell_text`` says why)."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from guard_host import SHELLS
from shell_text import SPECIAL, commands, deadly

PLUGINS = Path(__file__).parents[3] / "plugins"
SHELL_FILES = sorted((PLUGINS / "plugin_utils/target").glob("**/*.sh"))
# What tells a shell text from prose.
_SHELL = re.compile(
    r"(^|[\n;&|({]) *(:|\.|eval|exec|export|readonly|set|trap|unset|shift|return|exit) [^\n]*[<>]"
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (": >file", [":"]),
        ("x=1 : 2>/dev/null >file", ["x=1 :"]),
        ("if true; then : >file; fi", ["then :"]),
        ('{ : >"$KEPT.new" && chown; } 2>/dev/null', ["{ :"]),
        ("a=$(first | : >file)", [":"]),
        ('say "$(set -- <file)"', ["set --"]),
        ("`: >file`", [":"]),
        ("(umask 022 && : >>file)", [":"]),
        ("exec 3<file", ["exec"]),
        ("eval x <<END\n: >file\nEND\n", ["eval x"]),
        ("for i; do break >file; done", ["do break"]),
        ("cat <<END\n: >file\nEND\n: >file", [":"]),
        (". file", [". file"]),
        ("true >file; command : >file; >file; { :; } >file", []),
        ("while :; do :; done >file", []),
        ("exec 3>&1 1>&2 2>&-; exec setsid program </dev/null 2>/dev/null", []),
        ("# : >file\necho ': >file' \": >file\" a:>file x# \\: >file", []),
        ("case $x in '' | .) continue ;; esac", []),
        ("case $x in a) : ;; b) true >file ;; esac", []),
        ("echo $((1 <2)) ${x:-$(true >file)}; : ${y#a b}", []),
    ],
)
def test_the_reader_finds_what_ends_a_shell(text: str, found: list[str]) -> None:
    assert [words for _line, words in deadly(text)] == found


def test_the_reader_reads_every_command() -> None:
    text = "one \\\n two; three | four && x=5 six 7>&8 9>ten; $(eleven) \"$(twelve 'a)b')\" # no\nthirteen"
    assert [command.name for command in commands(text)] == [
        "one", "three", "four", "six", "eleven", "twelve", "$(eleven)", "thirteen",
    ]  # fmt: skip


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_do_what_the_reader_takes_for_granted(shell: str, tmp_path: Path) -> None:
    """Each builtin ends the shell, and each other way to make an empty file does not."""
    if shutil.which(SHELLS[shell].split()[1]) is None:
        pytest.skip(f"{shell} is not installed")

    nowhere = tmp_path / "missing/file"

    def survives(command: str) -> bool:
        script = f"set --; for i in 1; do {command} || true; done; echo survived"
        argv = [*SHELLS[shell].split()[1:], "-c", script]
        return "survived" in subprocess.run(argv, capture_output=True, text=True, check=False).stdout

    for builtin in SPECIAL:
        assert not survives(f"{builtin} >{nowhere}"), builtin
    for safe in ("true", "command :", "", "{ :; }", "x=1", "command exec", "printf %s x"):
        assert survives(f"{safe} >{nowhere}"), safe
    assert not survives(f". {nowhere}")


@pytest.mark.parametrize("file", SHELL_FILES, ids=lambda file: str(file.relative_to(PLUGINS)))
def test_no_shell_of_a_host_ends_for_a_redirection(file: Path) -> None:
    assert not list(deadly(file.read_text(encoding="utf-8")))


def test_no_command_needs_the_log() -> None:
    """A command whose redirection fails is not run: what matters prints to what ``find_log`` finds."""
    found = [
        f"{file.relative_to(PLUGINS)}: {line}"
        for file in SHELL_FILES
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.search(r'> *"\$DIR/log"', line) and "find_log()" not in line
    ]
    assert not found


def test_no_shell_text_in_python_ends_for_a_redirection() -> None:
    found = []
    looked_at = 0
    for file in sorted(PLUGINS.glob("**/*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        left_out = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                left_out |= {id(part) for part in node.values}
        for node in ast.walk(tree):
            if id(node) in left_out:
                continue
            # A text with values in it counts as a whole.
            if isinstance(node, ast.JoinedStr):
                text = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "VALUE" for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            else:
                continue
            if _SHELL.search(text):
                looked_at += 1
                found += [f"{file.relative_to(PLUGINS)}: {words}" for _line, words in deadly(text)]
    assert looked_at, "no Python file has a shell text any more, or none is recognised"
    assert not found
