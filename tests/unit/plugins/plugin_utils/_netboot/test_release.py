# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a system goes into a release, with programs of Nix and squashfs-tools that are played."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.module_utils._netboot.tree import PARTS, Tree
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._netboot import image
from ansible_collections.nixferry.deploy.plugins.plugin_utils._netboot.release import make_release
from ansible_collections.nixferry.deploy.plugins.plugin_utils._netboot.system import read_system
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix

FSTAB = "../nix-store.squashfs /nix/.ro-store squashfs loop,x-initrd.mount 0 0\n"
# mksquashfs gets the sources, the image, and then options; this one packs the names.
MKSQUASHFS = """#!/bin/sh
for word; do case $word in -*) break ;; esac; last=$word; done
[ -z "$REFUSE" ] || { echo "no space left" >&2; exit 1; }
printf '%s\\n' "$@" | grep -v squashfs | sed 's|.*/\\(nix-path\\)|\\1|' >"$last"
"""
NIX_STORE = """#!/bin/sh
case "$*" in
    *--requisites*) echo /nix/store/b; echo /nix/store/a ;;
    *--dump-db*) echo registration ;;
esac
"""


@pytest.fixture
def toplevel(tmp_path: Path) -> Path:
    root = tmp_path / "toplevel"
    (root / "etc").mkdir(parents=True)
    (root / "etc/fstab").write_text(FSTAB)
    (root / "kernel").write_text("the kernel")
    (root / "initrd").write_text("the initrd")
    (root / "kernel-params").write_text("console=ttyS0 loglevel=4\n")
    return root


@pytest.fixture
def nix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nix:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("mksquashfs", MKSQUASHFS), ("nix-store", NIX_STORE)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return Nix()


def test_a_release_has_what_its_checksums_say(toplevel: Path, nix: Nix, tmp_path: Path) -> None:
    work = tmp_path / "www/releases"
    system = read_system(str(toplevel))
    made = make_release(nix, system, work, compression="zstd", timeout=30)
    assert sorted(each.name for each in made.directory.iterdir()) == sorted([*PARTS, "SHA256SUMS"])
    # The server's own comparison, and that the name is that of the content.
    Tree(str(tmp_path / "www")).verify(made.name)
    script = (made.directory / "boot.ipxe").read_text()
    words = f"kernel kernel init={toplevel}/init initrd=initrd initrd=store console=ttyS0 loglevel=4 ${{cmdline}}\n"
    assert words in script
    about = json.loads((made.directory / "manifest.json").read_text())
    assert about["key"] == system.key("zstd") != system.key("xz")
    assert (about["toplevel"], about["store_paths"]) == (str(toplevel), 2)
    # Nothing else is left, and a second one is the same.
    assert [each.name for each in work.iterdir()] == [made.name]
    assert make_release(nix, system, work, compression="zstd", timeout=30).name == made.name


def test_hosts_with_one_system_share_a_release(toplevel: Path, nix: Nix, tmp_path: Path) -> None:
    """Also those that begin at the same moment. What a killed run has left goes."""
    system, work = read_system(str(toplevel)), tmp_path / "work"
    left = work / f".making-{system.key('zstd')}-killed"
    left.mkdir(parents=True)
    packed: list[str] = []

    def make(_number: int) -> Path:
        return make_release(
            nix, system, work, compression="zstd", timeout=30, on_line=packed.append
        ).directory

    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(make, range(4)))
    (only,) = made
    assert [line for line in packed if line.startswith("packing")] == ["packing 2 store paths"]
    assert list(work.iterdir()) == [only]
    # One that others could have changed is made again, and so is one that is not whole.
    for spoil in (lambda: only.chmod(0o775), lambda: (only / "kernel").write_text("half")):
        spoil()
        packed.clear()
        assert (make(0) / "kernel").read_text() == "the kernel"
        assert packed
    packed.clear()
    assert make(0) == only
    assert not packed
    # Nor is a link taken for a release.
    moved = only.rename(tmp_path / "elsewhere")
    only.symlink_to(moved)
    with pytest.raises(NixferryError):
        make(0)


