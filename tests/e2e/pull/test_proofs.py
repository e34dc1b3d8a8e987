# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a pulled system stays, when it waits, and who may push meanwhile."""

from __future__ import annotations

import pytest
from plays import task_play
from processes import wait_until
from pulling import ACTIVATE, FETCH, STATE, Pulling


def cut_off(puller: Pulling) -> str:
    """A snippet that takes the way to the publisher, and the way back to the old system gives it again."""
    return f"/usr/sbin/ip route add blackhole {puller.server.address}"


def await_activation(puller: Pulling) -> None:
    """Wait until the guard activates what the agent has asked for."""
    phase = (
        f"cat /var/lib/nixferry/activations/$(cut -d ' ' -f 1 {STATE}/under_way)/phase 2>/dev/null || true"
    )
    wait_until(lambda: puller.host.ask(phase) == "activating", deadline=60, what="the activation")


@pytest.mark.takes_turns(2, among="pulls")
def test_a_system_stays_if_it_is_healthy_and_can_still_fetch(puller: Pulling) -> None:
    host = puller.host
    good = host.current_system()
    restore = f"/usr/sbin/ip route del blackhole {puller.server.address} || true"
    back = puller.publish({"version": "2b", "activationScripts": {"route": restore}})
    assert puller.pull()["outcome"] == "committed"

    puller.publish({"version": "3", "activationScripts": {"route": cut_off(puller)}})
    done = puller.pull()
    assert (done["outcome"], "does not reach" in done["message"]) == ("rolled-back", True), done
    assert (host.current_system(), host.profile(), host.boot_default()) == (back, back, back)
    assert host.ask("ip route show type blackhole") == ""

    checks = [
        {"unit": "web.service", "retries": 0},
        {"command": 'test "$(cat /etc/mini-nixos-version)" != 4 || { echo it is 4; false; }', "retries": 0},
    ]
    puller.variables = {
        "pull_agent_health_checks": checks,
        "pull_agent_metrics_directory": "/var/lib/metrics",
    }
    host.execute("mkdir /var/lib/metrics")
    assert puller.install().changed(host.name)
    puller.publish({"version": "4"})
    done = puller.pull()
    assert (done["outcome"], "it is 4" in done["message"]) == ("rolled-back", True), done
    assert host.current_system() == back
    better = puller.publish({"version": "5"})
    assert puller.pull()["outcome"] == "committed"
    assert host.current_system() == better != good
    metrics = host.ask("cat /var/lib/metrics/nixferry_pull.prom").splitlines()
    assert f"nixferry_pull_serial {puller.serial}" in metrics
    assert "nixferry_pull_quarantined_paths 2" in metrics
    assert 'nixferry_pull_outcome{outcome="committed"} 1' in metrics

    # A deployer waits for a host as for any other.
    status = puller.project.run_playbook(
        task_play(host.name, "nix_pull_status", {"wait_for_serial": puller.serial, "timeout": 20, "delay": 1})
    ).assert_ok()
    told = status.result("nix_pull_status")["pull"]
    assert (told["outcome"], told["serial"], told["pulls"]) == ("committed", puller.serial, True)
    assert (told["current"], len(told["quarantined"])) == (better, 2)
    table = puller.project.run_named("nixferry.deploy.status", "--limit", host.name).assert_ok().stdout
    assert f"serial {puller.serial}" in table
    late = puller.project.run_playbook(
        task_play(
            host.name, "nix_pull_status", {"wait_for_serial": puller.serial + 1, "timeout": 2, "delay": 1}
        )
    )
    assert late.return_code != 0


@pytest.mark.takes_turns(2, among="pulls")
def test_hold_windows_and_pushes(puller: Pulling) -> None:
    host, project = puller.host, puller.project
    good = host.current_system()
    held = task_play(host.name, "nix_pull_agent", {"state": "held", "hold_reason": "a test: 100%"})
    assert project.run_playbook(held).assert_ok().changed(host.name)
    assert not project.run_playbook(held).assert_ok().changed(host.name)
    wanted = puller.publish({"version": "3"})
    done = puller.pull()
    assert (done["outcome"], done["message"]) == ("held", "a test: 100%")
    assert host.has_path(wanted)
    assert host.current_system() == good

    # Held, the host takes a push; else it does not, unless that is wanted. A push is undone by the next pull.
    pushed = project.build(host.name, {"version": "pushed"})
    host.copy_closure(pushed)
    push = {"toplevel": pushed}
    assert project.run_playbook(task_play(host.name, "nix_switch", push)).assert_ok()
    assert host.current_system() == pushed
    released = task_play(host.name, "nix_pull_agent", {"state": "released"})
    assert project.run_playbook(released).assert_ok().changed(host.name)
    host.switch(good)
    host.execute(f"nix-env -p /nix/var/nix/profiles/system --set {good}")
    refused = project.run_playbook(task_play(host.name, "nix_switch", push))
    assert refused.return_code != 0
    assert "despite_pull" in refused.stdout
    assert host.current_system() == good
    insisting = {**push, "despite_pull": True}
    assert project.run_playbook(task_play(host.name, "nix_switch", insisting)).assert_ok()
    assert host.current_system() == pushed

    # Outside of a window it waits, inside it acts. The host's clock tells the day.
    day, other = host.ask("LC_ALL=C date +%a; LC_ALL=C date -d '3 days' +%a").split()
    puller.install(pull_agent_windows=[f"{other} 00:00-24:00"])
    assert puller.pull()["outcome"] == "waiting"
    assert host.current_system() == pushed
    puller.install(pull_agent_windows=[f"{day} 00:00-24:00", f"{other} 00:00-24:00"])
    assert puller.pull()["outcome"] == "committed"
    assert host.current_system() == wanted

    # Without the agent a push needs no more words.
    absent = task_play(host.name, "nix_pull_agent", {"state": "absent"})
    assert project.run_playbook(absent).assert_ok().changed(host.name)
    assert not project.run_playbook(absent).assert_ok().changed(host.name)
    assert project.run_playbook(task_play(host.name, "nix_switch", push)).assert_ok()
    assert host.current_system() == pushed
    # The guard's own unit may not have ended yet, whose file is a transient one.
    assert host.ask("systemctl list-unit-files 'nixferry-*' --no-legend | grep -vw transient || true") == ""


