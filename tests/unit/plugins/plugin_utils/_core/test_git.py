# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Revisions of sources, read from real checkouts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core import git as _revision
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_record import DeployRecord
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.git import (
    Revision,
    contains,
    file_revision,
    flake_revision,
    is_checkout,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.revision import RevisionCheck

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is missing")
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    **{
        f"GIT_{who}_{what}": "ann@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
}


def git(directory: Path, *arguments: str) -> str:
    argv = ["git", "-C", str(directory), "-c", "init.defaultBranch=main", *arguments]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env=ENVIRONMENT)
    return done.stdout.strip()


def commit(directory: Path, text: str) -> str:
    (directory / "flake.nix").write_text(text)
    git(directory, "add", "flake.nix")
    git(directory, "commit", "--quiet", "--message", text)
    return git(directory, "rev-parse", "HEAD")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    directory = tmp_path / "fleet"
    (directory / "hosts").mkdir(parents=True)
    git(directory, "init", "--quiet")
    commit(directory, "one")
    return directory


def test_every_way_to_name_a_flake_in_a_checkout(checkout: Path) -> None:
    expected = Revision(git(checkout, "rev-parse", "HEAD"), str(checkout))
    for reference in (
        "",
        ".",
        "./hosts",
        str(checkout),
        f"path:{checkout}",
        "path:./hosts",
        f"git+file://{checkout}?dir=hosts",
        f"{checkout}/hosts?dir=x",
    ):
        assert flake_revision(reference, str(checkout)) == expected, reference
    for file in ("flake.nix", "hosts", "./hosts/web.nix", str(checkout / "flake.nix")):
        assert file_revision(file, str(checkout)) == expected, file


def test_modified_files_count_when_git_tracks_them(checkout: Path) -> None:
    (checkout / "result").write_text("not tracked")
    assert not flake_revision(".", str(checkout)).revision.endswith("-dirty")
    (checkout / "flake.nix").write_text("two")
    assert flake_revision(".", str(checkout)).revision == git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_a_reference_may_name_another_commit(checkout: Path) -> None:
    first = git(checkout, "rev-parse", "HEAD")
    git(checkout, "branch", "old")
    commit(checkout, "two")
    (checkout / "flake.nix").write_text("modified, which does not matter")
    for parameter in (f"rev={first}", "ref=old", f"ref=old&rev={first}"):
        assert flake_revision(f"git+file://{checkout}?{parameter}", "/") == Revision(first, str(checkout))


@pytest.mark.parametrize(
    ("reference", "revision"),
    [
        ("nixpkgs", ""),
        ("github:example/fleet", ""),
        ("github:example/fleet/main", ""),
        (f"github:example/fleet/{'a' * 40}", "a" * 40),
        (f"github:example/fleet/{'a' * 40}?dir=x", "a" * 40),
        (f"git+ssh://git@example.org/fleet?ref=main&rev={'b' * 40}", "b" * 40),
        ("git+ssh://git@example.org/fleet?rev=nonsense", ""),
        ("https://example.org/fleet.tar.gz", ""),
    ],
)
def test_remote_flakes_are_not_asked(reference: str, revision: str, checkout: Path) -> None:
    assert flake_revision(reference, str(checkout)) == Revision(revision)


def test_no_repository_no_commit_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert flake_revision(".", str(tmp_path)) == Revision()
    assert flake_revision(".", str(tmp_path / "nowhere")) == Revision()
    assert file_revision("<nixpkgs>", str(tmp_path)) == Revision()
    assert not is_checkout(str(tmp_path))
    assert not is_checkout("")
    git(tmp_path, "init", "--quiet")
    assert flake_revision(".", str(tmp_path)) == Revision()


def test_no_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert flake_revision(".", str(checkout)) == Revision()
    assert contains(str(checkout), "a" * 40, "b" * 40) is None


def test_a_hooks_environment_does_not_matter(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    assert flake_revision(".", str(checkout)).repository == str(checkout)


def test_a_checkout_of_another_user_is_not_silently_ignored(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("HOME", "/nonexistent")
    found = flake_revision(".", str(checkout))
    assert found.revision == ""
    assert "dubious ownership" in found.warning


def test_contains(checkout: Path) -> None:
    first = git(checkout, "rev-parse", "HEAD")
    second = commit(checkout, "two")
    git(checkout, "checkout", "--quiet", "-b", "other", first)
    other = commit(checkout, "other")
    where = str(checkout)
    assert contains(where, second, first) is True
    assert contains(where, f"{second}-dirty", f"{second}-dirty") is True
    assert contains(where, first, second) is False
    assert contains(where, other, second) is False
    assert contains(where, second, "f" * 40) is None
    assert contains(where, second, "--help") is None


def record(revision: str) -> DeployRecord:
    return DeployRecord(12, "/nix/store/x", 1_790_000_000, "id", "switch", revision, "ann@laptop")


def test_a_deploy_that_contains_what_is_deployed_is_allowed(checkout: Path) -> None:
    first = git(checkout, "rev-parse", "HEAD")
    second = commit(checkout, "two")
    RevisionCheck(second, str(checkout)).allow(record(first))
    RevisionCheck(second, str(checkout)).allow(record(f"{second}-dirty"))
    RevisionCheck(f"{second}-dirty", str(checkout)).allow(record(f"{first}-dirty"))


def test_a_deploy_that_would_undo_says_whose_work_it_is(checkout: Path) -> None:
    first = git(checkout, "rev-parse", "HEAD")
    second = commit(checkout, "two")
    with pytest.raises(NixferryError) as refusal:
        RevisionCheck(f"{first}-dirty", str(checkout)).allow(record(second))
    text = refusal.value.text("web1")
    for part in (
        "web1",
        "ann@laptop",
        "generation 12",
        "2026-09-21 14:13 UTC",
        second[:12],
        "rebase",
        "nixos_force",
    ):
        assert part in text, part
    assert f"{first[:12]}-dirty does not contain" in text
    RevisionCheck(first, str(checkout), force=True).allow(record(second))


def test_a_revision_that_is_not_known_here_is_refused_too(checkout: Path, tmp_path: Path) -> None:
    second = commit(checkout, "two")
    with pytest.raises(NixferryError, match="does not know") as refusal:
        RevisionCheck(second, str(checkout)).allow(record("f" * 40))
    assert "pushed" in refusal.value.remedy
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{checkout}", "shallow")
    first = git(checkout, "rev-parse", "HEAD~")
    with pytest.raises(NixferryError) as refusal:
        RevisionCheck(second, str(tmp_path / "shallow")).allow(record(first))
    assert "git fetch --unshallow" in refusal.value.remedy


def test_without_a_checkout_nothing_can_be_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    RevisionCheck("a" * 40, "").allow(record("b" * 40))
    RevisionCheck("a" * 40, str(tmp_path)).allow(record("b" * 40))
    RevisionCheck("", str(tmp_path)).allow(record("b" * 40))


def test_git_that_hangs_is_not_waited_for(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(_revision, "GIT_DEADLINE_SECONDS", 0.2)
    assert flake_revision(".", str(checkout)) == Revision()
