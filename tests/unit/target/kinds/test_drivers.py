# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drivers of the kinds: what their programs do."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest
from guard_host import DRIVER_BEGINS, changed_program

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import (
    KINDS,
    kind_named,
    profile_kind,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import guard_program

PROGRAMS = ("activate", "commit", "roll_back", "restore_boot_default", "dry_activate", "deactivate")
RECORDER = '#!/bin/sh\necho "${0#"$BASE"/} $*" >>"$CALLS"\nexit "${FAIL:-0}"\n'


@dataclasses.dataclass(frozen=True)
class Ran:
    return_code: int
    calls: list[str]
    output: str = dataclasses.field(default="", compare=False)


@pytest.fixture
def systems(tmp_path: Path) -> dict[str, Path]:
    """Systems `new`, its specialisation `blue`, and `old`, whose programs record how they are called."""
    made = {}
    for name in ("new", "blue", "old"):
        path = tmp_path / name
        (path / "bin").mkdir(parents=True)
        for program in ("switch-to-configuration", "activate", "register-profile", "deactivate"):
            (path / "bin" / program).write_text(RECORDER)
            (path / "bin" / program).chmod(0o755)
        (path / "activate").write_text(RECORDER)
        (path / "activate").chmod(0o755)
        made[name] = path
    for parent in ("new", "old"):
        (made[parent] / "specialisation").mkdir()
        (made[parent] / "specialisation/blue").symlink_to(made["blue"])
    for directory in ("run", "nix/var/nix/gcroots", "home"):
        (tmp_path / directory).mkdir(parents=True)
    programs = tmp_path / "programs/bin"
    programs.mkdir(parents=True)
    (programs / "nix-env").write_text(RECORDER)
    (programs / "nix-env").chmod(0o755)
    return made


def run(
    systems: dict[str, Path],
    kind: str,
    program: str,
    *,
    system: str = "new",
    old_system: str = "old",
    fail: int = 0,
    command: str = "",
    before: str = "",
    **more: str,
) -> Ran:
    """Run a program of a driver as the guard does; ``before`` is shell code of its process."""
    base = systems["new"].parent
    calls = base / "calls"
    calls.unlink(missing_ok=True)
    record = base / "activations/1"
    (record / "request").mkdir(parents=True, exist_ok=True)
    (record / "request/activate_command").write_text(command)
    (record / "guard.sh").write_text(changed_program(before, DRIVER_BEGINS).text)
    environment = {
        "PATH": f"{base}/programs/bin:{os.environ['PATH']}",
        "LC_ALL": "C",
        "BASE": str(base),
        "CALLS": str(calls),
        "FAIL": str(fail),
        "TOPLEVEL": str(systems["new"]),
        "SYSTEM": str(systems[system]),
        "OLD_TOPLEVEL": str(systems["old"]),
        "OLD_SYSTEM": str(systems[old_system]),
        "PROFILE": str(base / "profiles/p"),
        "HOME": str(base / "home"),
        "NIXFERRY_ROOT": str(base),
        **more,
    }
    argv = ["/bin/sh", str(record / "guard.sh"), "driver", f"{kind.replace('-', '_')}_{program}"]
    done = subprocess.run(argv, env=environment, check=False, capture_output=True, text=True)
    lines = calls.read_text().replace(f"{base}/", "") if calls.exists() else ""
    return Ran(done.returncode, [line.rstrip() for line in lines.splitlines()], done.stdout)


def has(kind: str, program: str) -> bool:
    return f"\n{kind.replace('-', '_')}_{program}()" in guard_program().text


SET = "programs/bin/nix-env -p profiles/p --set new"


@pytest.mark.parametrize(
    ("kind", "program", "calls"),
    [
        ("nixos", "activate", ["new/bin/switch-to-configuration test"]),
        ("nixos", "commit", [SET, "new/bin/switch-to-configuration boot"]),
        ("nixos", "roll_back", ["old/bin/switch-to-configuration test"]),
        ("nixos", "restore_boot_default", ["old/bin/switch-to-configuration boot"]),
        ("nixos", "dry_activate", ["new/bin/switch-to-configuration dry-activate"]),
        ("darwin", "activate", ["new/activate"]),
        ("darwin", "commit", [SET]),
        ("darwin", "roll_back", ["old/activate"]),
        ("home-manager", "activate", ["new/activate --driver-version 1"]),
        ("home-manager", "commit", [SET]),
        ("home-manager", "roll_back", ["old/activate --driver-version 1"]),
        ("home-manager", "dry_activate", ["new/activate --driver-version 1"]),
        ("system-manager", "activate", ["new/bin/activate"]),
        ("system-manager", "commit", [SET, "new/bin/register-profile"]),
        ("system-manager", "roll_back", ["old/bin/activate"]),
        ("system-manager", "deactivate", ["new/bin/deactivate"]),
        ("system-manager", "restore_boot_default", []),
        ("profile", "activate", [SET]),
        ("profile", "commit", [SET]),
    ],
)
def test_driver_calls_the_right_programs(
    systems: dict[str, Path], kind: str, program: str, calls: list[str]
) -> None:
    ran = run(systems, kind, program)
    assert (ran.return_code, ran.calls) == (0, calls)


@pytest.mark.parametrize(
    ("kind", "calls"),
    [
        ("nixos", ["old/bin/switch-to-configuration test"]),
        ("darwin", ["old/activate"]),
        ("home-manager", ["old/activate --driver-version 1"]),
        ("system-manager", ["old/bin/activate"]),
    ],
)
def test_roll_back_runs_the_old_system_although_no_file_can_be_made(
    systems: dict[str, Path], kind: str, calls: list[str]
) -> None:
    """A full /tmp or /run must not keep the old system from running."""
    programs = systems["new"].parent / "programs/bin"
    for name in ("mktemp", "ln", "nix-store"):
        (programs / name).write_text("#!/bin/sh\nexit 28\n")
        (programs / name).chmod(0o755)
    roots = systems["new"].parent / "home/.local/state/home-manager/gcroots"
    roots.mkdir(parents=True)
    (roots / "current-home").symlink_to(systems["new"])
    assert run(systems, kind, "roll_back", TMPDIR="/nonexistent").calls == calls


# The one left out asks for a package first, which may not be there.
@pytest.mark.parametrize(
    ("kind", "program"),
    [
        (kind, program)
        for kind in KINDS
        for program in PROGRAMS
        if has(kind, program) and (kind, program) != ("home-manager", "deactivate")
    ],
)
def test_exit_code_of_the_first_program_that_fails_is_kept(
    systems: dict[str, Path], kind: str, program: str
) -> None:
    if run(systems, kind, program).calls:
        ran = run(systems, kind, program, fail=4)
        assert ran.return_code == 4
        assert len(ran.calls) == 1


def test_nixos_specialisation_is_made_the_default_after_its_parent(systems: dict[str, Path]) -> None:
    assert run(systems, "nixos", "commit", system="blue").calls == [
        SET,
        "new/bin/switch-to-configuration boot",
        "blue/bin/switch-to-configuration boot",
    ]
    assert run(systems, "nixos", "restore_boot_default", old_system="blue").calls == [
        "old/bin/switch-to-configuration boot",
        "old/specialisation/blue/bin/switch-to-configuration boot",
    ]


def test_profile_that_points_to_the_toplevel_already_is_not_set_again(systems: dict[str, Path]) -> None:
    profile = systems["new"].parent / "profiles/p"
    profile.parent.mkdir()
    profile.symlink_to(systems["new"])
    for kind in ("darwin", "home-manager", "profile"):
        assert run(systems, kind, "commit").calls == []


def test_darwin_system_of_before_2025_needs_the_user_who_called_sudo(
    systems: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    legacy = systems["new"] / "activate-user"
    legacy.write_text(RECORDER)
    legacy.chmod(0o755)
    assert run(systems, "darwin", "activate") == Ran(1, [])
    with_user = run(systems, "darwin", "activate", before='sudo() { shift 3; "$@"; }', SUDO_USER="ann")
    assert with_user.calls == ["new/activate-user", "new/activate"]
    legacy.write_text("#!/bin/sh\n# nix-darwin: deprecated\nexit 1\n")
    assert run(systems, "darwin", "activate").calls == ["new/activate"]


def test_darwin_roll_back_lets_the_old_system_see_what_the_new_one_may_have_started(
    systems: dict[str, Path],
) -> None:
    current = systems["new"].parent / "run/current-system"
    current.symlink_to(systems["old"])
    assert run(systems, "darwin", "roll_back").return_code == 0
    assert current.resolve() == systems["new"]


@pytest.mark.parametrize(
    ("version", "user", "own", "expected"),
    [
        ("2.26.3", "1000", False, "home/.local/state/nix/profiles/home-manager"),
        ("2.13.6", "1000", False, "nix/var/nix/profiles/per-user/ann/home-manager"),
        ("2.8.0", "1000", False, "nix/var/nix/profiles/per-user/ann/home-manager"),
        ("2.8.0", "1000", True, "home/.local/state/nix/profiles/home-manager"),
        ("2.26.3", "0", False, "nix/var/nix/profiles/per-user/ann/home-manager"),
    ],
)
def test_profile_of_home_manager_is_beside_the_users_other_profiles(
    systems: dict[str, Path], version: str, user: str, own: bool, expected: str
) -> None:
    base = systems["new"].parent
    if own:
        (base / "home/.local/state/nix/profiles").mkdir(parents=True)
    programs = {
        "nix-env": f'echo "nix-env (Nix) {version}"',
        "id": f"case $1 in -un) echo ann ;; -u) echo {user} ;; esac",
    }
    for name, text in programs.items():
        (base / "programs/bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (base / "programs/bin" / name).chmod(0o755)
    found = run(systems, "home-manager", "find_profile", NIX_STATE_DIR=f"{base}/nix/var/nix")
    assert found.output.strip() == f"{base}/{expected}"


def test_first_home_is_removed_with_all_that_leads_into_it(systems: dict[str, Path]) -> None:
    base = systems["new"].parent
    files, home = systems["new"] / "home-files", base / "home"
    # Whichever is the last that `find` names: a directory that is not empty stays, which is not a failure.
    for name in ("plain", ".config/deep/er", ".config/kept", "kept/gone"):
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_text(name)
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).symlink_to(files / name)
    (home / ".config/kept").unlink()
    (home / ".config/kept").write_text("mine")
    (home / "kept/mine").write_text("mine")
    (home / "plain.before").write_text("moved away")
    assert run(systems, "home-manager", "deactivate", HOME_MANAGER_BACKUP_EXT="before").return_code == 0
    left = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
    assert left == [".config", ".config/kept", "kept", "kept/mine", "plain"]
    assert (home / "plain").read_text() == "moved away"


def test_profile_command_runs_after_the_profile_is_set_and_sees_the_right_system(
    systems: dict[str, Path],
) -> None:
    command = 'echo "command $(basename "$TOPLEVEL") $(basename "$SYSTEM")" >>"$CALLS"'
    assert run(systems, "profile", "activate", command=command).calls == [SET, "command new new"]
    assert run(systems, "profile", "roll_back", command=command).calls == ["command old old"]
    assert run(systems, "profile", "activate", command=command, fail=1).return_code == 1
    assert run(systems, "profile", "activate", command="exit 7").return_code == 7
    assert profile_kind(" \n") is KINDS["profile"]


def test_no_driver_guesses_the_previous_generation() -> None:
    assert "--rollback" not in guard_program().text


def test_every_kind_with_a_boot_default_can_restore_it() -> None:
    for kind in KINDS.values():
        assert has(kind.name, "restore_boot_default") or not kind.has_boot_default
        assert has(kind.name, "activate")
        assert kind_named(kind.name) is kind


def test_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(NixferryError) as caught:
        kind_named("windows")
    assert all(name in caught.value.remedy for name in KINDS)
