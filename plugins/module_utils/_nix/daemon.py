# Copyright: (c) 2026, nixferry contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Private to this collection: it can change at any time, without notice.
"""Manage the Nix daemon as a service of systemd or launchd."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, NamedTuple

from .here import EXPERIMENTAL, Nix, run

UNIT = "nix-daemon.service"
# Upstream's and nix-darwin's, Determinate's
LABELS = ("org.nixos.nix-daemon", "systems.determinate.nix-daemon")
PLISTS = "/Library/LaunchDaemons"
BOOTED_BY_SYSTEMD = "/run/systemd/system"  # sd_booted(3)
RESTART_DEADLINE = 60  # seconds until a started daemon must answer
_ETIME = re.compile(r"^\s*(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)\s+(.*)$")


class Service(NamedTuple):
    """``manager`` is systemd, launchd or empty; ``name`` is the unit's or the label."""

    manager: str
    name: str
    running: bool
    # launchd has a file for it, but has not loaded it.
    loaded: bool = True


class DaemonError(Exception):
    """The daemon cannot be started, or its manager does not answer."""


def service(module: Any) -> Service:
    """Return this machine's service for the daemon. Only macOS has launchctl.

    Raises ``DaemonError`` if systemd does not answer.
    """
    launchctl = module.get_bin_path("launchctl")
    if launchctl:
        return _launchd(launchctl)
    systemctl = module.get_bin_path("systemctl")
    if systemctl and Path(BOOTED_BY_SYSTEMD).is_dir():
        return _systemd(systemctl)
    return Service("", "", False)


def _systemd(systemctl: str) -> Service:
    """Raise ``DaemonError`` if systemd does not answer: its silence does not mean that the unit is absent."""
    done = run([systemctl, "show", "--property=LoadState", "--property=ActiveState", UNIT])
    states = dict(line.partition("=")[::2] for line in done.stdout.splitlines() if "=" in line)
    if done.status != 0 or "LoadState" not in states:
        said = (done.stderr or done.stdout).strip() or f"it ended with {done.status}"
        raise DaemonError(f"systemd does not tell whether {UNIT} runs: {said}")
    known = states["LoadState"] != "not-found"
    # As `systemctl is-active` judges it.
    active = states.get("ActiveState") in ("active", "reloading")
    return Service("systemd", UNIT if known else "", active)


def _launchd(launchctl: str) -> Service:
    for label in LABELS:
        done = run([launchctl, "print", f"system/{label}"])
        if done.status == 0:
            return Service("launchd", label, "state = running" in done.stdout or "pid = " in done.stdout)
    for label in LABELS:
        if Path(f"{PLISTS}/{label}.plist").exists():
            return Service("launchd", label, False, loaded=False)
    return Service("launchd", "", False)


def started_at(processes: str, now: float) -> float | None:
    """Return the start time of the oldest Nix daemon, from the output of ``ps -axo etime=,args=``; None without one."""
    found = []
    for line in processes.splitlines():
        match = _ETIME.match(line)
        if not match:
            continue
        words = match.group(5).split()
        if words and words[0].rpartition("/")[2] == "nix-daemon" and "--stdio" not in words:
            days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[:4])
            found.append(now - (((days * 24 + hours) * 60 + minutes) * 60 + seconds))
    return min(found) if found else None


def older_than(path: str) -> bool:
    """Return True if a daemon runs that started before the file got its present content."""
    done = run(["ps", "-axo", "etime=,args="])
    begun = started_at(done.stdout, time.time()) if done.status == 0 else None
    file = Path(path)
    # ps counts in whole seconds.
    return begun is not None and file.exists() and begun + 2 < file.stat().st_mtime


def start(module: Any, found: Service, again: bool) -> None:
    """Start or restart the daemon. Running builds go on: they are separate processes."""
    if found.manager == "systemd":
        systemctl = module.get_bin_path("systemctl", required=True)
        # systemd must not refuse the restart after several restarts in a row.
        run([systemctl, "reset-failed", UNIT, "nix-daemon.socket"])
        _expect([systemctl, "restart" if again else "start", UNIT])
    elif found.manager == "launchd":
        launchctl = module.get_bin_path("launchctl", required=True)
        target = f"system/{found.name}"
        if found.loaded:
            # Without -k a running daemon is not restarted.
            _expect([launchctl, "kickstart", *(["-k"] if again else []), target])
        else:
            run([launchctl, "enable", target])
            _expect([launchctl, "bootstrap", "system", f"{PLISTS}/{found.name}.plist"])


def _expect(arguments: list[str]) -> None:
    done = run(arguments, timeout=RESTART_DEADLINE)
    if done.status != 0:
        said = (done.stderr or done.stdout).strip() or f"it ended with {done.status}"
        raise DaemonError(f"`{' '.join(arguments)}` failed: {said}")


def answers(nix: Nix) -> bool:
    """Return True if the daemon answers. Later versions of Nix renamed the command, but accept this name too."""
    done = run(
        [nix.program, *EXPERIMENTAL, "store", "ping", "--store", "daemon"], environment={"NIX_REMOTE": None}
    )
    return done.status == 0


def wait_for(nix: Nix, deadline: float) -> None:
    """Wait for the daemon. Raises ``DaemonError`` if it does not answer in time."""
    end = time.monotonic() + deadline
    while not answers(nix):
        if time.monotonic() > end:
            raise DaemonError(f"the daemon does not answer within {deadline:.0f} seconds")
        time.sleep(0.2)
