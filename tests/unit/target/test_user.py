# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard and its loader know their user without a process, where Linux tells it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from guard_disk import NOBODY
from guard_host import SHELLS, Host

from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import target_text

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
# The loader goes on to look at the state directory behind these lines.
TEXTS = {
    "guard": target_text("lib/base.sh"),
    "loader": target_text("guard/loader.sh").partition("state=")[0],
}


def user_of(host: Host, text: str, *before: str, **more: str) -> str:
    """What ``text`` takes for its user, when `id` says that it is 1234."""
    host.program("id", "#!/bin/sh\necho 1234\n")
    shell = [*before, *SHELLS[host.shell].removeprefix("exec ").split(), "-c", f'{text}\necho "$USER_ID"']
    environment = {"PATH": host.env()["PATH"], **more}
    return subprocess.run(shell, capture_output=True, text=True, env=environment, check=True).stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/status is Linux'")
@EVERY_SHELL
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_linux_tells_the_user(host: Host, text: str) -> None:
    assert user_of(host, text) == str(os.geteuid())
    if os.geteuid() == 0 and shutil.which("setpriv"):
        # A shell whose effective user is another one takes on the real one.
        change = ["setpriv", "--reuid", str(NOBODY), "--clear-groups"]
        assert user_of(host, text, *change) == str(NOBODY)


@pytest.mark.parametrize("host", ["dash", "bash"], indirect=True)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_elsewhere_id_tells_the_user(host: Host, text: str) -> None:
    assert user_of(host, text, NIXFERRY_ROOT=str(host.directory)) == "1234"
    missing = text.replace("/proc/self/status", str(host.directory / "missing"))
    assert user_of(host, missing) == "1234"
    (host.directory / "other").write_text("Name:\tsh\nState:\tR\n")
    assert user_of(host, text.replace("/proc/self/status", str(host.directory / "other"))) == "1234"
