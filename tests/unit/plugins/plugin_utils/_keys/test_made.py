# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing keys are made once, never overwritten, and replaced without a moment in which nothing is trusted."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import IO, Any

import pytest
from handmade_cache import SigningKey

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys import made as made_module
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.made import (
    KeyFiles,
    KeyKind,
    cache_keys,
    change_keys,
    pointer_keys,
    read_keys,
)


class KeyMakingNix:
    """`nix key generate-secret --key-name NAME`, as Nix 2.8 and later print it: no newline at the end."""

    def run(self, arguments: list[str], *, output: IO[bytes], **_options: Any) -> None:
        assert arguments[:4] == ["nix", "key", "generate-secret", "--key-name"]
        output.write(SigningKey(arguments[4]).secret().encode())


@pytest.fixture(params=["cache", "pointer"])
def kind(request: pytest.FixtureRequest) -> KeyKind:
    return cache_keys(KeyMakingNix()) if request.param == "cache" else pointer_keys()  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys/signing"


def change(
    path: Path, kind: KeyKind, state: str, *, dry_run: bool = False
) -> tuple[KeyFiles, KeyFiles | None]:
    return change_keys(path, kind, state, name="cache.example.org", dry_run=dry_run)


def test_a_key_is_made_once(path: Path, kind: KeyKind) -> None:
    before, after = change(path, kind, "present")
    assert before == KeyFiles()
    assert after is not None
    assert after.current
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert Path(f"{path}.pub").read_text() == f"{after.current}\n"
    content = path.read_bytes()
    assert change(path, kind, "present") == (after, after)
    assert path.read_bytes() == content
    assert sorted(file.name for file in path.parent.iterdir()) == ["signing", "signing.pub"]


def test_a_key_is_replaced_in_three_steps(path: Path, kind: KeyKind) -> None:
    first = change(path, kind, "present")[1]
    assert first is not None
    made = change(path, kind, "next")[1]
    assert made is not None
    assert made.current == first.current
    assert made.trusted == [first.current, made.next]
    assert change(path, kind, "next") == (made, made)

    promoted = change(path, kind, "promoted")[1]
    assert promoted == KeyFiles(made.next, "", (first.current,))
    assert set(promoted.trusted) == set(made.trusted)
    assert read_keys(path, kind) == promoted
    assert Path(f"{path}.pub").read_text() == f"{made.next}\n"
    assert not Path(f"{path}.next").exists()
    assert not Path(f"{path}.next.pub").exists()
    assert change(path, kind, "promoted") == (promoted, promoted)

    retired = change(path, kind, "retired")[1]
    assert retired == KeyFiles(made.next) == read_keys(path, kind)
    assert change(path, kind, "retired") == (retired, retired)


def test_names_of_nix_keys_count(path: Path) -> None:
    kind = cache_keys(KeyMakingNix())  # type: ignore[arg-type]
    change(path, kind, "present")
    for number in (2, 3):
        change(path, kind, "next")
        after = change(path, kind, "promoted")[1]
        assert after is not None
        assert after.current.startswith(f"cache.example.org-{number}:")
    assert len(read_keys(path, kind).old) == 2


@pytest.mark.parametrize("states", [["present"], ["present", "next"], ["present", "next", "promoted"]])
def test_a_dry_run_writes_nothing(path: Path, kind: KeyKind, states: list[str]) -> None:
    for state in states[:-1]:
        change(path, kind, state)
    before = {file: file.read_bytes() for file in path.parent.glob("*")}
    told = change(path, kind, states[-1], dry_run=True)
    assert told[0] != told[1]
    assert {file: file.read_bytes() for file in path.parent.glob("*")} == before


@pytest.mark.parametrize("failing", ["_write", "_move", "_write_public"])
def test_a_promotion_that_ends_half_way_forgets_no_key(
    path: Path, kind: KeyKind, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(path, kind, "present")
    made = change(path, kind, "next")[1]
    assert made is not None

    def fail(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(made_module, failing, fail)
        with pytest.raises(KeyboardInterrupt):
            change(path, kind, "promoted")
    # Whatever signs now is trusted, and so is what has signed.
    assert set(read_keys(path, kind).trusted) == set(made.trusted)
    change(path, kind, "promoted")
    assert read_keys(path, kind) == KeyFiles(made.next, "", (made.current,))
    assert Path(f"{path}.pub").read_text() == f"{made.next}\n"


def test_no_step_is_left_out(path: Path, kind: KeyKind) -> None:
    for state in ("next", "promoted", "retired"):
        with pytest.raises(NixferryError, match="there is no key"):
            change(path, kind, state)
    change(path, kind, "present")
    with pytest.raises(NixferryError, match="has no successor yet"):
        change(path, kind, "promoted")


def test_what_is_not_a_key_is_not_overwritten(path: Path, kind: KeyKind) -> None:
    path.parent.mkdir()
    path.write_text("canary\n")
    path.chmod(0o600)
    for state in ("present", "next", "promoted"):
        with pytest.raises(NixferryError) as raised:
            change(path, kind, state)
        assert "canary" not in f"{raised.value}{raised.value.output}"
    assert path.read_text() == "canary\n"


def test_a_key_that_another_process_makes_meanwhile_stays(path: Path, kind: KeyKind) -> None:
    def make(file: Path, name: str) -> None:
        kind.make(path, name) if path.parent.joinpath("signing").exists() else _copy_key(kind, path, name)
        kind.make(file, name)

    racing = KeyKind(make, kind.public_of, kind.is_public)
    with pytest.raises(NixferryError, match="was made by another process"):
        change(path, racing, "present")
    assert change(path, kind, "present")[0].current == kind.public_of(path)


def _copy_key(kind: KeyKind, path: Path, name: str) -> None:
    path.touch(0o600)
    kind.make(path, name)


def test_a_line_that_is_not_a_key_is_not_trusted(path: Path, kind: KeyKind) -> None:
    change(path, kind, "present")
    Path(f"{path}.old.pub").write_text("not a key\n")
    with pytest.raises(NixferryError, match="not a public key"):
        change(path, kind, "present")


def test_a_directory_that_cannot_be_written(tmp_path: Path, kind: KeyKind) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NixferryError, match="cannot be written"):
        change(tmp_path / "file/key", kind, "present")


def test_a_pointer_key_of_one_s_own_is_kept(path: Path) -> None:
    """Made by ssh-keygen before, with a comment in its public file."""
    path.parent.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@here", "-f", path], check=True)
    before, after = change(path, pointer_keys(), "present")
    assert before == after
    assert before.current == " ".join(Path(f"{path}.pub").read_text().split()[:2])
