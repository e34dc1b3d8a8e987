# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root's half of the pull agent is killed at each of its steps: the next run ends what was begun, once."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest
from guard_host import Host
from pull_host import NSENTER, SETTINGS, SYSTEMCTL, TOPLEVEL, run_agent

from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import (
    Pointer,
    sign_pointer,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import SshKey

# A guard with a memory: it activates, waits, and commits when it is told to. It notes each begin and each commit.
GUARD = """\
#!/bin/sh
while IFS== read -r key value; do
    case $key in verb) verb=$value ;; id) id=$value ;; toplevel) toplevel=$value ;; esac
done
known=$(cat "$HOST/activation" 2>/dev/null)
echo; echo nixferry=1
if [ "$verb" = probe ]; then
    if [ "$(cat "$HOST/current" 2>/dev/null)" = "$toplevel" ]; then echo unchanged=1; else echo toplevel_valid=1; fi
elif [ "$verb" = start ]; then
    echo "$id" >"$HOST/activation"; echo "$toplevel" >"$HOST/next"; echo activating >"$HOST/phase"
    echo "$id" >>"$HOST/begun"; echo phase=prepared
elif [ "$id" != "$known" ]; then
    echo error=no_activation; echo message=unknown
else
    if [ "$verb" = confirm ] && [ "$(cat "$HOST/phase")" = awaiting-confirmation ]; then
        cp "$HOST/next" "$HOST/current"; echo committed >"$HOST/phase"; echo "$id" >>"$HOST/committed"
    fi
    if [ "$(cat "$HOST/phase")" = activating ]; then echo awaiting-confirmation >"$HOST/phase"; fi
    echo "phase=$(cat "$HOST/phase")"
fi
echo "end=$verb"
"""
# Does what the program does, and kills the agent before or after the step that is its turn.
STRIKE = """\
#!/bin/sh
step=$(($(cat "$HOST/step" 2>/dev/null || echo 0) + 1))
echo "$step" >"$HOST/step"
strike() { if [ "$(cat "$HOST/strike" 2>/dev/null)" = "$1 $step" ]; then kill -9 "$(cat "$HOST/agent")"; exit 137; fi; }
strike before
%s "$@"
code=$?
strike after
exit $code
"""
PROGRAMS = ("mv", "rm", "ln", "mkdir")
MOST_STEPS = 60


class Killed:
    def __init__(self, host: Host, place: Path, key: SshKey) -> None:
        self.host, self.place = host, place
        host.program("guard", GUARD)
        host.program("systemctl", SYSTEMCTL)
        host.program("nsenter-real", NSENTER)
        host.program("nsenter", STRIKE % shlex.quote(str(host.programs / "nsenter-real")))
        for name in PROGRAMS:
            host.program(name, STRIKE % f"/bin/{name}")
        host.environment["NIXFERRY_SECOND"] = "20"
        host.environment["NIXFERRY_NSENTER"] = str(host.programs / "nsenter")
        now = int(time.time())
        pointer = Pointer("web1", "stable", 101, now - 10, now + 1000, TOPLEVEL)
        (place / "incoming").write_bytes(sign_pointer(pointer, key))

    def run(self, strike: str = "") -> tuple[int, int]:
        """One run, which a strike may end; its exit code, and the number of its steps."""
        directory = self.host.directory
        (directory / "strike").write_text(strike)
        (directory / "step").write_text("0")
        lines = (f'echo $$ >"{directory}/agent"', "retire_bootstrap() { true; }", "verb_activate")
        done = run_agent(
            self.host, self.place, *lines, **SETTINGS, PULL_GUARD=str(self.host.programs / "guard")
        )
        return done.return_code, int((directory / "step").read_text())

    def lines(self, name: str) -> list[str]:
        file = self.host.directory / name
        return file.read_text().splitlines() if file.exists() else []

    def reset(self) -> None:
        """As before the first run."""
        for name in ("activation", "next", "phase", "begun", "committed", "current"):
            (self.host.directory / name).unlink(missing_ok=True)
        for name in ("accepted", "under_way", "tries", "status"):
            (self.place / name).unlink(missing_ok=True)


@pytest.mark.parametrize("host", ["dash"], indirect=True)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_step_is_made_good_by_the_next_run(
    host: Host, place: Path, keys: dict[str, SshKey], when: str
) -> None:
    killed = Killed(host, place, keys["publisher"])
    steps = 0
    for step in range(1, MOST_STEPS):
        killed.reset()
        code, _output = killed.run(f"{when} {step}")
        if code == 0:
            break
        steps = step
        about = f"{when} step {step}"
        assert code != 1, about
        # What is activated was recorded before, so that a power cut now does not lose it.
        if killed.lines("begun"):
            assert (place / "under_way").exists() or killed.lines("committed"), about
            assert (place / "accepted").exists(), about
        assert killed.run()[0] == 0, about
        assert killed.run()[0] == 0, about
        assert killed.lines("current") == [TOPLEVEL], about
        assert len(killed.lines("begun")) == len(killed.lines("committed")) == 1, about
        assert not (place / "under_way").exists(), about
        assert not (place / "quarantine").exists(), about
        status = (place / "status").read_text().splitlines()
        assert "outcome=unchanged" in status, about
    # Files that are replaced, and questions to the guard
    assert steps >= 12
