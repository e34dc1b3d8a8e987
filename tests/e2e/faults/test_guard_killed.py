# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard itself is killed, with or without those that look after it, and the clock jumps under its feet."""

from __future__ import annotations

from typing import Any

import pytest
from fault_rows import Fault
from fault_systems import FAULTS, script
from processes import wait_until

pytestmark = pytest.mark.faults

SLOW_ACTIVATION = script("slow", "sleep 30")
SLOW_CHECK = [{"command": "sleep 29.5", "retries": 0, "timeout": 60}]
FIND_CHECK = "grep -lxzs '29[.]5' /proc/[0-9]*/cmdline"
CHECK_DEADLINE = 30  # seconds until the controller must have begun its check
SLOW_COMMIT = {"preSwitchChecks": {"slow": "case $NIXOS_ACTION in boot) sleep 30 ;; esac"}}

# The guard's main process, and for a while the process that takes over from it.
KILL_GUARD = "read -r _ pid _ <$DIR/worker; kill -KILL $pid\n"
KILL_RESCUERS = """
for try in $(seq 30); do
    for process in $(grep -Lsz '^driver$' /dev/null $(grep -lsz "^$DIR/guard.sh" /proc/[0-9]*/cmdline)); do
        [ "$process" != /dev/null ] || continue
        process=${process#/proc/}; kill -KILL "${process%/cmdline}"
    done
    sleep 0.1
done 2>/dev/null
"""
# What the controller waits for; it is not what these rows are about.
END_CHECK = f"""
for process in $({FIND_CHECK}); do
    process=${{process#/proc/}}; kill "${{process%/cmdline}}"
done 2>/dev/null
exit 0
"""
STOP_TIMER = "systemctl stop nixferry-$ID-deadman.timer\n"

AWAITING = "awaiting-confirmation"


def strike(fault: Fault, phase: str, text: str) -> None:
    """Run shell code on the host once the activation $ID is in a phase; $DIR is its record."""
    identifier = fault.wait_for_phase(phase)
    fault.strikes()
    fault.host.execute(f"ID={identifier} DIR=/var/lib/nixferry/activations/{identifier}\n{text}:")


@pytest.mark.parametrize(
    ("host", "phase", "system", "text"),
    [
        pytest.param("web1", "activating", SLOW_ACTIVATION, KILL_GUARD, id="guard, activating"),
        pytest.param("web2", AWAITING, {}, KILL_GUARD, id="guard, awaiting confirmation"),
        pytest.param("web1", "committing", SLOW_COMMIT, KILL_GUARD, id="guard, committing"),
        pytest.param("web2", AWAITING, {}, STOP_TIMER + KILL_GUARD, id="guard and dead-man timer"),
        pytest.param("web1", AWAITING, {}, KILL_GUARD + KILL_RESCUERS, id="guard and its rescuers"),
        pytest.param("web2", AWAITING, {}, STOP_TIMER + KILL_GUARD + KILL_RESCUERS, id="all of them"),
    ],
)
def test_killed(fault: Fault, host: str, phase: str, system: dict[str, Any], text: str) -> None:
    """Without any rescuer on the host it is the controller that finds the activation abandoned and undoes it."""
    fault.use(host)
    toplevel = fault.install({"version": "2", **system})
    checks = SLOW_CHECK if phase == AWAITING else []
    options = {"timeout_activation": 60, "timeout_confirm": 30, "health_checks": checks}
    with fault.switching(toplevel, **options) as controller:
        if phase == AWAITING:
            wait_until(
                lambda: bool(fault.host.execute(FIND_CHECK, check=False).stdout),
                deadline=CHECK_DEADLINE,
                what="the controller's check",
            )
        strike(fault, phase, text)
        if phase == AWAITING:
            fault.host.execute(END_CHECK)
        report = fault.report(controller)
    assert f"the guard was killed in the phase {phase}" in report["msg"]
    fault.assert_settled(report, outcome="rolled-back")


def test_killed_dead_man_timer(fault: Fault) -> None:
    fault.use("web1")
    toplevel = fault.install({"version": "2", **script("slow", "sleep 2")})
    with fault.switching(toplevel) as controller:
        strike(fault, "activating", STOP_TIMER)
        report = fault.report(controller)
    fault.assert_settled(report, outcome="committed")


# Simulated: containers share the clock of the machine. What the guard asks for the time of day is `date`, and this
# one jumps; systemd's monotonic timers and the guard's own deadlines (/proc/uptime) are those of the real kernel.
JUMPING_DATE = """
cat >/usr/local/bin/date <<'END'
#!/bin/sh
if [ -e /run/clock-jump ]; then
    case $* in
        +%s) echo $(($(/bin/date +%s) + $(cat /run/clock-jump))) ;;
        *) exec /bin/date -d "@$(($(/bin/date +%s) + $(cat /run/clock-jump)))" "$@" ;;
    esac
else
    exec /bin/date "$@"
fi
END
chmod 0755 /usr/local/bin/date
"""


@pytest.mark.parametrize(
    ("host", "jump", "system", "outcome"),
    [
        pytest.param("web2", 3600, {}, "committed", id="forward an hour"),
        pytest.param("web1", -3600, FAULTS["stops_sshd"], "rolled-back", id="back an hour"),
    ],
)
def test_clock_is_set(fault: Fault, host: str, jump: int, system: dict[str, Any], outcome: str) -> None:
    """Forward: the guard still waits for the confirmation. Back: it does not wait an hour longer.

    The clock is simulated by a program `date` that comes before the real one on the guard's PATH.
    """
    used = fault.use(host)
    used.execute(JUMPING_DATE)
    toplevel = fault.install({"version": "2", **script("slow", "sleep 2"), **system})
    with fault.switching(toplevel) as controller:
        strike(fault, "activating", f"echo {jump} >/run/clock-jump\n")
        report = fault.report(controller)
    history = used.ask(f"cat /var/lib/nixferry/activations/{fault.activation()[0]}/history").splitlines()
    times = {words[0]: int(words[1]) for words in map(str.split, history)}
    assert abs(times[outcome] - times["activating"] - jump) < 300, "the guard did not see the clock jump"
    assert all(phase["seconds"] < 60 for phase in report["phases"]), report["phases"]
    used.execute("rm /usr/local/bin/date /run/clock-jump")
    fault.assert_settled(report, outcome=outcome)
