# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Wait for the new system: another boot, the right host key, the right toplevel."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import Answer, AnswerLost
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    HostUnreachable,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import (
    answer_of_script,
    host_script,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

from .login import on_new_system
from .look import PARTS

STEP = Step.BOOT_SYSTEM
TIMEOUT_NAME = "timeout_reboot"
# Seconds between two attempts, and for one answer.
PAUSE_SECONDS = 3.0
QUESTION_SECONDS = 60
# Logins that the new system refuses before that is taken for its last word: it may still be starting.
REFUSALS = 4
_STARTING = ("initializing", "starting")
_OTHER_KEY = ("the host shows another key", "the host's key is not known")
_CONSOLE = "Look at the machine's console."


@dataclass(frozen=True)
class Expected:
    """The system to wait for. ``boot`` is that of the installer; without ``host_keys`` the inventory decides."""

    toplevel: str
    boot: str
    host_keys: tuple[str, ...]


def wait_for_system(shell: RemoteShell, expected: Expected, *, seconds: int, progress: Progress) -> str:
    """Wait until the new system has started, and return its state (``running``, ``degraded``, or empty).

    Raises ``NixferryError`` when it does not within ``seconds``, or another system answers.
    """
    deadline = time.monotonic() + seconds
    progress.phase("waiting for the new system")
    seen = "nothing answered"
    other_key = False
    refused = 0
    while True:
        try:
            with on_new_system(shell, expected.host_keys):
                answer = _ask(shell)
            refused = 0
            if answer.text("boot") == expected.boot:
                seen, other_key = "the installer still answers", False
            else:
                _check_system(answer, expected)
                state = answer.text("state")
                if state not in _STARTING:
                    return state
                seen, other_key = f"the new system answers, and is {state}", False
        except (HostUnreachable, AnswerLost) as error:
            seen = error.headline
            other_key = seen.startswith(_OTHER_KEY)
            if isinstance(error, HostUnreachable) and not error.transient and not other_key:
                refused += 1
                if refused >= REFUSALS:
                    raise NixferryError(
                        f"the new system does not let the deployer in: {seen}",
                        step=STEP,
                        remedy="Has the configuration a user with this key, and does sshd allow it? Boot the installer "
                        f"again to install a corrected system. {_CONSOLE}",
                    ) from None
        left = deadline - time.monotonic()
        if left <= 0:
            raise _expired(seconds, seen, other_key=other_key)
        time.sleep(min(PAUSE_SECONDS, left))


def confirm_system(shell: RemoteShell, expected: Expected) -> None:
    """Note on the new system's disk that it has come up. Raises ``NixferryError``."""
    with on_new_system(shell, expected.host_keys):
        _check_system(_ask(shell, confirm=True), expected)


def _ask(shell: RemoteShell, *, confirm: bool = False) -> Answer:
    text = host_script({"MOUNT_POINT": "", "CONFIRM": str(int(confirm))}, (*PARTS, "install/booted.sh"))
    completed = shell.run(text, step=STEP, seconds=QUESTION_SECONDS)
    return answer_of_script(
        "booted", completed, step=STEP, remedies={"no_room": "Look at the file systems of the new system."}
    )


def _check_system(answer: Answer, expected: Expected) -> None:
    current = answer.text("current")
    if current == expected.toplevel:
        return
    raise NixferryError(
        f"the machine has booted {current or 'a system that is not NixOS'}, and not {expected.toplevel}",
        step=STEP,
        remedy="Let the firmware boot from the installed disk first: the installer may have been booted again. "
        f"{_CONSOLE}",
    )


def _expired(seconds: int, seen: str, *, other_key: bool) -> NixferryError:
    if other_key:
        return NixferryError(
            f"{TIMEOUT_NAME} ({seconds} s) is over, and what answers does not have the new system's host key: {seen}",
            step=STEP,
            remedy="Either the machine has booted the installer again (let the firmware boot the installed disk "
            "first), or another machine has this address. Nothing was sent to it.",
        )
    return NixferryError(
        f"the new system did not come up within {TIMEOUT_NAME} ({seconds} s): {seen}",
        step=STEP,
        remedy=f"{_CONSOLE} Is the boot loader on the right disk, and does the network of the configuration fit? If it "
        "comes up later, run this again: only the rest is done.",
    )
