# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an installed Nix says of itself, and builders that are asked: all from recorded or made-up texts."""

from __future__ import annotations

import platform
import struct
import subprocess
import time
from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.module_utils._builders import probe as _builder_probe
from ansible_collections.nixferry.deploy.plugins.module_utils._builders import verify as _builder_verify
from ansible_collections.nixferry.deploy.plugins.module_utils._builders.machines import Machine, parse
from ansible_collections.nixferry.deploy.plugins.module_utils._builders.verify import judged_build
from ansible_collections.nixferry.deploy.plugins.module_utils._nix import daemon as _nix_daemon
from ansible_collections.nixferry.deploy.plugins.module_utils._nix import here as _nix_here
from ansible_collections.nixferry.deploy.plugins.module_utils._nix.here import Completed

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDbnVCLVTWWnH0zhWQvKs9G9rlYTGdoQw3oXKsoaeLfi"


@pytest.mark.parametrize(
    ("text", "flavour", "version"),
    [
        ("nix (Nix) 2.8.0", "nix", (2, 8, 0)),
        ("nix (Nix) 2.34.0pre20260101_abcdef", "nix", (2, 34, 0)),
        ("nix (Lix, like Nix) 2.93.3", "lix", (2, 93, 3)),
        ("nix (Determinate Nix 3.8.2) 2.30.2", "determinate", (2, 30, 2)),
    ],
)
def test_the_flavours_of_nix(text: str, flavour: str, version: tuple[int, ...]) -> None:
    nix = _nix_here.described("/bin/nix", text)
    assert (nix.flavour, nix.version) == (flavour, version)


def test_settings_as_nix_prints_them() -> None:
    text = "allowed-users = *\nnix-path = a=/b c = d\nsubstituters = \nbuild-hook =\n"
    assert _nix_here.parse_settings(text) == {
        "allowed-users": "*",
        "nix-path": "a=/b c = d",
        "substituters": "",
        "build-hook": "",
    }


def test_a_command_ends_with_its_time_and_takes_its_children_along() -> None:
    done = _nix_here.run(["sh", "-c", "echo begun; sleep 100 & wait"], timeout=1)
    assert (done.status, done.stdout) == (None, "begun\n")


def test_a_command_that_has_ended_is_not_late_because_of_what_it_left_behind() -> None:
    began = time.monotonic()
    done = _nix_here.run(["sh", "-c", "sleep 9 & echo done; echo oh >&2; exit 3"], timeout=10)
    assert done == (3, "done\n", "oh\n")
    done = _nix_here.run(["sh", "-c", "echo begun; setsid sleep 9 & exec sleep 9"], timeout=1)
    assert done == (None, "begun\n", "")
    assert time.monotonic() - began < 7


def test_a_missing_program_is_no_exception() -> None:
    assert _nix_here.run(["/nowhere/nix"]).status == 127


def test_who_makes_nix_conf(tmp_path: Path) -> None:
    assert _nix_here.manager(str(tmp_path)) == "files"
    (tmp_path / "nix.conf").symlink_to("/etc/static/nix/nix.conf")
    assert _nix_here.manager(str(tmp_path), "Darwin") == "nix-darwin"
    (tmp_path / "nix.conf").unlink()
    (tmp_path / "nix.conf").symlink_to(f"/nix/store/{'a' * 32}-nix.conf")
    assert _nix_here.manager(str(tmp_path), "Linux") == "nixos"


@pytest.mark.parametrize(
    ("text", "version", "trusted"),
    [
        ("Store URL: ssh-ng://big\nVersion: 2.8.0\n", "2.8.0", None),
        ("Store URL: daemon\nVersion: 2.18.1\nTrusted: 1\n", "2.18.1", True),
        ('{"trusted":1,"url":"ssh-ng://big","version":"2.26.3"}\n', "2.26.3", True),
        ('{"trusted":false,"url":"ssh-ng://big","version":"2.34.8"}\n', "2.34.8", False),
        ('{"url":"ssh://big"}\n', None, None),
    ],
)
def test_what_a_store_says_of_itself(text: str, version: str | None, trusted: bool | None) -> None:
    assert _builder_probe.parsed_store(text) == (version, trusted)


