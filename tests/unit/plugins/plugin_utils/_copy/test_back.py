# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Store paths from a host to the controller through a connection that carries text: real scripts, a small Nix of sh."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy import back as _copy_back
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.back import copy_back
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.transport import Transport
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import NixResult

LIBRARY, SYSTEM = (f"/nix/store/{letter * 32}-{name}" for letter, name in (("b", "library"), ("a", "system")))
# Bytes that no text has, and as many as fill the pieces exactly.
CONTENT = bytes(range(256)) * 2
NIX_STORE = f"""#!/bin/sh
case $1 in
    --query) echo 'Welcome to big'; echo {LIBRARY}; echo {SYSTEM} ;;
    --realise) mkdir "$(dirname "$3")/kept" && echo "$4" >"$(dirname "$0")/kept" ;;
    --export) shift; echo "$@" >>"$(dirname "$0")/exported"; cat "$(dirname "$0")/content" ;;
esac
"""
NIX = """#!/bin/sh
for each do
    case $each in /nix/store/*) echo "$each 300" ;; esac
done
"""


class Shell:
    """A host that is this machine, with programs of its own."""

    host = "big"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.scripts: list[str] = []
        for name, text in (("nix-store", NIX_STORE), ("nix", NIX)):
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)
        (directory / "content").write_bytes(CONTENT)

    def run(self, script: str, *, step: str) -> RemoteResult:
        assert step == "copy to the controller"
        self.scripts.append(script)
        environment = {"PATH": f"{self.directory}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["/bin/sh"], input=script.encode(), capture_output=True, check=False, env=environment
        )
        return RemoteResult(done.returncode, done.stdout.decode(), done.stderr.decode())


class Here:
    """The Nix of the controller, which has ``valid`` and keeps what it is given."""

    def __init__(self, valid: Sequence[str] = (), says: str = "") -> None:
        self.valid = valid
        self.says = says
        self.imported: list[bytes] = []

    def run(self, arguments: Sequence[str], *, input: bytes | None = None, **_limits: object) -> NixResult:
        if arguments[1] == "--import":
            assert input is not None
            self.imported.append(input)
            return NixResult(1 if self.says else 0, "", self.says, tuple(arguments))
        assert arguments[1] == "--check-validity"
        absent = [path for path in arguments[3:] if path not in self.valid]
        return NixResult(0, "\n".join(absent), "", tuple(arguments))


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setattr(_copy_back, "choose_transport", lambda _shell: Transport.STREAM)
    return Shell(tmp_path)


def bring(shell: Any, here: Any, timeout: float | None = None) -> None:
    copy_back(shell, [SYSTEM], nix=here, timeout=timeout)


@pytest.mark.parametrize("piece", [64, 100, 512, 1024])
def test_every_byte_arrives_whatever_the_pieces_are(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(_copy_back, "PIECE_BYTES", piece)
    here = Here()
    bring(shell, here)
    assert here.imported == [CONTENT]
    assert (shell.directory / "exported").read_text().split() == [LIBRARY, SYSTEM]
    # What nothing else needs there was kept from the garbage collector until it was here.
    assert (shell.directory / "kept").read_text().split() == [SYSTEM]
    names = {script.partition("directory=$directory/")[2].partition(";")[0] for script in shell.scripts} - {
        ""
    }
    assert len(names) == 2
    assert [name for name in names if Path("/var/tmp", name).exists()] == []


def test_what_the_controller_has_does_not_travel(shell: Shell) -> None:
    bring(shell, Here([LIBRARY]))
    assert (shell.directory / "exported").read_text().split() == [SYSTEM]


def test_a_controller_that_wants_signatures_is_told_apart_from_the_host(shell: Shell) -> None:
    with pytest.raises(NixferryError) as caught:
        bring(shell, Here(says=f"error: cannot add path '{SYSTEM}' because it lacks a valid signature"))
    assert "the controller's Nix does not accept unsigned paths" in caught.value.cause
    assert "trusted-users" in caught.value.remedy


def test_a_host_that_fails_is_explained_and_nothing_is_left_there(shell: Shell) -> None:
    (shell.directory / "nix-store").write_text(
        NIX_STORE.replace("--export)", "--export) echo no luck >&2; exit 3;")
    )
    with pytest.raises(NixferryError) as caught:
        bring(shell, Here())
    assert "exit code 3" in caught.value.cause
    assert 'rm -rf "$directory"' in shell.scripts[-1]


def test_the_deadline_is_looked_at_between_pieces(shell: Shell) -> None:
    with pytest.raises(NixferryError) as caught:
        bring(shell, Here(), timeout=time.monotonic() * -1)
    assert "the timeout for the build expired" in caught.value.cause


def test_the_controller_itself_is_no_other_machine(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_copy_back, "choose_transport", lambda _shell: Transport.LOCAL)
    bring(shell, Here())
    assert shell.scripts == []
