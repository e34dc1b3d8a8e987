# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""systemd takes the timer of a trial from its command line, and reboots when nothing has stopped it.

A container's systemd reads its own command line as that of the kernel.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import yaml
from machine import LAB, image
from processes import run, wait_until

from ansible_collections.nixferry.deploy.plugins.module_utils._netboot.script import (
    TRIAL_UNIT,
    trial_parameters,
)

UP_DEADLINE = 60  # seconds
# The lab's hosts have no generators: what reads units from the command line is one.
START = (
    "rm -f /etc/systemd/system-generators/*; mount -o remount,rw /sys/fs/cgroup; exec /lib/systemd/systemd "
)


def inside(container: str, *command: str) -> str:
    return run(["docker", "exec", container, *command], check=False).stdout.strip()


def is_up(container: str) -> bool:
    return inside(container, "systemctl", "is-system-running") in ("running", "degraded")


def is_running(container: str) -> bool:
    return run(["docker", "inspect", "--format", "{{.State.Running}}", container]).stdout.strip() == "true"


@contextmanager
def booted(seconds: int) -> Iterator[str]:
    """A container that is a trial, with its timer."""
    options = yaml.safe_load((LAB / "vars.yml").read_text())["lab_target_options"]
    options = [option for option in options if not option.startswith("--restart=")]
    container = f"nixferry-lab-trial-{os.getpid()}-{secrets.token_hex(3)}"
    words = " ".join(trial_parameters("a" * 32, seconds))
    about = [f"--name={container}", "--label=nixferry.lab=vm", "--network=none", "--entrypoint="]
    run(["docker", "run", "--detach", *options, *about, image("target"), "sh", "-c", START + words])
    try:
        yield container
    finally:
        run(["docker", "rm", "--force", container])


def test_a_trial_reboots_by_itself() -> None:
    # In a container, the time counts from the start of its systemd.
    with booted(seconds=8) as container:
        wait_until(lambda: not is_running(container), deadline=UP_DEADLINE, what="a trial that has rebooted")


def test_a_trial_whose_timer_is_stopped_goes_on() -> None:
    with booted(seconds=3600) as container:
        wait_until(lambda: is_up(container), deadline=UP_DEADLINE, what="a trial that has booted")
        assert inside(container, "systemctl", "is-active", TRIAL_UNIT) == "active"
        due = inside(container, "systemctl", "show", "--property=Unit,TimersMonotonic", TRIAL_UNIT)
        assert "OnBootUSec=1h " in due
        assert "Unit=reboot.target" in due
        # Emergency mode stops what does not say otherwise.
        inside(container, "systemctl", "isolate", "--no-block", "emergency.target")
        wait_until(
            lambda: inside(container, "systemctl", "is-active", "emergency.target") == "active",
            deadline=UP_DEADLINE,
            what="emergency mode",
        )
        assert inside(container, "systemctl", "is-active", TRIAL_UNIT) == "active"
        inside(container, "systemctl", "stop", TRIAL_UNIT)
        assert inside(container, "systemctl", "is-active", TRIAL_UNIT) == "inactive"
        assert is_running(container)
