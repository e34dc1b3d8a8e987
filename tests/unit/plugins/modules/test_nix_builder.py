# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registering builders: files of one directory, changed by the module as Ansible runs it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from module_runs import Run, ran, start

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDbnVCLVTWWnH0zhWQvKs9G9rlYTGdoQw3oXKsoaeLfi"
MODULE = "nix_builder"
FOREIGN = "# The office; do not touch.\nssh://office x86_64-linux /root/key 8\n@/etc/nix/more"


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    return {
        "name": "big",
        "systems": ["x86_64-linux", "aarch64-linux"],
        "host_public_key": f"{HOST_KEY} root@builder",
        "machines_file": str(tmp_path / "nix/machines"),
        "ssh_config_dir": str(tmp_path / "ssh"),
    }


def files(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()
    }


def test_a_builder_is_announced_and_a_second_run_changes_nothing(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    first = ran(MODULE, {**options, "port": 3022, "max_jobs": 4, "ssh_options": {"ProxyJump": "gate"}})

    assert first["changed"]
    assert first["uri"] == "ssh-ng://big"
    assert first["registered"]
    assert sorted(files(tmp_path)) == ["nix/big_known_hosts", "nix/machines", "ssh/100-big.conf"]
    assert files(tmp_path)["nix/machines"] == first["line"] + "\n"
    assert files(tmp_path)["nix/big_known_hosts"] == f"big {HOST_KEY}\n"
    assert (tmp_path / "nix/machines").stat().st_mode & 0o777 == 0o644
    parsed = subprocess.run(
        ["ssh", "-F", str(tmp_path / "ssh/100-big.conf"), "-G", "big"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for setting in ("hostname 127.0.0.1", "port 3022", "user builder", "hostkeyalias big", "proxyjump gate"):
        assert setting in parsed
    assert "stricthostkeychecking true" in parsed
    second = ran(MODULE, {**options, "port": 3022, "max_jobs": 4, "ssh_options": {"ProxyJump": "gate"}})
    assert not second["changed"]


def test_what_others_wrote_stays(tmp_path: Path, options: dict[str, Any]) -> None:
    machines = tmp_path / "nix/machines"
    machines.parent.mkdir()
    machines.write_bytes(FOREIGN.encode() + b" # caf\xe9\r\n")
    machines.chmod(0o640)

    added = ran(MODULE, options)
    assert machines.read_bytes() == FOREIGN.encode() + b" # caf\xe9\r\n" + added["line"].encode() + b"\n"
    assert machines.stat().st_mode & 0o777 == 0o640
    removed = ran(MODULE, {**options, "state": "absent"})

    assert removed["changed"]
    assert machines.read_bytes() == FOREIGN.encode() + b" # caf\xe9\r\n"
    assert sorted(files(tmp_path / "ssh")) == []
    assert not ran(MODULE, {**options, "state": "absent"})["changed"]


def test_removing_the_only_builder_leaves_no_file(tmp_path: Path, options: dict[str, Any]) -> None:
    ran(MODULE, options)
    ran(MODULE, {"name": "big", "state": "absent", **{key: options[key] for key in options if "_" in key}})
    assert files(tmp_path) == {}


def test_check_mode_tells_and_changes_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    predicted = ran(MODULE, options, check=True, diff=True)
    assert predicted["changed"]
    assert files(tmp_path) == {}
    done = ran(MODULE, options, diff=True)
    assert done["diff"] == predicted["diff"]
    assert done["changed_files"] == predicted["changed_files"]
    assert [part["after_header"] for part in done["diff"]] == done["changed_files"]
    assert done["diff"][-1]["after"] == done["line"] + "\n"


def test_a_new_host_key_replaces_the_old_one_everywhere(tmp_path: Path, options: dict[str, Any]) -> None:
    ran(MODULE, options)
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJzXJ5ZUcGJ5Kk5EcXqQ4ZbUQbUjBb0t2R3mW0o0v8pQ"
    rotated = ran(MODULE, {**options, "host_public_key": other})
    assert rotated["changed_files"] == [
        str(tmp_path / "nix/big_known_hosts"),
        str(tmp_path / "nix/machines"),
    ]
    assert other in files(tmp_path)["nix/big_known_hosts"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "localhost"}, "wait for its own lock"),
        ({"name": "a b"}, "characters other than"),
        ({"max_jobs": 0}, "builds wait forever"),
        ({"speed_factor": 0}, "more than 0"),
        ({"systems": []}, "systems is empty"),
        ({"systems": ["x86_64-linux,aarch64-linux"]}, "systems: 'x86_64-linux,aarch64-linux'"),
        ({"ssh_key_file": "/etc/my keys/a"}, "ssh_key_file"),
        ({"host_public_key": HOST_KEY.split()[1]}, "TYPE KEY"),
        ({"host_public_key": HOST_KEY.replace("ed25519", "rsa", 1)}, "not one of the type"),
        ({"host_public_key": "ssh-ed25519 ???"}, "not base64"),
        ({"ssh_options": {"StrictHostKeyChecking": False}}, "may not have StrictHostKeyChecking"),
        ({"ssh_options": {"ProxyCommand": "a\nHost *"}}, "more than one line"),
    ],
)
def test_what_nix_or_ssh_would_misunderstand_is_refused(
    tmp_path: Path, options: dict[str, Any], changed: dict[str, Any], message: str
) -> None:
    failed = ran(MODULE, {**options, **changed})
    assert failed["failed"]
    assert message in failed["msg"]
    assert failed["remedy"]
    assert files(tmp_path) == {}


