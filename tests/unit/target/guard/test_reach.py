# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user who can change what an installed guard runs, reads or activates would be root: such a guard is refused.

Each way was taken by a real attack. Every test needs root, who alone can give directories to another user.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from guard_host import SHELLS, Completed, Host
from installed_host import Guarded, install, unchanged

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.install import (
    install_script,
    parse_installation,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import target_text

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away"),
    pytest.mark.parametrize("host", list(SHELLS), indirect=True),
]
FERRY = 12345
"""The user id of the deploy user."""
REASONS = r"can write to|lets others|another user"


def place(host: Host, name: str) -> Path:
    path = host.directory / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def let_write(path: Path, kind: str = "access") -> None:
    """Let the deploy user write to ``path`` by a POSIX ACL, as ``setfacl -m u:ferry:rwx`` does.

    The kind ``default`` is for what is made in it from then on.
    """
    entries = ((1, 7, -1), (2, 7, FERRY), (4, 5, -1), (16, 7, -1), (32, 5, -1))
    packed = b"".join(struct.pack("<HHI", tag, bits, who & 0xFFFFFFFF) for tag, bits, who in entries)
    os.setxattr(path, f"system.posix_acl_{kind}", struct.pack("<I", 2) + packed)


def link_into_a_home(host: Host) -> None:
    """The directory of the program is a link on whose way the deploy user owns a directory."""
    sbin = place(host, "usr/local") / "sbin"
    place(host, "home/ferry/tools/sbin")
    os.chown(host.directory / "home/ferry/tools", FERRY, FERRY)
    sbin.symlink_to(host.directory / "home/ferry/tools/sbin")


def link_to_a_link(host: Host) -> None:
    place(host, "opt/sbin")
    place(host, "home/ferry")
    os.chown(host.directory / "home/ferry", FERRY, FERRY)
    (host.directory / "home/ferry/link").symlink_to("../../opt/sbin")
    (place(host, "usr/local") / "sbin").symlink_to("../../home/ferry/link")


def link_in_a_shared_directory(host: Host) -> None:
    shared = place(host, "shared")
    shared.chmod(0o1777)
    place(host, "opt/sbin")
    (shared / "link").symlink_to("../opt/sbin")
    (place(host, "usr/local") / "sbin").symlink_to("../../shared/link")


def group_of_the_program(host: Host) -> None:
    place(host, "usr/local/sbin")
    (host.directory / "usr/local").chmod(0o775)


def acl_of_the_program(host: Host) -> None:
    let_write(place(host, "usr/local/sbin"))


def owner_of_the_profiles(host: Host) -> None:
    os.chown(host.profile.parent, FERRY, FERRY)


def group_of_the_profiles(host: Host) -> None:
    os.chown(host.profile.parent, 0, FERRY)
    host.profile.parent.chmod(0o1775)


def directory_named_like_the_store(host: Host) -> None:
    """Only in the store itself may a group add files."""
    store = place(host, "opt/nix/store")
    os.chown(store, 0, FERRY)
    store.chmod(0o1775)
    (place(host, "usr/local") / "sbin").symlink_to("../../opt/nix/store")


def acl_of_the_profiles(host: Host) -> None:
    let_write(host.profile.parent)


def owner_of_the_state(host: Host) -> None:
    os.chown(place(host, "var/lib/nixferry"), FERRY, -1)


def acl_above_the_state(host: Host) -> None:
    let_write(place(host, "var/lib"))


def owner_of_nix(host: Host) -> None:
    """A single-user installation."""
    os.chown(place(host, "nix"), FERRY, -1)


def owner_of_the_store(host: Host) -> None:
    os.chown(place(host, "nix/store"), FERRY, -1)


def store_for_every_user(host: Host) -> None:
    place(host, "nix/store").chmod(0o1777)


def owner_of_the_database(host: Host) -> None:
    os.chown(place(host, "nix/var/nix/db"), FERRY, -1)


