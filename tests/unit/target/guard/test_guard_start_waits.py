# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A start that waits for the end of the activation, which saves a login if that is quick."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from guard_host import SHELLS, Completed, Host, wait_for

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
UNTIL_TOLD = "until [ -e $HOST/go ]; do sleep 0.03; done"


@EVERY_SHELL
def test_a_start_may_wait_for_the_end_of_a_quick_activation(host: Host) -> None:
    new = host.toplevel("new")
    waited = host.guard.start(host.request(new), seconds=100)
    assert (waited.phase, host.current) == ("awaiting-confirmation", new)
    assert host.confirm(waited.activation_id).phase == "committed"

    slow = host.toplevel("slow", test=UNTIL_TOLD)
    early = host.guard.start(host.request(slow), seconds=1)
    assert early.phase == "activating"
    (host.directory / "go").touch()
    assert host.confirm(host.awaited(early.activation_id).activation_id).phase == "committed"


@EVERY_SHELL
def test_an_activation_that_cuts_the_connection_of_its_start_goes_on(host: Host) -> None:
    # The guard's program is there afterwards: the next request is sent once.
    assert host.deploy(host.toplevel("first")).phase == "committed"
    (host.directory / "actions").unlink()
    request = host.request(host.toplevel("cut", test=UNTIL_TOLD))

    def run(script: str, **_step: str) -> Completed:
        """Kill the whole login while the start waits."""
        with subprocess.Popen(
            [str(host.programs / host.login_shell)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=host.env(),
            start_new_session=True,
        ) as login:
            assert login.stdin is not None
            login.stdin.write(script.encode())
            login.stdin.close()
            wait_for(lambda: host.actions == ["test cut"], "the activation to begin")
            os.killpg(login.pid, signal.SIGKILL)
            assert login.stdout is not None
            return Completed(login.wait(), login.stdout.read().decode(), "")

    send, host.run = host.run, run  # type: ignore[method-assign]
    with pytest.raises(NixferryError, match="cut off"):
        host.guard.start(request, seconds=100)
    host.run = send  # type: ignore[method-assign]
    assert host.status(request.activation_id).phase == "activating"
    (host.directory / "go").touch()
    assert host.confirm(host.awaited(request.activation_id).activation_id).phase == "committed"
    assert host.current == request.toplevel