def test_toml_is_left_alone(tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "nix").mkdir()
    (tmp_path / "nix/machines").write_text("version = 1\n[machines.office]\n")
    failed = ran(MODULE, options)
    assert "TOML" in failed["msg"]
    assert files(tmp_path) == {"nix/machines": "version = 1\n[machines.office]\n"}


def test_lines_that_fail_builds_are_warned_of(tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "nix").mkdir()
    (tmp_path / "nix/machines").write_text("ssh://office - - 0\n")
    assert any("has no job slots" in text for text in ran(MODULE, options)["warnings"])


@pytest.mark.parametrize("which", ["nix.conf", "machines"])
def test_a_system_that_makes_these_files_gets_a_module_to_import(
    tmp_path: Path, options: dict[str, Any], which: str
) -> None:
    (tmp_path / "nix").mkdir()
    (tmp_path / "nix" / which).symlink_to(f"/nix/store/{'a' * 32}-etc/{which}")
    snippet = tmp_path / "builder.nix"

    result = ran(MODULE, {**options, "snippet_file": str(snippet)})

    assert result["managed_by"] == "nixos"
    assert result["changed_files"] == [str(snippet)]
    assert snippet.read_text() == result["snippet"]
    assert 'hostName = "big"' in result["snippet"]
    assert "HostKeyAlias big" in result["snippet"]
    assert not result["registered"]
    assert any("Nothing was registered" in text for text in result["warnings"])
    assert (tmp_path / "nix" / which).is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["builder.nix", "nix"]
    assert not ran(MODULE, {**options, "snippet_file": str(snippet)})["changed"]
    gone = ran(MODULE, {**options, "snippet_file": str(snippet), "state": "absent"})
    assert gone["changed"]
    assert not snippet.exists()


def test_files_can_be_insisted_on_only_where_they_are_ours(tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "nix").mkdir()
    (tmp_path / "nix/machines").symlink_to(f"/nix/store/{'a' * 32}-etc/machines")
    failed = ran(MODULE, {**options, "manage": "files"})
    assert "made by the configuration" in failed["msg"]


def test_several_runs_at_once_lose_no_entry(tmp_path: Path, options: dict[str, Any]) -> None:
    names = [f"b{number}" for number in range(6)]
    runs: list[Run] = [start(MODULE, {**options, "name": name}) for name in names]
    assert all(run.result()["changed"] for run in runs)
    lines = (tmp_path / "nix/machines").read_text().splitlines()
    assert sorted(line.split()[0] for line in lines) == [f"ssh-ng://{name}" for name in names]


def test_a_run_waits_for_the_one_that_has_the_lock(tmp_path: Path, options: dict[str, Any]) -> None:
    machines = tmp_path / "nix/machines"
    machines.parent.mkdir()
    machines.write_text("ssh://before\n")
    descriptor = os.open(machines.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    run = start(MODULE, options)
    # Whatever the run has read by now, it has to read again once it may write.
    timer = threading.Timer(1, lambda: (machines.write_text("ssh://after\n"), os.close(descriptor)))
    timer.start()
    result = run.result()
    timer.join()
    assert machines.read_text() == f"ssh://after\n{result['line']}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_module_in_the_directory_of_a_user_belongs_to_that_user(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 4711, 4712)
    given = {**options, "manage": "snippet", "snippet_file": str(home / "big.nix")}
    assert ran(MODULE, given)["changed"]
    status = (home / "big.nix").stat()
    assert (status.st_uid, status.st_gid) == (4711, 4712)
    assert not ran(MODULE, given)["changed"]


def test_what_was_imported_is_not_written_again(tmp_path: Path, options: dict[str, Any]) -> None:
    """The file has gone to where the configuration is, and the machines file has what it says."""
    given = {**options, "manage": "snippet", "snippet_file": str(tmp_path / "big.nix")}
    line = ran(MODULE, given)["line"]
    (tmp_path / "nix").mkdir(exist_ok=True)
    (tmp_path / "nix/machines").write_text(line + "\n")
    (tmp_path / "big.nix").unlink()

    result = ran(MODULE, given)
    assert (result["changed"], result["registered"], result["snippet_file"]) == (False, True, "")
    assert ran(MODULE, {**given, "max_jobs": 7})["changed_files"] == [str(tmp_path / "big.nix")]
    assert not ran(MODULE, {**given, "state": "absent", "snippet_file": str(tmp_path / "no.nix")})["changed"]