WAYS = (
    link_into_a_home,
    link_to_a_link,
    link_in_a_shared_directory,
    group_of_the_program,
    acl_of_the_program,
    owner_of_the_profiles,
    group_of_the_profiles,
    directory_named_like_the_store,
    acl_of_the_profiles,
    owner_of_the_state,
    acl_above_the_state,
    owner_of_nix,
    owner_of_the_store,
    store_for_every_user,
    owner_of_the_database,
)


def installed(host: Host, text: str) -> Completed:
    """Put the program ``text`` where the rule allows it."""
    script = install_script(
        wanted="present",
        dry_run=False,
        path=str(host.directory / "usr/local/sbin/guard"),
        program=text.rstrip("\n"),
        profile=str(host.profile),
        rule_file="",
        rule="",
        users=(),
    )
    return host.run(script)


def ready(host: Host) -> Guarded:
    """A safe host, with the store of a multi-user installation."""
    guarded = install(host)
    os.chown(host.directory / "nix/store", 0, FERRY)
    (host.directory / "nix/store").chmod(0o1775)
    return guarded


@pytest.mark.parametrize("way", WAYS)
def test_no_way_to_become_root_is_installed(host: Host, way: Callable[[Host], None]) -> None:
    text = ready(host).program.read_text()
    way(host)
    with pytest.raises(NixferryError, match=REASONS) as error:
        parse_installation(installed(host, text))
    assert "Nothing was changed" in error.value.remedy
    assert not (host.directory / "usr/local/sbin/guard").exists()


@pytest.mark.parametrize("way", WAYS)
def test_no_way_to_become_root_is_run(host: Host, way: Callable[[Host], None]) -> None:
    """What was safe when the guard was installed may have been opened since."""
    guarded = ready(host)
    new = guarded.toplevel("new")
    way(host)
    moved = place(host, "usr/local/sbin") / "guard"
    guarded.program.rename(moved)
    guarded.program = moved
    with pytest.raises(NixferryError, match=REASONS):
        guarded.start(new)
    assert unchanged(guarded)


def test_a_safe_host_is_not_refused(host: Host) -> None:
    guarded = ready(host)
    assert parse_installation(installed(host, guarded.program.read_text())).changed
    guarded.program = host.directory / "usr/local/sbin/guard"
    started = guarded.start(guarded.toplevel("new"))
    assert guarded.client.abort(started.activation_id, seconds=100).phase == "rolled-back"


def test_a_program_may_lie_in_the_store(host: Host) -> None:
    """NixOS makes it so, and so is the directory of programs of a multi-user installation."""
    guarded = ready(host)
    made = place(host, f"nix/store/{'1' * 32}-etc") / "guard"
    guarded.program.rename(made)
    link = place(host, "etc/nixferry") / "guard"
    link.symlink_to(f"../../nix/store/{'1' * 32}-etc/guard")
    guarded.program = link
    tool = place(host, f"nix/store/{'2' * 32}-nix/bin") / "honest"
    tool.write_text('#!/bin/sh\necho ran >"$HOST/honest"\n')
    tool.chmod(0o755)
    (place(host, "nix/var/nix/profiles") / "default").symlink_to(tool.parent.parent)
    new = guarded.toplevel("new")
    activate = Path(new) / "bin/switch-to-configuration"
    activate.write_text(activate.read_text().replace("case $1 in", "honest\ncase $1 in"))
    started = guarded.start(new)
    guarded.client.status(started.activation_id, wait_while=("prepared", "activating"), seconds=100)
    assert (host.directory / "honest").exists()
    assert guarded.client.abort(started.activation_id, seconds=100).phase == "rolled-back"


@pytest.mark.parametrize("broken", ["find", "readlink", "id"])
def test_what_cannot_be_examined_is_refused(host: Host, broken: str) -> None:
    """Some limits of the caller, or a bare system, stop one program of the check only."""
    if host.shell == "busybox":
        pytest.skip("its sh has these programs inside")
    guarded = ready(host)
    new = guarded.toplevel("new")
    real = place(host, "real")
    guarded.program.rename(real / "guard")
    (host.directory / "linked").symlink_to(real)
    guarded.program = host.directory / "linked/guard"
    host.program(broken, "#!/bin/sh\nexit 137\n")
    with pytest.raises(NixferryError):
        guarded.start(new)
    assert unchanged(guarded)


