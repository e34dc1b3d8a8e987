# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs with a time limit, also on hosts that have no `timeout`, as macOS."""

from __future__ import annotations

import time

import pytest
from guard_host import SHELLS, Host, run_library, wait_for

from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import target_text

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
PARTS = ("lib/base.sh", "lib/time.sh")
HANG = 60  # seconds that a program takes which has to be killed
STUBBORN = "trap '' TERM; i=0; while [ $i -lt 600 ]; do sleep 0.1; i=$((i + 1)); done"


def run(host: Host, code: str) -> tuple[str, float]:
    """What `code` prints behind the guard's library, and how long it takes. `timeout` does not work."""
    host.program("timeout", "#!/bin/sh\nexit 99\n")
    script = "\n".join([*map(target_text, PARTS), code])
    begun = time.monotonic()
    done = run_library(host, script, HANG)
    return done.stdout, time.monotonic() - begun


@EVERY_SHELL
def test_exit_code_and_output_are_those_of_the_program(host: Host) -> None:
    said, _seconds = run(
        host, "bounded 20 sh -c 'echo out; exit 7' | cat; bounded 20 sh -c 'exit 7'; echo $?"
    )
    assert said == "out\n7\n"


@EVERY_SHELL
@pytest.mark.parametrize(
    "program", [f"sleep {HANG}", f'sh -c "{STUBBORN}"'], ids=["hangs", "ignores SIGTERM"]
)
def test_program_that_hangs_is_ended(host: Host, program: str) -> None:
    said, seconds = run(
        host, f"bounded 1 {program.replace('$', chr(92) + '$')}; test $? -ne 0 && echo failed"
    )
    assert said == "failed\n"
    assert seconds < HANG / 2
    wait_for(lambda: host.processes() == [], "the end of all processes")


@EVERY_SHELL
def test_watch_ends_with_the_program(host: Host) -> None:
    """Nothing is left that could kill another process by the same number later."""
    run(host, "bounded 10000 true")
    wait_for(lambda: host.processes() == [], "the end of all processes")
