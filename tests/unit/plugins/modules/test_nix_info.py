# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a Nix that is a program which says what another one said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from module_runs import ran

MODULE = "nix_info"
NIX = """#!/bin/sh
case "$*" in
    --version) echo '{version}' ;;
    *'{settings}'*) printf '%s\\n' 'system = aarch64-darwin' 'extra-platforms = x86_64-darwin' 'sandbox = false' \\
        'builders = @{machines}' 'max-jobs = 8' 'http2 = true' ;;
    *'store ping'* | *'store info'*) exit 1 ;;
    *) echo "error: '$*' is not a recognised command" >&2; exit 1 ;;
esac
"""


def with_nix(directory: Path, version: str, settings: str) -> str:
    """A PATH with such a Nix, whose settings are printed by the command that it has for that."""
    programs = directory / "bin"
    programs.mkdir()
    (programs / "nix").write_text(
        NIX.format(version=version, settings=settings, machines=directory / "machines")
    )
    (programs / "nix").chmod(0o755)
    return f"{programs}:/usr/bin:/bin"


@pytest.mark.parametrize(
    ("version", "settings", "flavour", "number"),
    [
        ("nix (Nix) 2.8.0", "show-config", "nix", "2.8.0"),
        ("nix (Nix) 2.34.8", "config show", "nix", "2.34.8"),
        ("nix (Lix, like Nix) 2.93.3", "show-config", "lix", "2.93.3"),
        # Whichever name the command has by then.
        ("nix (Lix, like Nix) 2.95.0", "config show", "lix", "2.95.0"),
        ("nix (Determinate Nix 3.8.2) 2.30.2", "config show", "determinate", "2.30.2"),
    ],
)
def test_a_nix_is_described(tmp_path: Path, version: str, settings: str, flavour: str, number: str) -> None:
    (tmp_path / "machines").write_text(
        "ssh-ng://big x86_64-linux,aarch64-linux - 4 1 kvm\n@/etc/other\nssh://bad - - auto\n"
    )
    options: dict[str, Any] = {
        "machines_file": str(tmp_path / "machines"),
        "config_dir": str(tmp_path),
        "settings": ["http2"],
    }
    result = ran(MODULE, options, path=with_nix(tmp_path, version, settings))

    assert (result["installed"], result["changed"]) == (True, False)
    assert (result["flavour"], result["version"]) == (flavour, number)
    assert result["systems"] == ["aarch64-darwin", "x86_64-darwin"]
    assert result["settings"]["http2"] == "true"
    assert result["builders_effective"]
    assert [(b["name"], b["systems"], b["max_jobs"]) for b in result["builders"]] == [
        ("big", ["x86_64-linux", "aarch64-linux"], 4)
    ]
    assert len(result["problems"]) == 1
    assert "max jobs" in result["problems"][0]


def test_a_nix_that_cannot_read_its_settings_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    path = with_nix(tmp_path, "nix (Nix) 2.26.3", "nothing at all")
    result = ran(MODULE, {"config_dir": str(tmp_path)}, path=path)
    assert result["installed"]
    assert "not a recognised command" in result["problems"][0]


def test_no_nix_is_no_error(tmp_path: Path) -> None:
    """A program of that name which does not run is none."""
    path = with_nix(tmp_path, "", "")
    (tmp_path / "bin/nix").write_text("#!/bin/sh\nexit 127\n")
    result = ran(MODULE, {}, path=path)
    assert (result["installed"], result["flavour"], result["builders"]) == (False, "", [])


def test_a_system_whose_nix_is_not_mounted_is_known_by_its_files(tmp_path: Path) -> None:
    """What /etc/static leads to is in /nix, which is a volume of its own on a Mac."""
    path = with_nix(tmp_path, "", "")
    (tmp_path / "bin/nix").write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / "nix.conf").symlink_to(f"/nix/store/{'0' * 32}-etc/etc/nix/nix.conf")
    result = ran(MODULE, {"config_dir": str(tmp_path)}, path=path)
    assert (result["installed"], result["managed_by"]) == (False, "nixos")
