# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guard takes as the value of a field, compared with the same rules in another language."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping

import pytest
from guard_host import SHELLS
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import target_text

LINE = rb"[^\x00-\x1f\x7f]"


def matches(pattern: bytes, longest: int) -> Callable[[bytes], bool]:
    whole = re.compile(pattern, re.DOTALL)
    return lambda value: len(value) <= longest and whole.fullmatch(value) is not None


def is_path(value: bytes) -> bool:
    parts = value.split(b"/")
    return value.startswith(b"/") and not {b"", b".", b".."} & set(parts[1:]) and line(value)


line = matches(LINE + b"*", 4096)
MODEL: Mapping[str, Callable[[bytes], bool]] = {
    "text": matches(b".*", 65536),
    "line": line,
    "printable": matches(b"[ -~]*", 1000),
    "token": matches(b"[!-~]*", 200),
    "words": matches(b"[a-z -]*", 200),
    "flag": matches(b"[01]", 1),
    "seconds": matches(b"0|[1-9][0-9]*", 6),
    "timeout": matches(b"[1-9][0-9]*", 6),
    "identifier": matches(b"[0-9A-Za-z][0-9A-Za-z-]*", 64),
    "name": matches(b"(?![.-])[0-9A-Za-z._+-]*", 200),
    "component": lambda value: matches(b"(?![.-])[^/]*", 255)(value) and line(value),
    "path": is_path,
    "place": lambda value: is_path(value.removeprefix(b"~")),
    "planned": lambda value: value == b"none" or is_path(value),
    "variable": matches(b"[A-Za-z_][0-9A-Za-z_]{,199}=.*", 10**6),
    "choice/switch/dry-activate": matches(b"switch|dry-activate", 50),
}
WORDS = "/ .. . - -- ~ 0 08 1 a A_b = % $(id) `id` ' \" * ? [a] \\ switch ; !"
PIECES = st.sampled_from(
    [*WORDS.encode().split(), b" ", b"\n", b"\t", b"\x7f", b"\x80", b"9" * 4000, b"x" * 60]
)
VALUES = st.one_of(
    st.lists(PIECES, max_size=6).map(b"".join),
    st.binary(max_size=300).map(lambda raw: raw.replace(b"\0", b"")),
)


def taken(shell: str, rule: str, values: list[bytes]) -> list[bool]:
    """What the guard's ``fits`` says about each of ``values``."""
    program = f"set -u; LC_ALL=C; ROOT=\n{target_text('lib/request.sh')}\nrule=$1; shift\n"
    program += 'for each; do if fits "$rule" "$each"; then echo 1; else echo 0; fi; done\n'
    command = [*shlex.split(SHELLS[shell].removeprefix("exec ")), "-c", program, "sh", rule, *values]
    done = subprocess.run(command, capture_output=True, check=True, env={"PATH": os.environ["PATH"]})
    assert done.stderr == b""
    return [word == b"1" for word in done.stdout.split()]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("rule", MODEL)
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(st.lists(VALUES, min_size=1, max_size=40))
@example([b"", b"08", b"0", b"00", b"1" * 6, b"1" * 7, b"1" * 5000, b"-1", b"+1", b"1 ", b"1+1", b"0x1"])
@example(
    [
        b"../../x",
        b"..",
        b".",
        b"a/../b",
        b"/a/../b",
        b"/",
        b"//",
        b"/a/",
        b"/a/./b",
        b"~",
        b"~/a",
        b"~root/a",
        b"none",
        b"a",
    ]
)
@example(
    [
        b"-",
        b"-.mount",
        b"--force",
        b"a-b",
        b"1-a",
        b"=x",
        b"A=",
        b"A=\n",
        b"A\n=x",
        b"switch",
        b"switch/dry-activate",
    ]
)
def test_the_guard_takes_what_the_rule_says(shell: str, rule: str, values: list[bytes]) -> None:
    assert taken(shell, rule, values) == [MODEL[rule](value) for value in values]


def test_every_rule_of_the_table_has_a_model() -> None:
    table = target_text("lib/request.sh").partition("REQUEST_FIELDS='\n")[2].partition("'\n")[0]
    rules = {word for row in table.splitlines() for word in row.split()[1:]} - {"=", "-"}
    # These depend on the host, and are tested with it.
    rules -= {"kind", "profile", "store_path"}
    assert {rule.partition("/")[0] for rule in rules} == {rule.partition("/")[0] for rule in MODEL}