def test_a_directory_of_programs_that_a_user_owns_is_not_in_the_path(host: Host) -> None:
    """The deploy user puts a program that root may call into /usr/local/bin."""
    guarded = ready(host)
    for directory, name, owner in (("bin", "planted", FERRY), ("sbin", "honest", 0)):
        program = place(host, f"usr/local/{directory}") / name
        program.write_text(f'#!/bin/sh\necho ran >"$HOST/{name}"\n')
        program.chmod(0o755)
        os.chown(program.parent, owner, -1)
    new = guarded.toplevel("new")
    activate = Path(new) / "bin/switch-to-configuration"
    activate.write_text(activate.read_text().replace("case $1 in", "planted\nhonest\ncase $1 in"))
    started = guarded.start(new)
    guarded.client.status(started.activation_id, wait_while=("prepared", "activating"), seconds=100)
    assert (host.directory / "honest").exists()
    assert not (host.directory / "planted").exists()
    assert guarded.client.abort(started.activation_id, seconds=100).phase == "rolled-back"


def test_what_is_made_is_not_opened_by_a_default_acl(host: Host) -> None:
    """A user could open the program for writing, or put a record into the state, before root sets the mode."""
    guarded = ready(host)
    text = guarded.program.read_text()
    let_write(place(host, "usr/local/sbin"), "default")
    let_write(place(host, "var/lib"), "default")
    with pytest.raises(NixferryError, match="/usr/local/sbin lets other users write to what is made there"):
        parse_installation(installed(host, text))
    assert list((host.directory / "usr/local/sbin").iterdir()) == []
    with pytest.raises(NixferryError, match="/var/lib lets other users write to what is made there"):
        guarded.start(guarded.toplevel("new"))
    assert not host.state.exists()


def test_the_state_of_an_ordinary_user_is_theirs_alone(host: Host) -> None:
    """Such a user has a group of their own, which may write, and perhaps a home below /tmp."""
    home = place(host, "tmp/home")
    state = place(host, "tmp/home/.local/state")
    for path in (home, home / ".local", state):
        os.chown(path, FERRY, FERRY)
        path.chmod(0o775)
    closed = place(host, "closed")
    closed.chmod(0o700)
    host.directory.chmod(0o755)
    home.parent.chmod(0o1777)

    def unsafe() -> str:
        script = f'{target_text("lib/own.sh")}\nROOT=$1 USER_ID=$(id -u)\nwalk "$2"\nprintf %s "$UNSAFE"\n'
        as_ferry = ["setpriv", f"--reuid={FERRY}", f"--regid={FERRY}", "--clear-groups"]
        done = subprocess.run(
            [
                *as_ferry,
                host.programs / "guard-shell",
                "-c",
                script,
                "sh",
                host.directory,
                state / "nixferry",
            ],
            env={"PATH": os.environ["PATH"]},
            # After `sudo -u` it may be the home of another user.
            cwd=closed,
            capture_output=True,
            check=True,
            text=True,
        )
        return done.stdout

    assert unsafe() == ""
    os.chown(home, FERRY, FERRY + 1)
    assert unsafe() == "a group or an access control list lets others write to /tmp/home"
    os.chown(home, FERRY + 1, FERRY)
    assert unsafe() == "/tmp/home belongs to another user"
    os.chown(home, FERRY, FERRY)
    let_write(home)
    if host.shell != "busybox":  # its ls does not show ACLs
        assert "list lets others write" in unsafe()
    os.removexattr(home, "system.posix_acl_access")
    state.chmod(0o1777)
    assert unsafe() == "every user can write to /tmp/home/.local/state"
