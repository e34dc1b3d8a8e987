# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.gcroots import keep, roots_directory
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import NixRequest, NixResult

SYSTEM = f"/nix/store/{'0' * 32}-system"
OTHER = f"/nix/store/{'1' * 32}-system"


class RootMaker:
    """Makes links as nix-store --add-root does; paths in ``refused`` fail."""

    def __init__(self, refused: Sequence[str] = ()) -> None:
        self.refused = refused
        self.calls: list[tuple[str, ...]] = []

    def run_many(self, requests: Sequence[NixRequest], *, step: str, parallel: int) -> list[NixResult]:
        assert step
        assert parallel > 0
        return [self.make(request.arguments) for request in requests]

    def make(self, arguments: tuple[str, ...]) -> NixResult:
        self.calls.append(arguments)
        path, link = arguments[2], Path(arguments[4])
        if path in self.refused:
            return NixResult(1, "", "", arguments, errors=("error: no permission",))
        link.unlink(missing_ok=True)
        link.symlink_to(path)
        return NixResult(0, "", "", arguments)


def test_each_host_has_a_root(tmp_path: Path) -> None:
    nix = RootMaker()
    assert keep(nix, tmp_path / "new", {"web1": SYSTEM, "../web2": OTHER}) == []  # type: ignore[arg-type]
    roots = {str(link.readlink()): link for link in (tmp_path / "new").iterdir()}
    assert set(roots) == {SYSTEM, OTHER}
    assert roots[SYSTEM].name == "web1"
    assert nix.calls[0] == (
        "nix-store",
        "--realise",
        SYSTEM,
        "--add-root",
        str(tmp_path / "new/web1"),
        "--indirect",
    )


def test_a_root_that_is_right_is_left_alone(tmp_path: Path) -> None:
    nix = RootMaker()
    for system in (SYSTEM, SYSTEM, OTHER):
        keep(nix, tmp_path, {"web1": system})  # type: ignore[arg-type]
    assert [call[2] for call in nix.calls] == [SYSTEM, OTHER]
    assert str((tmp_path / "web1").readlink()) == OTHER


def test_a_root_that_cannot_be_made_is_a_warning(tmp_path: Path) -> None:
    [warning] = keep(RootMaker(refused=[SYSTEM]), tmp_path, {"web1": SYSTEM})  # type: ignore[arg-type]
    assert warning == "web1: the build is not protected from the garbage collector: no permission"


def test_a_directory_that_cannot_be_made_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    [warning] = keep(RootMaker(), tmp_path / "file" / "roots", {"web1": SYSTEM})  # type: ignore[arg-type]
    assert "not protected" in warning


def test_projects_have_directories_of_their_own(tmp_path: Path) -> None:
    directories = {roots_directory(project, tmp_path) for project in ("/a/fleet", "/b/fleet", "/")}
    assert len(directories) == 3
    assert all(directory.parent == tmp_path / "gcroots" for directory in directories)
