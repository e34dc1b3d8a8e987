# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the image of role builder_docker tells what it lacks."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROLE = Path(__file__).parents[3] / "roles/builder_docker"
OFFER = "Inst nix-bin (2.26.3+dfsg-1 Debian:13.1/stable [amd64])"


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def missing(tmp_path: Path, *words: str, apt: str = "") -> subprocess.CompletedProcess[str]:
    """Run the image's script with an apt-get that notes how it was called."""
    program(tmp_path / "bin/apt-get", f'echo "$@" >>{tmp_path}/calls\n{apt}')
    for name in ("sed", "sort", "rm"):
        (tmp_path / "bin" / name).unlink(missing_ok=True)
        program(tmp_path / "bin" / name, f'exec /bin/{name} "$@"' if name != "rm" else "true")
    return subprocess.run(
        ["/bin/sh", ROLE / "files/image/install-missing", *words],
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_what_would_be_installed_is_told_and_not_installed(tmp_path: Path) -> None:
    answer = f'[ "$1" = update ] && echo Hit || printf "%s\\n" Reading... "{OFFER}" "Conf nix-bin"'
    told = missing(tmp_path, "--simulate", apt=answer)
    assert (told.returncode, told.stdout) == (0, f"{OFFER}\n")
    asked, installed = (tmp_path / "calls").read_text().splitlines()
    assert asked == "update"
    assert "--simulate" in installed.split()
    assert missing(tmp_path).returncode == 0
    assert "--simulate" not in (tmp_path / "calls").read_text().splitlines()[-1]


def test_an_answer_that_does_not_come_is_not_taken_for_no_news(tmp_path: Path) -> None:
    failed = missing(tmp_path, "--simulate", apt='[ "$1" = update ] || { echo unmet; exit 100; }')
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "unmet" in failed.stderr
