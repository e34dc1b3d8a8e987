# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a build host has built, through a connection that carries text: real scripts, a small Nix of sh, and hosts
that say or send something else than they were asked for."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from archives import export_of, nar_of_directory, nar_of_file, nar_of_link
from archives import text as word
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy import back as _copy_back
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.back import Wanted, copy_back
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.transport import Transport
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.result import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import NixResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import BuildGraph

LIBRARY, SYSTEM, EVIL, SOURCE = (
    f"/nix/store/{letter * 32}-{name}"
    for letter, name in (("b", "library"), ("a", "system"), ("f", "evil"), ("s", "source"))
)
DERIVATION = f"/nix/store/{'d' * 32}-system.drv"
GRAPH = BuildGraph(frozenset({DERIVATION, SOURCE}), frozenset({LIBRARY, SYSTEM}))
# Bytes that no text has.
NARS = {
    LIBRARY: nar_of_file(bytes(range(256)) * 2),
    SYSTEM: nar_of_directory({"library": nar_of_link(LIBRARY)}),
    EVIL: nar_of_file(b"evil"),
    SOURCE: nar_of_file(b"source"),
}
NARS_OF_BUILD = {path: NARS[path] for path in (LIBRARY, SYSTEM)}
SIGNATURE = "cache-1:AAAA=="
NIX_STORE = """#!/bin/sh
here=$(dirname "$0")
case $1 in
    --query) echo 'Welcome to big'; cat "$here/closure" ;;
    --realise) mkdir "$(dirname "$3")/kept" && echo "$4" >"$here/kept" ;;
    --export) shift; echo "$@" >>"$here/exported"; cat "$here/content" ;;
esac
"""
NIX = """#!/bin/sh
case $* in *--size*) cat "$(dirname "$0")/sizes" ;; *) cat "$(dirname "$0")/signatures" ;; esac
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
        self.has([LIBRARY, SYSTEM])
        (directory / "signatures").write_text(f"{LIBRARY}\t{SIGNATURE}\n\n{SYSTEM}\tultimate\n")

    def has(self, paths: Sequence[str], *, sends: bytes | None = None) -> None:
        """Say that these are the closure, and send them, or something else."""
        (self.directory / "closure").write_text("".join(f"{path}\n" for path in paths))
        self.sizes({path: len(NARS[path]) for path in paths})
        self.sends(export_of({path: NARS[path] for path in paths}, [LIBRARY]) if sends is None else sends)

    def sizes(self, sizes: Mapping[str, int]) -> None:
        lines = "".join(f"{path}\t{size}\n" for path, size in sizes.items())
        (self.directory / "sizes").write_text(lines)

    def sends(self, content: bytes) -> None:
        (self.directory / "content").write_bytes(content)

    def run(self, script: str, *, step: str, **_limits: object) -> RemoteResult:
        assert step == "copy to the controller"
        self.scripts.append(script)
        environment = {"PATH": f"{self.directory}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["/bin/sh"], input=script.encode(), capture_output=True, check=False, env=environment
        )
        return RemoteResult(
            done.returncode, f"code=1\nline={EVIL}\n{done.stdout.decode()}", done.stderr.decode()
        )


class Here:
    """The Nix of the controller, which has ``valid`` and keeps what it is given by name."""

    def __init__(self, valid: Sequence[str] = (), says: str = "") -> None:
        self.valid = [*valid]
        self.says = says
        self.given: dict[str, tuple[bytes, list[str]]] = {}
        self.refers: list[str] = []
        self.options: list[str] = []
        self.derivations: dict[str, str] = {}

    def run(self, arguments: Sequence[str], **_limits: object) -> NixResult:
        match arguments:
            case ["nix-store", "--check-validity", "--print-invalid", *paths]:
                return NixResult(0, "\n".join(path for path in paths if path not in self.valid), "", ())
            case ["nix-store", "--query", "--requisites", *paths]:
                return NixResult(0, "\n".join([*paths, *self.refers]), "", ())
            case ["nix", "store", "cat", path]:
                text = self.derivations.get(path, 'Derive([("out","/nix/store/x","","")],[],')
                return NixResult(0, text, "", ())
            case ["nix", "copy", "--no-recursive", *rest]:
                begin = rest.index("--from")
                self.options = rest[:begin]
                for path in [] if self.says else rest[begin + 2 :]:
                    self._take(Path(rest[begin + 1].removeprefix("file://")), path)
                return NixResult(1 if self.says else 0, "", self.says, tuple(arguments))
        raise AssertionError(arguments)

    def _take(self, cache: Path, path: str) -> None:
        """Read a binary cache as Nix does: by name, and checking size and hash."""
        name = path.removeprefix("/nix/store/")[:32]
        lines = (cache / f"{name}.narinfo").read_text().splitlines()
        fields = dict(line.split(": ", 1) for line in lines)
        nar = (cache / fields["URL"]).read_bytes()
        assert (cache / "nix-cache-info").read_text() == "StoreDir: /nix/store\n"
        assert fields["StorePath"] == path
        assert fields["NarSize"] == str(len(nar))
        assert fields["NarHash"] == f"sha256:{hashlib.sha256(nar).hexdigest()}"
        self.given[path] = nar, lines
        self.valid.append(path)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setattr(_copy_back, "choose_transport", lambda _shell: Transport.STREAM)
    monkeypatch.setattr(_copy_back, "controller_temporary", lambda: str(tmp_path))
    return Shell(tmp_path)


def bring(
    shell: Any, here: Any, timeout: float | None = None, graph: BuildGraph | None = GRAPH
) -> dict[str, bytes]:
    copy_back(shell, Wanted((SYSTEM,), graph), nix=here, timeout=timeout)
    return {path: nar for path, (nar, _lines) in here.given.items()}


@pytest.mark.parametrize("piece", [64, 100, 2048, 4096])
def test_every_byte_arrives_whatever_the_pieces_are(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(_copy_back, "PIECE_BYTES", piece)
    here = Here()
    assert bring(shell, here) == {LIBRARY: NARS[LIBRARY], SYSTEM: NARS[SYSTEM]}
    assert (shell.directory / "exported").read_text().split() == [LIBRARY, SYSTEM]
    assert here.options == ["--no-check-sigs"]
    assert f"Sig: {SIGNATURE}" in here.given[LIBRARY][1]
    assert not [line for line in here.given[SYSTEM][1] if line.startswith("Sig")]
    # What nothing else needs there was kept from the garbage collector until it was here.
    assert (shell.directory / "kept").read_text().split() == [SYSTEM]
    names = {script.partition("directory=$directory/")[2].partition(";")[0] for script in shell.scripts} - {
        ""
    }
    assert len(names) == 2
    assert [name for name in names if Path("/var/tmp", name).exists()] == []
    assert list(shell.directory.glob("nixferry-*")) == []


def test_what_the_controller_has_does_not_travel(shell: Shell) -> None:
    shell.sends(export_of({SYSTEM: NARS[SYSTEM]}))
    bring(shell, Here([LIBRARY]))
    assert (shell.directory / "exported").read_text().split() == [SYSTEM]


def test_a_path_that_the_build_does_not_make_is_refused_before_anything_travels(shell: Shell) -> None:
    shell.has([LIBRARY, EVIL, SYSTEM])
    here = Here()
    with pytest.raises(NixferryError, match=f"wants to add {EVIL}, which the build does not make"):
        bring(shell, here)
    assert here.given == {}
    assert not (shell.directory / "exported").exists()


@pytest.mark.parametrize(
    ("sends", "wrong"),
    [
        ([LIBRARY, EVIL, SYSTEM], f"contains {EVIL}, which was not asked for"),
        ([EVIL], f"contains {EVIL}, which was not asked for"),
        ([LIBRARY], f"{SYSTEM} is not in the export"),
        ([], "is not in the export"),
    ],
)
def test_an_export_with_other_paths_is_refused_whole(shell: Shell, sends: list[str], wrong: str) -> None:
    """``nix-store --import`` would make all of them valid."""
    shell.sends(export_of({path: NARS[path] for path in sends}))
    here = Here()
    with pytest.raises(NixferryError, match=wrong):
        bring(shell, here)
    assert here.given == {}
    assert list(shell.directory.glob("nixferry-*")) == []


def test_a_path_hidden_behind_a_false_size_is_refused(shell: Shell) -> None:
    shell.sizes({LIBRARY: len(NARS[LIBRARY]) + len(export_of({EVIL: NARS[EVIL]})), SYSTEM: len(NARS[SYSTEM])})
    shell.sends(export_of({LIBRARY: NARS[LIBRARY], EVIL: NARS[EVIL], SYSTEM: NARS[SYSTEM]}))
    with pytest.raises(NixferryError, match="not asked for"):
        bring(shell, Here())


def test_more_data_than_was_told_ends_the_copy(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_copy_back, "TRAILER_MOST_BYTES", 1000)
    monkeypatch.setattr(_copy_back, "PIECE_BYTES", 1024)
    shell.sends(export_of({LIBRARY: NARS[LIBRARY], SYSTEM: nar_of_file(b"x" * 100_000)}))
    with pytest.raises(NixferryError, match="sent more than it had told"):
        bring(shell, Here())
    assert sum("dd if=" in script for script in shell.scripts) < 8


@pytest.mark.parametrize("closure", [[], [LIBRARY], [EVIL]])
def test_a_host_without_what_it_was_to_build_is_told(shell: Shell, closure: list[str]) -> None:
    shell.has(closure)
    with pytest.raises(NixferryError, match=f"does not have {SYSTEM}, which it was to build"):
        bring(shell, Here())


def test_what_did_not_become_valid_was_not_built(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Here()
    monkeypatch.setattr(here, "_take", lambda _cache, _path: None)
    with pytest.raises(NixferryError, match=f"did not give {SYSTEM}"):
        bring(shell, here)


def test_an_output_that_refers_to_something_else_is_refused(shell: Shell) -> None:
    """What the controller has for other reasons must not travel to the hosts of this build."""
    here = Here([EVIL, SOURCE])
    here.refers = [SOURCE, EVIL]
    with pytest.raises(NixferryError, match=f"refers to {EVIL}, which the build does not need"):
        bring(shell, here)


FETCH = f"/nix/store/{'e' * 32}-library.drv"
FETCHED = BuildGraph(frozenset({DERIVATION, FETCH, SOURCE}), GRAPH.outputs)
CONTENTS = bytes(range(256)) * 2


def knows_hash(algorithm: str, hashed: bytes, path: str = LIBRARY) -> Here:
    """A controller whose derivation of the library says what its output hashes to."""
    here = Here()
    digest = hashlib.new(algorithm.removeprefix("r:"), hashed).hexdigest()
    here.derivations[FETCH] = f'Derive([("out","{path}","{algorithm}","{digest}")],[],[],"builtin","",[],[])'
    return here


@pytest.mark.parametrize(
    ("algorithm", "hashed"),
    [
        ("r:sha256", NARS[LIBRARY]),
        ("r:sha1", NARS[LIBRARY]),
        ("sha256", CONTENTS),
        ("sha512", CONTENTS),
        ("md5", CONTENTS),
    ],
)
@pytest.mark.parametrize("transport", [Transport.STREAM, Transport.SSH])
def test_a_source_is_compared_with_the_hash_in_its_derivation(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, algorithm: str, hashed: bytes, transport: Transport
) -> None:
    monkeypatch.setattr(_copy_back, "choose_transport", lambda _shell: transport)
    # What is not fixed comes from Nix itself over ssh.
    monkeypatch.setattr(_copy_back._CopyBack, "by_ssh", lambda back, absent: back._nix.valid.extend(absent))
    shell.has([LIBRARY, SYSTEM])
    shell.sends(export_of({LIBRARY: NARS[LIBRARY]} if transport is Transport.SSH else NARS_OF_BUILD))
    assert bring(shell, knows_hash(algorithm, hashed), graph=FETCHED)[LIBRARY] == NARS[LIBRARY]

    other = knows_hash(algorithm, hashed + b"!")
    with pytest.raises(NixferryError, match=f"the content of {LIBRARY} has the hash"):
        bring(shell, other, graph=FETCHED)
    assert (other.given, other.valid) == ({}, [])


@pytest.mark.parametrize(
    ("nar", "algorithm", "why"),
    [
        (nar_of_directory({"a": nar_of_file(CONTENTS)}), "sha256", "is not a file"),
        (nar_of_link("/etc/passwd"), "sha256", "is not a file"),
        (nar_of_file(CONTENTS), "text:sha256", "cannot be compared here"),
        (nar_of_file(CONTENTS), "git:sha1", "cannot be compared here"),
    ],
)
def test_a_source_that_cannot_be_compared_is_refused(
    shell: Shell, nar: bytes, algorithm: str, why: str
) -> None:
    shell.sends(export_of({LIBRARY: nar, SYSTEM: NARS[SYSTEM]}))
    here = knows_hash("sha256", CONTENTS)
    here.derivations[FETCH] = here.derivations[FETCH].replace('"sha256"', f'"{algorithm}"')
    with pytest.raises(NixferryError, match=why):
        bring(shell, here, graph=FETCHED)
    assert here.given == {}


def test_a_source_refers_to_nothing(shell: Shell) -> None:
    shell.sends(export_of({LIBRARY: NARS[LIBRARY], SYSTEM: NARS[SYSTEM]}, [SOURCE]))
    with pytest.raises(NixferryError, match=f"is a fixed output, and refers to {SOURCE}"):
        bring(shell, knows_hash("sha256", CONTENTS), graph=FETCHED)


def test_a_program_is_hashed_by_its_contents(shell: Shell) -> None:
    """Between its type and its contents is one more word."""
    marked = word("executable") + word("")
    program = NARS[LIBRARY].replace(word("regular"), word("regular") + marked)
    shell.sizes({LIBRARY: len(program), SYSTEM: len(NARS[SYSTEM])})
    shell.sends(export_of({LIBRARY: program, SYSTEM: NARS[SYSTEM]}))
    assert bring(shell, knows_hash("sha256", CONTENTS), graph=FETCHED)[LIBRARY] == program


def test_without_a_derivation_signatures_are_needed(shell: Shell) -> None:
    shell.has([LIBRARY, SYSTEM])
    here = Here()
    bring(shell, here, graph=None)
    assert here.options == []


def test_over_ssh_nix_is_asked_for_exactly_the_missing_paths(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closure would be what the host says."""
    monkeypatch.setattr(_copy_back, "choose_transport", lambda _shell: Transport.SSH)
    monkeypatch.setattr(_copy_back, "ssh_program", _Program)
    calls: list[Sequence[str]] = []
    here = Here([SOURCE])

    def run(arguments: Sequence[str], **_limits: object) -> NixResult:
        calls.append(arguments)
        if arguments[1] != "copy":
            return Here.run(here, arguments)
        here.valid += [word for word in arguments if word.startswith("/nix/store/")]
        return NixResult(0, "", "", ())

    monkeypatch.setattr(here, "run", run)
    bring(shell, here)
    assert [call for call in calls if call[1] == "copy"] == [
        [
            "nix",
            "copy",
            "--no-recursive",
            "--no-check-sigs",
            "--from",
            "ssh://nixferry-target",
            LIBRARY,
            SYSTEM,
        ]
    ]
    shell.has([LIBRARY, EVIL, SYSTEM])
    with pytest.raises(NixferryError, match=f"wants to add {EVIL}"):
        bring(shell, Here())


