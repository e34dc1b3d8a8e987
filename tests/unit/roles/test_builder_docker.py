# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How role builder_docker calls the engines' programs, and how its image tells what it lacks."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROLE = Path(__file__).parents[3] / "roles/builder_docker"
OFFER = "Inst nix-bin (2.26.3+dfsg-1 Debian:13.1/stable [amd64])"


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def rendered(name: str, given: Mapping[str, Any]) -> Any:
    """A variable of the role, with its defaults and what earlier tasks would have found."""
    loader = DataLoader()
    found = [
        loader.load_from_file(str(ROLE / part / "main.yml"), trusted_as_template=True)
        for part in ("defaults", "vars")
    ]
    variables = {**found[0], **found[1], **given}
    return Templar(loader=loader, variables=variables).template(variables[name])


@pytest.mark.parametrize(("engine", "sysctl"), [("docker", []), ("colima", []), ("podman", ["--sysctl"])])
def test_only_podman_has_to_be_told_who_may_listen_on_port_22(engine: str, sysctl: list[str]) -> None:
    options = rendered("_builder_docker_container_options", {"_builder_docker_engine": engine})
    assert [option for option in options if option == "--sysctl"] == sysctl
    assert ("net.ipv4.ip_unprivileged_port_start=0" in options) is bool(sysctl)
    assert "--cap-drop" in options
    # The filter of system calls is named by what runs the program.
    assert not [option for option in options if option.startswith("seccomp=")]


def test_the_engine_can_read_the_filter_from_a_file(tmp_path: Path) -> None:
    program(
        tmp_path / "engine",
        f"""
        for image; do :; done
        echo "$image" >{tmp_path}/image
        while [ "$1" != --security-opt ]; do echo "$1" >>{tmp_path}/before; shift; done
        file=${{2#seccomp=}}
        cp "$file" {tmp_path}/filter
        # A program that the engine starts for another machine has nothing of what is open here.
        case $file in /dev/* | /proc/*) exit 9 ;; esac
        dirname "$file" >{tmp_path}/directory
        exit 3
        """,
    )
    done = subprocess.run(
        [
            "/bin/sh",
            ROLE / "files/run-with-filter",
            "an/image:tag",
            tmp_path / "engine",
            "run",
            "--name",
            "a b",
        ],
        input='{"defaultAction": "SCMP_ACT_ERRNO"}',
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 3
    assert (tmp_path / "before").read_text() == "run\n--name\na b\n"
    assert (tmp_path / "image").read_text() == "an/image:tag\n"
    assert (tmp_path / "filter").read_text() == '{"defaultAction": "SCMP_ACT_ERRNO"}'
    assert not Path((tmp_path / "directory").read_text().strip()).exists()


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