def test_ssh_is_called_as_nix_calls_it() -> None:
    line = "ssh-ng://root@big:2222 x86_64-linux /etc/nix/key"
    arguments = _builder_probe.ssh_arguments(parse(line), "/tmp/known", 7)
    assert arguments[-1] == "big"
    for pair in (["-i", "/etc/nix/key"], ["-l", "root"], ["-p", "2222"]):
        position = arguments.index(pair[0])
        assert arguments[position : position + 2] == pair
    assert "-oBatchMode=yes" in arguments
    assert "-oUserKnownHostsFile=/tmp/known" in arguments


def test_a_store_address_carries_key_and_host_key() -> None:
    machine = Machine("ssh-ng://big?compress=true", ssh_key="/etc/nix/key", host_key=KEY)
    uri = _builder_probe.store_uri(machine)
    assert uri.startswith("ssh-ng://big?compress=true&ssh-key=/etc/nix/key&base64-ssh-public-host-key=c3No")
    assert _builder_probe.store_uri(Machine("big")) == "ssh://big"


@pytest.mark.parametrize(
    ("done", "code"),
    [
        (Completed(0, "", ""), None),
        # A forced command that takes no other one.
        (Completed(126, "", ""), None),
        (Completed(255, "", "builder@big: Permission denied (publickey)."), "key_refused"),
        (Completed(1, "This account is currently not available.\n", ""), "no_shell"),
        (Completed(0, "welcome\n", ""), "chatty_shell"),
        (Completed(None, "", ""), "timeout"),
        (Completed(255, "", "mystery"), "unknown"),
    ],
)
def test_a_login_is_judged(done: Completed, code: str | None) -> None:
    failure = _builder_probe.judged_login(done)
    assert (failure.code if failure else None) == code


def test_a_build_elsewhere_is_no_success(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.write_text("nonce=1\n")
    machine = Machine("ssh-ng://big")
    here = Completed(0, f"{output}\n", "building '/nix/store/x.drv'...\n")
    there = Completed(0, f"{output}\n", "building '/nix/store/x.drv' on 'ssh-ng://big'...\n")

    failure = judged_build(here, machine, 60).failure
    assert failure is not None
    assert failure.code == "not_offloaded"
    assert judged_build(there, machine, 60).text == "nonce=1\n"
    assert judged_build(here, None, 60).failure is None
    late = judged_build(Completed(None, "", "copying 1 paths\n"), machine, 60).failure
    assert late is not None
    assert late.code == "build_timeout"


@pytest.mark.parametrize(("system", "processor"), [("x86_64-linux", 62), ("aarch64-linux", 183)])
def test_the_probe_is_a_program_of_one_segment(system: str, processor: int) -> None:
    program = _builder_verify.elf_probe(system)
    assert program[:5] == b"\x7fELF\x02"
    kind, machine, _version, entry = struct.unpack_from("<HHIQ", program, 16)
    assert (kind, machine, entry) == (2, processor, 0x400000 + 120)
    size = struct.unpack_from("<Q", program, 64 + 32)[0]
    assert size == len(program)
    assert program.endswith(f"ran-{system}\n".encode())


@pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="the program is one for Linux on x86_64",
)
def test_the_probe_runs(tmp_path: Path) -> None:
    program = tmp_path / "probe"
    program.write_bytes(_builder_verify.elf_probe("x86_64-linux"))
    program.chmod(0o755)
    assert subprocess.run([str(program)], capture_output=True, check=True).stdout == b"ran-x86_64-linux\n"


def test_when_the_daemon_was_started() -> None:
    listed = """\
    02:00 /usr/bin/nix-daemon --daemon
    00:30 nix-daemon 4711
    00:10 nix-daemon --stdio
 1-03:00:00 /usr/sbin/sshd
"""
    assert _nix_daemon.started_at(listed, 1000.0) == 880.0
    assert _nix_daemon.started_at(" 1-01:00:01 nix-daemon\n", 100000.0) == 100000.0 - 90001
    assert _nix_daemon.started_at("00:01 bash\n", 1000.0) is None
