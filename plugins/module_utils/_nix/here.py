# Copyright: (c) 2026, nixferry contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Private to this collection: it can change at any time, without notice.
"""Find the Nix of the machine that a module runs on: its place, its version, its settings."""

from __future__ import annotations

import os
import platform
import re
import stat
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .edit import generated

# Places of Nix that are not in the PATH of shells that are not login shells.
DIRECTORIES = (
    "/nix/var/nix/profiles/default/bin",
    "/run/current-system/sw/bin",
    "/root/.nix-profile/bin",
    "/usr/local/bin",
    "/opt/homebrew/bin",
)
EXPERIMENTAL = ("--extra-experimental-features", "nix-command")
COMMAND_DEADLINE = 30  # seconds for a command that only reads
DRAIN_SECONDS = 0.5  # for output of a program that has ended but whose own children still hold its pipes
CONFIGURATION_DIRECTORY = "/etc/nix"
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


class Completed(NamedTuple):
    """A finished command; ``status`` is None if it timed out."""

    status: int | None
    stdout: str
    stderr: str


class Nix(NamedTuple):
    """An installed Nix."""

    program: str
    version_text: str
    # nix, lix or determinate
    flavour: str
    version: tuple[int, ...]

    @property
    def lix(self) -> bool:
        return self.flavour == "lix"

    def beside(self, name: str) -> str:
        """Return another program of the same Nix, such as ``nix-build``."""
        candidate = Path(self.program).with_name(name)
        return str(candidate) if candidate.exists() else name


def run(
    arguments: Sequence[str],
    timeout: float = COMMAND_DEADLINE,
    environment: Mapping[str, str | None] | None = None,
    directory: str | None = None,
) -> Completed:
    """Run a program without input and with English messages. A variable that is None in ``environment`` is unset.

    The timeout ends the whole process group: Nix starts ssh, which would outlive it otherwise.
    """
    variables = {**os.environ, "LC_ALL": "C"}
    for name, value in (environment or {}).items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    try:
        # AnsibleModule.run_command has no timeout, and would leave behind processes that the program has started.
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=variables,
            cwd=directory,
            start_new_session=True,
        )
    except OSError as error:
        return Completed(127, "", f"{arguments[0]}: {error.strerror}")
    # `communicate` would wait until the last process that holds the output has ended, a daemon among them.
    outputs = [_Reader(pipe) for pipe in (process.stdout, process.stderr)]
    status: int | None
    try:
        status = process.wait(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
        status = None
    stdout, stderr = (output.text() for output in outputs)
    return Completed(status, stdout, stderr)


class _Reader(threading.Thread):
    """Read a pipe, until its end or for as long as it is of interest."""

    def __init__(self, pipe: Any) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self._chunks: list[bytes] = []
        self.start()

    def run(self) -> None:
        """Called by the thread."""
        for chunk in iter(lambda: os.read(self._pipe.fileno(), 65536), b""):
            self._chunks.append(chunk)
        self._pipe.close()

    def text(self) -> str:
        """Return what has come, after the end of the program."""
        self.join(DRAIN_SECONDS)
        return b"".join(self._chunks).decode("utf-8", "replace")


def search_path() -> str:
    """Return PATH, extended by the directories that may have Nix."""
    known = os.environ.get("PATH", "/usr/bin:/bin").split(os.pathsep)
    return os.pathsep.join([*known, *(entry for entry in DIRECTORIES if entry not in known)])


def find(module: Any) -> Nix | None:
    """Return the installed Nix, or None."""
    # PATH first: Ansible's function searches further directories before it.
    program = module.get_bin_path("nix") or module.get_bin_path("nix", opt_dirs=list(DIRECTORIES))
    if not program:
        return None
    done = run([program, "--version"])
    if done.status != 0:
        return None
    return described(program, done.stdout.strip())


def described(program: str, version_text: str) -> Nix:
    """Parse the output of ``nix --version``.

    "nix (Nix) 2.26.3", "nix (Lix, like Nix) 2.93.0" or "nix (Determinate Nix 3.2.0) 2.28.1".
    """
    match = re.search(r"\(([^)]*)\)\s*(.*)", version_text)
    kind, number = (match.group(1), match.group(2)) if match else ("", version_text)
    flavour = "lix" if "Lix" in kind else "determinate" if "Determinate" in kind else "nix"
    return Nix(program, version_text, flavour, version_of(number))


def version_of(text: str) -> tuple[int, ...]:
    """Return the numbers of a version: "2.34.0pre2026" is (2, 34, 0)."""
    match = _VERSION.search(text)
    return tuple(int(part or 0) for part in match.groups()) if match else ()


def settings(nix: Nix, environment: Mapping[str, str | None] | None = None) -> tuple[dict[str, str], str]:
    """Return all effective settings, and Nix's warnings. Raises ``ValueError`` with Nix's error."""
    # Until 2.19 the command had another name: the new one fails there, and the old one warns later.
    newer = nix.version >= (2, 20) and not nix.lix
    words = [["config", "show"], ["show-config"]]
    done = Completed(127, "", "")
    for command in words if newer else reversed(words):
        done = run([nix.program, *EXPERIMENTAL, *command], environment=environment)
        if done.status == 0:
            return parse_settings(done.stdout), done.stderr
        if "is not a recogni" not in done.stderr and "unrecogni" not in done.stderr:
            break
    raise ValueError(done.stderr.strip() or f"nix printed nothing and ended with {done.status}")


def parse_settings(text: str) -> dict[str, str]:
    """Parse the output of ``nix config show``."""
    found = {}
    for line in text.splitlines():
        name, mark, value = line.partition(" = ")
        if mark and " " not in name:
            found[name] = value
        elif line.endswith(" =") and " " not in line[:-2]:
            found[line[:-2]] = ""
    return found


def manager(directory: str = CONFIGURATION_DIRECTORY, system: str | None = None) -> str:
    """Return the origin of nix.conf: ``nix-darwin``, ``nixos``, or ``files`` for an ordinary or missing file."""
    if not generated(f"{directory}/nix.conf"):
        return "files"
    return "nix-darwin" if (system or platform.system()) == "Darwin" else "nixos"


def daemon_socket() -> str:
    """Return the socket of the Nix daemon, empty if this installation has none."""
    for path in ("/nix/var/nix/daemon-socket/socket", "/var/run/nix-daemon.socket"):
        try:
            if stat.S_ISSOCK(Path(path).stat().st_mode):
                return path
        except OSError:
            continue
    return ""
