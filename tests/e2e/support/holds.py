# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Places at which a deploy waits for the test, so that a fault strikes there and nowhere else.

A place is held while the host has the file HOLDS/<place>. It lies in /run: a power cut lets go of all of them. Where
a deploy waits it makes HOLDS/<place>.reached.
"""

from __future__ import annotations

from typing import Any

from lab import LabHost
from processes import wait_until

HOLDS = "/run/lab-holds"
REACH_DEADLINE = 180  # seconds until a deploy must have come to a place

# Before Nix' own programs on the search path of logins and of the guard.
COPY = "copy"  # the first path of the closure is about to be received
START = "start"  # the guard looks at what it is to activate; nothing is recorded yet
PREPARED = "prepared"  # the record is complete, the guard's units are not started
SET_PROFILE = "set-profile"  # the commit is about to make the new generation
# Between the health checks, see `CHECK`
CHECKING = "checking"

_PROGRAMS = {
    "nix-store": {"*--serve*--write*": COPY, "*--import*": COPY, "*--check-validity*": START},
    "nix-env": {"*--set*": SET_PROFILE},
    "systemd-run": {"*": PREPARED},
}


def switch_of(version: str) -> str:
    """The system of that version is called to activate, and has changed nothing yet."""
    return f"{version}-test"


def activation_of(version: str) -> str:
    """In the midst of its activation: units are stopped and /etc has changed, what runs is still another one."""
    return f"{version}-activate"


def boot_of(version: str) -> str:
    """The profile points to the system of that version, the boot loader does not yet."""
    return f"{version}-boot"


def _hold(place: str) -> str:
    return f"while [ -e {HOLDS}/{place} ]; do : >{HOLDS}/{place}.reached; sleep 0.1; done"


CHECK = {"command": _hold(CHECKING), "timeout": 8, "retries": 0}
"""A health check that passes as soon as its place is free."""


def patient_system(version: str, **options: Any) -> dict[str, Any]:
    """Options of a mini NixOS that can be held at the places named after its version."""
    checks = {**options.pop("preSwitchChecks", {}), "hold": _hold(f'{version}-"$2"')}
    scripts = {**options.pop("activationScripts", {}), "hold": f"{_hold(activation_of(version))}; true"}
    return {"version": version, "preSwitchChecks": checks, "activationScripts": scripts, **options}


def install_holds(host: LabHost) -> None:
    """Let the host's programs wait at their places. Survives a power cut."""
    script = ""
    for program, places in _PROGRAMS.items():
        cases = "\n".join(f"{pattern}) {_hold(place)} ;;" for pattern, place in places.items())
        text = f'#!/bin/sh\ncase "$*" in\n{cases}\nesac\nexec /usr/bin/{program} "$@"\n'
        script += f"cat >/usr/local/bin/{program} <<'END'\n{text}END\nchmod 755 /usr/local/bin/{program}\n"
    host.execute(script)


def hold(host: LabHost, *places: str) -> None:
    host.execute(f"mkdir -p {HOLDS}; cd {HOLDS}; rm -f *.reached; touch {' '.join(places)}")


def release(host: LabHost, *places: str) -> None:
    """Let go of these places, or of all."""
    host.execute(f"cd {HOLDS} 2>/dev/null && rm -f {' '.join(places) if places else '*'}; true")


def is_reached(host: LabHost, place: str) -> bool:
    return host.execute(f"test -e {HOLDS}/{place}.reached", check=False).returncode == 0


def wait_reached(host: LabHost, place: str) -> None:
    wait_until(lambda: is_reached(host, place), deadline=REACH_DEADLINE, what=f"the deploy gets to {place}")
