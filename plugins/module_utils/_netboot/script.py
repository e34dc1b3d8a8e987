# Copyright: (c) 2026, nixferry contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Private to this collection: it can change at any time, without notice.
"""The scripts that iPXE runs, and what they put on the kernel's command line.

Addresses in scripts are relative to the script, so that a tree of releases can move to another server.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

RELEASE_PARAMETER = "nixferry.release"
TRIAL_PARAMETER = "nixferry.trial"
TRIAL_UNIT = "nixferry-netboot-trial.timer"
# Seconds after which iPXE begins anew when it has not got a file.
AGAIN_SECONDS = 10
# When a kernel that has panicked reboots: at once. No person reads the console of a trial.
PANIC_SECONDS = -1


def trial_timer(seconds: int) -> str:
    """Return the text of the timer that reboots a trial ``seconds`` after its kernel has started.

    It waits for nothing, and goes on in emergency mode.
    """
    return (
        "[Unit]\nDefaultDependencies=no\nIgnoreOnIsolate=yes\nConflicts=shutdown.target\nBefore=shutdown.target\n"
        f"[Timer]\nOnBootSec={seconds}\nAccuracySec=1s\nUnit=reboot.target\n"
    )


def trial_parameters(trial: str, seconds: int) -> list[str]:
    """Return what a trial has on the kernel's command line beside its release.

    A kernel that panics reboots, and so does the first stage of NixOS when it fails, instead of asking on the console.
    systemd 256 and later read the timer from there (``systemd.extra-unit.*`` in systemd.system-credentials(7)).
    """
    timer = base64.b64encode(trial_timer(seconds).encode("ascii")).decode("ascii")
    return [
        f"{TRIAL_PARAMETER}={trial}",
        f"panic={PANIC_SECONDS}",
        "boot.panic_on_fail",
        f"systemd.set_credential_binary=systemd.extra-unit.{TRIAL_UNIT}:{timer}",
        f"systemd.wants={TRIAL_UNIT}",
    ]


def release_script(init: str, parameters: Sequence[str]) -> str:
    """Return the script of a release: its kernel, its initial RAM disk, and its store as a second one.

    The caller's variable ``cmdline`` goes behind the parameters of the system, as in the script of NixOS. EFI kernels
    look for the RAM disks that ``initrd=`` names; for others, all that was fetched is one.
    """
    words = " ".join([f"init={init}", "initrd=initrd", "initrd=store", *parameters])
    return f"#!ipxe\nimgfree ||\nkernel kernel {words} ${{cmdline}}\ninitrd initrd\ninitrd store\nboot\n"


def pointer_script(host: str, release: str, trial: Mapping[str, Any] | None = None) -> str:
    """Return the script of a host: ``release``, or once the release of ``trial``.

    ``trial`` has the keys ``id``, ``release`` and ``seconds``. The server forgets a trial when it is asked for it, so
    that no second boot gets it: whatever ends the trial, the next boot is ``release``. A server that does not do so
    has no file of that name, and the trial is not booted.
    """
    lines = ["#!ipxe", f"# {host}. Written by nixferry.deploy.netboot."]
    if trial is not None:
        words = " ".join(trial_parameters(trial["id"], trial["seconds"]))
        lines += [
            f"imgfetch --name once ../once/{trial['id']} || goto current",
            "imgfree once ||",
            f"set cmdline {RELEASE_PARAMETER}={trial['release']} {words}",
            f"chain ../releases/{trial['release']}/boot.ipxe ||",
            "goto again",
            ":current",
        ]
    lines += [
        f"set cmdline {RELEASE_PARAMETER}={release}",
        f"chain ../releases/{release}/boot.ipxe ||",
        ":again",
        f"echo {host} could not be booted. Trying again in {AGAIN_SECONDS} seconds.",
        f"sleep {AGAIN_SECONDS}",
        "reboot",
    ]
    return "\n".join(lines) + "\n"


def entry_script() -> str:
    """Return the script that finds the one of the machine by the address of the card that it boots from."""
    return (
        "#!ipxe\n# Written by nixferry.deploy.netboot.\nchain hosts/${netX/mac:hexhyp}.ipxe ||\n"
        f"echo There is no release for ${{netX/mac}}. Trying again in {AGAIN_SECONDS} seconds.\n"
        f"sleep {AGAIN_SECONDS}\nreboot\n"
    )


def pixiecore_answer(url: str, mac: str) -> str:
    """Return what Pixiecore's API mode asks for at ``v1/boot/MAC``: a script that goes on with that of the host."""
    script = f"#!ipxe\nchain {url.rstrip('/')}/hosts/{mac.replace(':', '-')}.ipxe\n"
    return json.dumps({"ipxe-script": script}, sort_keys=True) + "\n"
