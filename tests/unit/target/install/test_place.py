# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys and files below the new system's root, before it boots for the first time."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from install_machine import Machine

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install.files import (
    HostKeys,
    PlacedFiles,
    declared_files,
    place_files,
)

BINARY = bytes(range(256)) * 3


class Target(Machine):
    """A machine whose new disk is mounted."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.new = root / "mnt"
        self.new.mkdir(mode=0o755)
        self.mounts("20 1 8:1 / /mnt rw - ext4 /dev/sda1 rw\n")

    def place(self, contents: dict[str, bytes], *keys: tuple[str, str], **entry: Any) -> PlacedFiles:
        files = declared_files({path: {"text": "", "permissions": "0640", **entry} for path in contents})
        by_name = {file.name: contents[file.path] for file in files}
        return place_files(
            self.shell, files, by_name, mount_point="/mnt", keys=HostKeys(keys, "/etc/ssh") if keys else None
        )


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(tmp_path)


def test_files_arrive_as_they_are(target: Target) -> None:
    contents = {"/etc/a/b": BINARY, "/var/empty": b"", "/etc/a/c": b"no newline"}
    assert set(target.place(contents).placed) == set(contents)
    for path, content in contents.items():
        placed = target.new / path[1:]
        assert placed.read_bytes() == content
        assert placed.stat().st_mode & 0o7777 == 0o640
    assert (target.new / "etc/a").stat().st_mode & 0o777 == 0o755
    assert target.place(contents).placed == ()
    assert target.place({**contents, "/var/empty": b"x"}).placed == ("/var/empty",)
    assert not list(target.new.rglob(".nixferry*"))
    # Nothing of what was received stays on the installer.
    assert [path.name for path in (target.root / "run").iterdir()] == ["nixferry"]


def test_a_link_does_not_lead_out_of_the_new_system(target: Target) -> None:
    (target.root / "outside").mkdir()
    (target.new / "etc").symlink_to(target.root / "outside")
    with pytest.raises(NixferryError, match="/mnt/etc is a symbolic link"):
        target.place({"/etc/key": b"x"})
    with pytest.raises(NixferryError, match="/mnt/etc is a symbolic link"):
        target.place({}, ("ed25519", "generate"))
    assert not list((target.root / "outside").iterdir())


def test_a_link_that_another_user_plants_is_not_followed(target: Target) -> None:
    """In a directory that all may write to, such as /tmp of the installer: just before the file is written."""
    outside = target.root / "outside"
    directory = target.new / "tmp"
    directory.mkdir(mode=0o1777)
    plant = f'PATH=${{PATH#*:}} rm "$@"; ln -s {outside} {directory}/.nixferry-$PPID'
    target.program("rm", plant)
    assert target.place({"/tmp/disk.key": b"a passphrase"}).placed == ("/tmp/disk.key",)
    assert not outside.exists()
    assert (directory / "disk.key").read_bytes() == b"a passphrase"
    assert not list(directory.glob(".nixferry-placed*"))


def test_nothing_is_written_beside_the_mount(target: Target) -> None:
    target.mounts("")
    with pytest.raises(NixferryError, match="nothing is mounted on /mnt"):
        target.place({"/etc/key": b"x"}, ("ed25519", "generate"))
    assert not list(target.new.iterdir())


def test_a_generated_key_stays(target: Target) -> None:
    (public,) = target.place({}, ("ed25519", "generate")).host_keys
    private = target.new / "etc/ssh/ssh_host_ed25519_key"
    assert private.stat().st_mode & 0o777 == 0o600
    assert private.with_suffix(".pub").read_text().split()[:2] == public.split()
    again = target.place({}, ("ed25519", "generate"))
    assert (again.host_keys, again.placed) == ((public,), ())
    assert {path.name for path in private.parent.iterdir()} == {private.name, f"{private.name}.pub"}


def test_a_key_is_kept_or_given(target: Target) -> None:
    with pytest.raises(NixferryError, match="no ed25519 host key to keep"):
        target.place({}, ("ed25519", "keep"))
    old = target.root / "etc/ssh/ssh_host_ed25519_key"
    old.parent.mkdir(parents=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "root@old", "-f", old], check=True)
    (kept,) = target.place({}, ("ed25519", "keep")).host_keys
    assert kept == " ".join(old.with_suffix(".pub").read_text().split()[:2])

    given = {"/etc/ssh/ssh_host_rsa_key": old.read_bytes()}
    assert target.place(given, ("rsa", "given"), permissions="0600").host_keys == (kept,)
    with pytest.raises(NixferryError, match="is not a private key without a passphrase"):
        target.place({"/etc/ssh/ssh_host_rsa_key": b"nonsense\n"}, ("rsa", "given"))


def test_all_or_nothing_arrives(target: Target) -> None:
    run = target.run_command
    target.run_command = lambda command, *, data, **_options: run(command, data=data[:-1])  # type: ignore[method-assign]
    with pytest.raises(NixferryError, match="did not arrive completely"):
        target.place({"/etc/key": b"xy"})
    assert not list(target.new.iterdir())
