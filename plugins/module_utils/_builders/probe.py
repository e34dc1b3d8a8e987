# Copyright: (c) 2026, nixferry contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Private to this collection: it can change at any time, without notice.
"""Check a registered builder step by step, from its key to its Nix: the first failing step names the cause."""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from ansible_collections.nixferry.deploy.plugins.module_utils._nix.here import (
    EXPERIMENTAL,
    Completed,
    Nix,
    run,
    search_path,
)

from .failures import (
    Failure,
    classified,
    explained,
)
from .machines import Machine

NOWHERE = "/nix/store/00000000000000000000000000000000-nowhere"
SSH_FAILED = 255  # ssh's own exit status; any other is that of the command on the builder


class Store(NamedTuple):
    """The builder's Nix, as it describes itself; None for unknown values."""

    version: str | None
    trusted: bool | None


def key_failure(path: str) -> Failure | None:
    """Find a fault of a secret key's file, as ssh would see it, or of the .pub file beside it."""
    if not path:
        return None
    file = Path(path)
    try:
        status = file.stat()
    except OSError as error:
        return classified(f"Identity file {path} not accessible: {error.strerror}")
    if stat.S_IMODE(status.st_mode) & 0o077:
        return classified(f"bad permissions: {path} has mode {stat.S_IMODE(status.st_mode):04o}")
    if status.st_uid not in (0, os.geteuid()):
        return Failure(
            "key_owner",
            "key",
            "The secret key belongs to a user who could replace it",
            "Give the file to root.",
            f"{path} belongs to the user with the id {status.st_uid}",
        )
    derived = run(["ssh-keygen", "-y", "-P", "", "-f", path])
    if derived.status != 0:
        return explained(f"{derived.stdout}\n{derived.stderr}", "key")
    beside = Path(path + ".pub")
    if beside.exists():
        words = beside.read_text(encoding="utf-8", errors="replace").split()[:2]
        if words != derived.stdout.split()[:2]:
            return Failure(
                "key_stale_public",
                "key",
                "The public key beside the secret key is that of another key, and ssh offers that one",
                "Remove the .pub file, or write it anew with `ssh-keygen -y`.",
                str(beside),
            )
    return None


def ssh_arguments(machine: Machine, known_hosts: str, timeout: int) -> list[str]:
    """Return the command line with which Nix would call ssh for this builder, without the remote command."""
    arguments = ["ssh", "-x", "-a", "-oBatchMode=yes", f"-oConnectTimeout={timeout}"]
    if machine.ssh_key:
        arguments += ["-i", machine.ssh_key]
    if known_hosts:
        arguments.append(f"-oUserKnownHostsFile={known_hosts}")
    if machine.user:
        arguments += ["-l", machine.user]
    if machine.port:
        arguments += ["-p", machine.port]
    return [*arguments, machine.host.strip("[]")]


def login_failure(machine: Machine, timeout: int) -> Failure | None:
    """Log in like Nix, in a process of our own: with ssh-ng Nix hides ssh's output."""
    with tempfile.TemporaryDirectory(prefix="nixferry-") as directory:
        known_hosts = ""
        if machine.host_key:
            known_hosts = f"{directory}/known_hosts"
            Path(known_hosts).write_text(f"{machine.host} {machine.host_key}\n", encoding="utf-8")
        # Not `true`: a forced command answers to anything, and a shell runs this as well.
        done = run([*ssh_arguments(machine, known_hosts, timeout), "exit"], timeout=timeout + 10)
    return judged_login(done)


def judged_login(done: Completed) -> Failure | None:
    if done.status is None:
        return classified("Connection timed out")
    if done.status == SSH_FAILED:
        return explained(done.stderr, "login")
    found = classified(done.stdout + done.stderr)
    if found and found.code == "no_shell":
        return found
    said = done.stdout.strip()
    if said:
        return classified(f"protocol mismatch, got '{said.splitlines()[0][:80]}'")
    return None


def store_uri(machine: Machine, scheme: str = "") -> str:
    """Return the address with all connection settings of the entry, for commands that take no entry."""
    parameters = [machine.parameters] if machine.parameters else []
    if machine.ssh_key:
        parameters.append("ssh-key=" + quote(machine.ssh_key, safe="/"))
    if machine.host_key:
        encoded = machine.line().split()[-1]
        parameters.append("base64-ssh-public-host-key=" + quote(encoded, safe=""))
    address = machine.uri.partition("?")[0].rpartition("://")[2]
    return f"{scheme or machine.scheme}://{address}" + ("?" if parameters else "") + "&".join(parameters)


def asked_store(nix: Nix, machine: Machine, timeout: int) -> tuple[Store, Failure | None]:
    """Ask the builder's Nix for its version and whether it trusts us."""
    words = ["store", "ping"] if nix.lix or nix.version < (2, 19) else ["store", "info", "--json"]
    done = _asked(nix, [*words, "--store", store_uri(machine)], timeout)
    failure = _failed(done)
    # ssh-ng does not report faults of the builder's daemon, and ssh connects without asking the daemon anything.
    if failure is None if machine.scheme == "ssh" else failure is not None and failure.code == "disconnected":
        failure = _daemon_failure(nix, machine, timeout) or failure
    return parsed_store(done.stdout + done.stderr), failure


def _asked(nix: Nix, words: list[str], timeout: int) -> Completed:
    environment = {"NIX_REMOTE": None, "PATH": search_path()}
    return run([nix.program, *EXPERIMENTAL, *words], timeout=timeout, environment=environment)


def _failed(done: Completed) -> Failure | None:
    if done.status is None:
        return classified("Connection timed out")
    return explained(done.stderr, "daemon") if done.status else None


def _daemon_failure(nix: Nix, machine: Machine, timeout: int) -> Failure | None:
    """Ask over the older protocol for a missing path: only the builder's daemon can answer that."""
    done = _asked(nix, ["path-info", "--store", store_uri(machine, "ssh"), NOWHERE], timeout)
    found = classified(done.stderr) if done.status else None
    # A forced command may allow only the other protocol; then this proves nothing.
    told = ("daemon_down", "socket_group", "no_program", "chatty_shell")
    if found and (machine.scheme == "ssh" or found.code in told):
        return found
    return None


def parsed_store(text: str) -> Store:
    """Parse the output of ``nix store info`` and ``nix store ping``, JSON or lines."""
    for line in text.splitlines():
        if line.startswith("{"):
            answer = json.loads(line)
            trusted = answer.get("trusted")
            return Store(answer.get("version"), None if trusted is None else bool(trusted))
    version = re.search(r"^Version: (\S+)", text, re.MULTILINE)
    trust = re.search(r"^Trusted: (\S+)", text, re.MULTILINE)
    return Store(
        version.group(1) if version else None, trust.group(1) in ("1", "true", "yes") if trust else None
    )