@pytest.mark.takes_turns(2, among="pulls")
def test_killed_agents_power_cuts_and_full_disks(puller: Pulling) -> None:
    """Whatever ends the agent: the guard ends the activation, and the next run says how."""
    host = puller.host
    good = host.current_system()

    # The agent dies while the system is activated, and comes back: it judges what the guard has activated.
    slow = puller.publish({"version": "3", "activationScripts": {"slow": "sleep 6"}})
    earlier = puller.begin()
    await_activation(puller)
    host.execute(f"systemctl kill --signal=KILL {ACTIVATE}; systemctl start {ACTIVATE}")
    assert puller.end(earlier)["outcome"] == "committed"
    assert (host.current_system(), host.profile(), host.boot_default()) == (slow, slow, slow)

    # Two at a time are one.
    puller.publish({"version": "4", "activationScripts": {"slow": "sleep 3"}})
    earlier = puller.begin()
    await_activation(puller)
    assert host.execute(f"{STATE}/agent activate", check=False).returncode == 75
    assert puller.end(earlier)["outcome"] == "committed"
    four = host.current_system()

    # A power cut while it is activated: the old system boots, the next run says so and tries once more.
    puller.publish({"version": "5", "activationScripts": {"slow": "sleep 8"}})
    puller.begin()
    await_activation(puller)
    host.power_cut()
    host.power_on()
    assert host.boot_default() == four
    wait_until(
        lambda: not host.ask(f"cat {STATE}/under_way 2>/dev/null || true"),
        deadline=120,
        what="the end after the boot",
    )
    wait_until(lambda: puller.status()["outcome"] == "interrupted", deadline=60, what="the word about it")
    assert host.current_system() == four
    assert puller.pull()["outcome"] == "committed"
    assert host.current_system() != good

    # Without room nothing is fetched.
    five = host.current_system()
    puller.install(pull_agent_min_free=999_999_999)
    wanted = puller.publish({"version": "6"})
    assert puller.pull()["outcome"] == "disk-full"
    assert not host.has_path(wanted)
    assert host.current_system() == five
    # A fetch that is killed is begun again.
    puller.install()
    earlier = puller.run_id()
    host.execute(f"systemctl start --no-block {FETCH}; systemctl kill --signal=KILL {FETCH}")
    puller.end(earlier)
    assert puller.pull()["outcome"] in ("committed", "unchanged")
    assert host.current_system() == wanted


# The installed guard prefers the system's own programs to those in /usr/local: the lab's findmnt goes into their place.
REAL_GRUB = """
mv /usr/bin/findmnt /usr/bin/findmnt.real
sed 's#/usr/bin/findmnt#/usr/bin/findmnt.real#' /usr/local/bin/findmnt >/usr/bin/findmnt
chmod 755 /usr/bin/findmnt
"""


@pytest.mark.takes_turns(2, among="pulls")
def test_a_kernel_is_booted_once_and_judged_after_that(puller: Pulling) -> None:
    """With `reboot: if-required` the agent goes on after the boot; a kernel that cannot fetch is left again."""
    host = puller.host
    host.execute(REAL_GRUB)
    wanted = puller.publish({"version": "3", "kernel": "6.12.2"})
    done = puller.pull()
    assert (done["outcome"], done["needs_reboot"]) == ("committed", "1")
    first_boot = host.boot()
    assert (host.current_system(), host.booted_system() == wanted) == (wanted, False)
    puller.install(pull_agent_reboot="if-required", pull_agent_timeout_confirm=100)
    # Only a reboot is missing: the same pointer is enough for that.
    puller.begin()
    wait_until(lambda: host.boot() not in ("", first_boot), deadline=120, what="the reboot")
    host.wait_ready()
    wait_until(lambda: puller.status()["needs_reboot"] == "0", deadline=120, what="the end after the boot")
    assert (puller.status()["outcome"], host.booted_system(), host.boot_default()) == (
        "committed",
        wanted,
        wanted,
    )

    cut = {"version": "4", "kernel": "6.12.3", "postBootCommands": cut_off(puller)}
    puller.publish(cut)
    second_boot = host.boot()
    puller.begin()
    wait_until(lambda: host.boot() not in ("", second_boot), deadline=120, what="the reboot")
    third_boot = host.boot()
    wait_until(lambda: host.boot() not in ("", third_boot), deadline=240, what="the boot of the old system")
    host.wait_ready()
    wait_until(lambda: puller.status()["outcome"] == "rolled-back", deadline=120, what="the word about it")
    assert (host.booted_system(), host.boot_default(), host.profile()) == (wanted, wanted, wanted)
