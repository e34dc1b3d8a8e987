# Copyright: (c) 2026, nixferry contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Private to this collection: it can change at any time, without notice.
"""Test a builder with builds that need neither nixpkgs nor network and take less than a second.

There are three derivations with /bin/sh as builder. The first reports whether it ran in a sandbox. The second needs an
unsigned output of this machine: without it a builder that does not trust us would pass. The third runs a program for
the system's own processor, since a shell of another processor would run unnoticed.
"""

from __future__ import annotations

import re
import struct
import tempfile
from pathlib import Path
from typing import NamedTuple

from ansible_collections.nixferry.deploy.plugins.module_utils._nix.here import (
    Completed,
    Nix,
    run,
    search_path,
)

from .failures import (
    Failure,
    explained,
)
from .machines import Machine

SANDBOX_HOST = "localhost"  # the host name that Linux sandboxes of Nix have

_REPORT = """\
read -r v </proc/version || v=unknown
read -r h </proc/sys/kernel/hostname || h=unknown
a=unknown; if [ -r /proc/sys/kernel/arch ]; then read -r a </proc/sys/kernel/arch; fi
printf '%s\\n' "system=$system" "nonce=$nonce" "arch=$a" "host=$h" "kernel=$v" >"$out"
"""
# The input is an output that only this machine has, so the builder cannot have it already.
EXPRESSION = """\
{ kind, system, nonce, report, input ? "", probe ? "" }:
let
  check = script: more: derivation ({
    name = "builder-check-" + kind;
    inherit system nonce;
    builder = "/bin/sh";
    args = [ "-c" script ];
    allowSubstitutes = false;
    preferLocalBuild = false;
  } // more);
in
  if kind == "smoke" then check report { }
  else if kind == "input" then check ''printf '%s\\n' "$nonce" >"$out"'' { }
  else if kind == "trust" then check ''read -r line <"$input" && printf '%s\\n' "$line" >"$out"'' {
    input = builtins.storePath input;
  }
  else check ''"$probe" >"$out"'' { probe = /. + probe; }
"""


class Built(NamedTuple):
    """The result of a verification build: the text of its output, or the failure."""

    text: str = ""
    path: str = ""
    failure: Failure | None = None


def build(
    nix: Nix,
    machine: Machine | None,
    kind: str,
    system: str,
    nonce: str,
    timeout: int,
    *,
    remote: str | None = None,
    **arguments: str,
) -> Built:
    """Build one derivation on ``machine`` and nowhere else, or on this machine without one.

    ``--builders`` replaces the machines file for this run, and ``--max-jobs 0`` keeps Nix from building here
    instead. The system is one of the derivation: ``--system`` would make Nix believe that this machine has it.
    """
    given = {"kind": kind, "system": system, "nonce": nonce, "report": _REPORT, **arguments}
    words = [word for name, value in given.items() for word in ("--argstr", name, value)]
    command = [
        nix.beside("nix-build"),
        "--no-out-link",
        *("--builders", machine.line() if machine else ""),
        *("--max-jobs", "0" if machine else "1"),
        *("--option", "substitute", "false"),
        *("--expr", EXPRESSION),
        *words,
    ]
    # Use the daemon like all other users, if there is one, even as root.
    done = run(command, timeout=timeout, environment={"NIX_REMOTE": remote, "PATH": search_path()})
    return judged_build(done, machine, timeout)


def judged_build(done: Completed, machine: Machine | None, timeout: int) -> Built:
    if done.status is None:
        failure = explained(done.stderr, "build")
        if failure.code == "unknown":
            failure = Failure(
                "build_timeout",
                "build",
                f"The build did not end within {timeout} seconds",
                "See whether the builder is busy, and raise `timeout`.",
                failure.evidence,
            )
        return Built(failure=failure)
    if done.status != 0:
        return Built(failure=explained(done.stderr, "build"))
    if machine and not re.search(r"building '[^']*' on '[^']*'", done.stderr):
        elsewhere = Failure(
            "not_offloaded",
            "match",
            "The build succeeded, but not on the builder",
            "See `builders` and `max-jobs` in nix.conf.",
            done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "",
        )
        return Built(failure=elsewhere)
    output = Path(done.stdout.strip().splitlines()[-1])
    return Built(text=output.read_text(encoding="utf-8", errors="replace"), path=str(output))


def report_of(text: str) -> dict[str, str]:
    """Parse the lines NAME=VALUE of the first derivation's output."""
    return {name: value for name, mark, value in (line.partition("=") for line in text.splitlines()) if mark}


def emulation(nix: Nix, machine: Machine, system: str, nonce: str, timeout: int, remote: str | None) -> Built:
    """Run a program for the system's processor on the builder."""
    with tempfile.TemporaryDirectory(prefix="nixferry-") as directory:
        probe = Path(directory).resolve() / f"probe-{system}"
        probe.write_bytes(elf_probe(system))
        probe.chmod(0o755)
        # The daemon, possibly another user than this one, reads the file.
        Path(directory).chmod(0o755)
        return build(nix, machine, "emulation", system, nonce, timeout, remote=remote, probe=str(probe))


def probe_text(system: str) -> str:
    """Return the expected output of the program."""
    return f"ran-{system}\n"


def has_probe(system: str) -> bool:
    """Return True if there is such a program for this system."""
    return system in _CODE


def _x86_64(length: int) -> bytes:
    """write(1, text, length); exit(0)"""
    return (
        b"\xb8\x01\x00\x00\x00\xbf\x01\x00\x00\x00"
        b"\x48\x8d\x35"
        + struct.pack("<i", 16)
        + b"\xba"
        + struct.pack("<I", length)
        + b"\x0f\x05\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05"
    )


def _aarch64(length: int) -> bytes:
    """The same for aarch64: x8 has the number of the system call, x0 to x2 its arguments."""
    words = (
        0xD2800808,  # movz x8, #64
        0xD2800020,  # movz x0, #1
        0x10000000 | ((24 >> 2) << 5) | 1,  # adr x1, text
        0xD2800000 | (length << 5) | 2,  # movz x2, #length
        0xD4000001,  # svc #0
        0xD2800BA8,  # movz x8, #93
        0xD2800000,  # movz x0, #0
        0xD4000001,  # svc #0
    )
    return struct.pack("<8I", *words)


# The processor's number in ELF, and the code before the text.
_CODE = {"x86_64-linux": (62, _x86_64), "aarch64-linux": (183, _aarch64)}


def elf_probe(system: str) -> bytes:
    """Return a program of about 170 bytes that needs only the kernel: one segment with code and text."""
    processor, code = _CODE[system]
    text = probe_text(system).encode()
    body = code(len(text)) + text
    base, headers = 0x400000, 64 + 56
    size = headers + len(body)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, processor, 1, base + headers, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x10000)
    return header + segment + body
