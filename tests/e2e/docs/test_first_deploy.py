# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stranger on a bare machine types what the README's first deploy says, line by line, and nothing else."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from bare import BareMachine, started
from guides import README

MARK = "@@ line "
COMMENT = re.compile(r"^(?P<command>.*?)(?: +# (?P<comment>.*))?$")


@dataclass(frozen=True)
class Line:
    """A line of the README. Its comment says what is to be seen."""

    command: str
    comment: str

    @property
    def fails(self) -> bool:
        return self.comment.startswith("fails:")


def lines_of(block: str) -> list[Line]:
    found = [COMMENT.fullmatch(line) for line in block.splitlines()]
    return [Line(match["command"], match["comment"] or "") for match in found if match]


def first_deploy() -> list[list[Line]]:
    section = README.read_text().partition("\n## First deploy\n")[2].partition("\n## ")[0]
    return [lines_of(block) for block in re.findall(r"^```sh\n(.*?)^```", section, re.M | re.S)]


def type_in(machine: BareMachine, lines: list[Line], *, user: str, directory: str = ".") -> list[str]:
    """Run the lines in one new login of the user. Return what each of them printed."""
    script = ["set -e", f"mkdir -p {shlex.quote(directory)}", f"cd {shlex.quote(directory)}"]
    for line in lines:
        script.append(f"echo {shlex.quote(MARK + line.command)}")
        script.append(f"if {line.command}; then exit 99; fi" if line.fails else line.command)
    done = machine.login("\n".join([*script, f"echo {shlex.quote(MARK)}", ""]), user=user)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-6000:]}"
    return [text.partition("\n")[2] for text in done.stdout.split(MARK)[1:-1]]


@pytest.mark.takes_turns(4)
@pytest.mark.parametrize(
    ("release", "user", "directory"),
    [
        pytest.param("bookworm", "root", ".", id="debian-12-root"),
        pytest.param("trixie", "ann", "my projects", id="debian-13-user-space"),
        pytest.param("bookworm", "ann", ".", id="debian-12-user"),
        pytest.param("trixie", "root", "my projects", id="debian-13-root-space"),
    ],
)
def test_from_a_bare_machine_to_a_service_that_is_rolled_back(
    release: str, user: str, directory: str, tmp_path: Path
) -> None:
    install, join, *rest = first_deploy()
    session = [line for block in rest for line in block]
    lab_name = os.environ.get("NIXFERRY_LAB_NAME", "e2e")
    with started(f"bare-{release}-{user}", lab_name, release, tmp_path / "checkout") as machine:
        type_in(machine, install, user="root")
        if user != "root":
            type_in(machine, join, user=user)
        shown = type_in(machine, session, user=user, directory=directory)
    for line, text in zip(session, shown, strict=True):
        assert "WARNING" not in text, text
        if line.command.startswith("curl "):
            assert line.comment in text, f"{line}: {text}"
        if line.fails:
            assert "rolled-back (1)" in text, text
        if "not changed" in line.comment:
            assert "changed=0 " in text, text
    assert [line.fails for line in session].count(True) == 1
    assert len([line for line in session if line.command.startswith("curl ")]) == 4