def test_the_store_is_an_archive_with_one_file(toplevel: Path, nix: Nix, tmp_path: Path) -> None:
    made = make_release(nix, read_system(str(toplevel)), tmp_path / "work", compression="lz4", timeout=30)
    content = (made.directory / "store").read_bytes()
    assert content.startswith(b"070701")
    words = [int(content[start : start + 8], 16) for start in range(6, 110, 8)]
    mode, size, name_size = words[1], words[6], words[11]
    assert mode == 0o100444
    assert content[110 : 110 + name_size] == b"nix-store.squashfs\0"
    begin = (110 + name_size + 3) // 4 * 4
    packed = content[begin : begin + size].decode().splitlines()
    assert packed[1:3] == ["/nix/store/a", "/nix/store/b"]
    assert packed[0] == "nix-path-registration"
    trailer = content[(begin + size + 3) // 4 * 4 :]
    assert trailer.startswith(b"070701")
    assert b"TRAILER!!!\0" in trailer
    assert len(content) % 4 == 0


def test_what_fails_leaves_nothing(
    toplevel: Path, nix: Nix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUSE", "1")
    with pytest.raises(NixferryError, match="no space left"):
        make_release(nix, read_system(str(toplevel)), tmp_path / "work", compression="zstd", timeout=30)
    assert list((tmp_path / "work").iterdir()) == []


def test_a_store_that_is_too_large_is_refused(
    toplevel: Path, nix: Nix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "MOST_BYTES", 10)
    with pytest.raises(NixferryError, match="takes 10") as refused:
        make_release(nix, read_system(str(toplevel)), tmp_path / "work", compression="zstd", timeout=30)
    assert "smaller" in refused.value.remedy


def test_mksquashfs_is_asked_for(
    toplevel: Path, nix: Nix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = image.shutil.which

    def which(name: str, **options: Any) -> str | None:
        return None if name == "mksquashfs" else real(name, **options)

    monkeypatch.setattr(image.shutil, "which", which)
    with pytest.raises(NixferryError, match="not on the PATH") as refused:
        make_release(nix, read_system(str(toplevel)), tmp_path / "work", compression="zstd", timeout=30)
    assert "squashfs-tools" in refused.value.remedy


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("etc/fstab", "/dev/sda1 / ext4\n", "nix-store.squashfs"),
        ("etc/fstab", "", "nix-store.squashfs"),
        ("kernel-params", "quiet\nshell\n", "cannot be written"),
        ("kernel-params", "quiet ${net0/ip}", "cannot be written"),
        ("kernel-params", "caf\u00e9", "cannot be written"),
        ("kernel-params", "x" * 2000, "characters"),
    ],
)
def test_a_system_that_cannot_boot_from_the_network_is_refused(
    toplevel: Path, file: str, content: str, said: str
) -> None:
    (toplevel / file).write_text(content)
    with pytest.raises(NixferryError, match=said) as refused:
        read_system(str(toplevel))
    assert refused.value.remedy


@pytest.mark.parametrize("file", ["kernel", "initrd"])
def test_a_system_without_a_kernel_is_refused(toplevel: Path, file: str) -> None:
    (toplevel / file).unlink()
    with pytest.raises(NixferryError, match="does not exist"):
        read_system(str(toplevel))


def test_the_same_content_has_the_same_name(toplevel: Path, nix: Nix, tmp_path: Path) -> None:
    first = make_release(nix, read_system(str(toplevel)), tmp_path / "one", compression="zstd", timeout=30)
    sums = (first.directory / "SHA256SUMS").read_text()
    assert first.name == hashlib.sha256(sums.encode()).hexdigest()[:32]
    (toplevel / "kernel").write_text("another kernel")
    second = make_release(
        nix, read_system(str(toplevel)), tmp_path / "changed", compression="zstd", timeout=30
    )
    assert second.name != first.name


@pytest.mark.parametrize("name", ["kernel", "initrd", "kernel-params", "etc/fstab", "etc"])
def test_a_release_has_no_file_of_the_user(toplevel: Path, tmp_path: Path, name: str) -> None:
    """Every client of the web server could read it, and an error would show the parameters."""
    store = tmp_path / "store"
    store.mkdir()
    home = tmp_path / "home"
    home.mkdir()
    (home / "fstab").write_text(FSTAB)
    place = toplevel.rename(store / "toplevel") / name
    assert read_system(str(store / "toplevel")).parameters
    place.rename(home / "moved")
    place.symlink_to(home if name == "etc" else home / "fstab")
    with pytest.raises(NixferryError, match="leads out of the Nix store"):
        read_system(str(store / "toplevel"))