class _Program:
    def __init__(self, _shell: object, _remote: str, *, compress: bool) -> None:
        assert not compress

    def __enter__(self) -> Path:
        return Path("/program")

    def __exit__(self, *_exception: object) -> None:
        pass


@given(closure=st.binary(max_size=300), sizes=st.binary(max_size=300), content=st.binary(max_size=300))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_whatever_the_host_says_is_a_copy_or_an_error(
    shell: Shell, closure: bytes, sizes: bytes, content: bytes
) -> None:
    paths = f"{LIBRARY}\n{SYSTEM}\n".encode()
    (shell.directory / "closure").write_bytes(closure + b"\n" + paths)
    (shell.directory / "sizes").write_bytes(
        sizes + b"\n" + b"".join(path + b" 700\n" for path in paths.split())
    )
    (shell.directory / "signatures").write_bytes(sizes + b"\n" + LIBRARY.encode() + b" " + sizes)
    (shell.directory / "content").write_bytes(content)
    here = Here()
    with pytest.raises(NixferryError):
        bring(shell, here)
    assert here.given == {}


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
    assert caught.value.output[-1] == "no luck"
    assert 'rm -rf "$directory"' in shell.scripts[-1]


def test_the_deadline_is_looked_at_between_pieces(shell: Shell) -> None:
    with pytest.raises(NixferryError) as caught:
        bring(shell, Here(), timeout=time.monotonic() * -1)
    assert "the timeout for the build expired" in caught.value.cause


def test_the_controller_itself_is_no_other_machine(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_copy_back, "choose_transport", lambda _shell: Transport.LOCAL)
    bring(shell, Here())
    assert shell.scripts == []
