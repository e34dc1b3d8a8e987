# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds table: what its snippets do when a shell runs them."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._kinds import KINDS, kind_named, profile_kind

SNIPPETS = ("activate", "commit", "roll_back", "restore_boot_default", "dry_activate")
RECORDER = '#!/bin/sh\necho "${0#"$BASE"/} $*" >>"$CALLS"\nexit "${FAIL:-0}"\n'


@dataclasses.dataclass(frozen=True)
class Ran:
    return_code: int
    calls: list[str]


@pytest.fixture
def systems(tmp_path: Path) -> dict[str, Path]:
    """Systems `new`, its specialisation `blue`, and `old`, whose programs record how they are called."""
    made = {}
    for name in ("new", "blue", "old"):
        path = tmp_path / name
        (path / "bin").mkdir(parents=True)
        for program in ("switch-to-configuration", "activate", "register-profile"):
            (path / "bin" / program).write_text(RECORDER)
            (path / "bin" / program).chmod(0o755)
        (path / "activate").write_text(RECORDER)
        (path / "activate").chmod(0o755)
        made[name] = path
    for parent in ("new", "old"):
        (made[parent] / "specialisation").mkdir()
        (made[parent] / "specialisation/blue").symlink_to(made["blue"])
    programs = tmp_path / "programs/bin"
    programs.mkdir(parents=True)
    (programs / "nix-env").write_text(RECORDER)
    (programs / "nix-env").chmod(0o755)
    return made


def run(
    systems: dict[str, Path], snippet: str, *, system: str = "new", old_system: str = "old", fail: int = 0
) -> Ran:
    base = systems["new"].parent
    calls = base / "calls"
    calls.unlink(missing_ok=True)
    environment = {
        "PATH": f"{base}/programs/bin:{os.environ['PATH']}",
        "BASE": str(base),
        "CALLS": str(calls),
        "FAIL": str(fail),
        "TOPLEVEL": str(systems["new"]),
        "SYSTEM": str(systems[system]),
        "OLD_TOPLEVEL": str(systems["old"]),
        "OLD_SYSTEM": str(systems[old_system]),
        "PROFILE": str(base / "profiles/p"),
    }
    done = subprocess.run(["/bin/sh", "-c", snippet], env=environment, check=False)
    lines = calls.read_text().replace(f"{base}/", "") if calls.exists() else ""
    return Ran(done.returncode, [line.rstrip() for line in lines.splitlines()])


SET = "programs/bin/nix-env -p profiles/p --set new"


@pytest.mark.parametrize(
    ("kind", "snippet", "calls"),
    [
        ("nixos", "activate", ["new/bin/switch-to-configuration test"]),
        ("nixos", "commit", [SET, "new/bin/switch-to-configuration boot"]),
        ("nixos", "roll_back", ["old/bin/switch-to-configuration test"]),
        ("nixos", "restore_boot_default", ["old/bin/switch-to-configuration boot"]),
        ("nixos", "dry_activate", ["new/bin/switch-to-configuration dry-activate"]),
        ("darwin", "activate", [SET, "new/activate"]),
        ("darwin", "roll_back", ["old/activate"]),
        ("home-manager", "activate", ["new/activate"]),
        ("home-manager", "commit", [SET]),
        ("home-manager", "roll_back", ["old/activate"]),
        ("system-manager", "activate", ["new/bin/activate"]),
        ("system-manager", "commit", [SET, "new/bin/register-profile"]),
        ("system-manager", "roll_back", ["old/bin/activate"]),
        ("profile", "activate", [SET]),
    ],
)
def test_snippet_calls_the_right_programs(
    systems: dict[str, Path], kind: str, snippet: str, calls: list[str]
) -> None:
    ran = run(systems, getattr(KINDS[kind], snippet))
    assert (ran.return_code, ran.calls) == (0, calls)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("snippet", SNIPPETS)
def test_exit_code_of_the_first_program_that_fails_is_kept(
    systems: dict[str, Path], kind: str, snippet: str
) -> None:
    text = getattr(KINDS[kind], snippet)
    if text:
        ran = run(systems, text, fail=4)
        assert ran.return_code == 4
        assert len(ran.calls) == 1


def test_nixos_specialisation_is_made_the_default_after_its_parent(systems: dict[str, Path]) -> None:
    assert run(systems, KINDS["nixos"].commit, system="blue").calls == [
        SET,
        "new/bin/switch-to-configuration boot",
        "blue/bin/switch-to-configuration boot",
    ]
    assert run(systems, KINDS["nixos"].restore_boot_default, old_system="blue").calls == [
        "old/bin/switch-to-configuration boot",
        "old/specialisation/blue/bin/switch-to-configuration boot",
    ]


def test_profile_command_runs_after_the_profile_is_set_and_sees_the_right_system(
    systems: dict[str, Path],
) -> None:
    kind = profile_kind('  echo "command $(basename "$TOPLEVEL") $(basename "$SYSTEM")" >>"$CALLS"\n')
    assert run(systems, kind.activate).calls == [SET, "command new new"]
    assert run(systems, kind.roll_back).calls == ["command old old"]
    assert run(systems, kind.activate, fail=1).return_code == 1
    assert profile_kind(" \n") is KINDS["profile"]


def test_no_snippet_guesses_the_previous_generation() -> None:
    for kind in KINDS.values():
        for snippet in SNIPPETS:
            assert "--rollback" not in getattr(kind, snippet)


def test_only_kinds_with_a_boot_default_can_restore_it() -> None:
    for kind in KINDS.values():
        assert bool(kind.restore_boot_default) == kind.has_boot_default
        assert kind_named(kind.name) is kind


def test_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(NixferryError) as caught:
        kind_named("windows")
    assert all(name in caught.value.remedy for name in KINDS)
