# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host is not what a deploy expects: full or garbled, deployed to by other means, or cleaned up at a bad time."""

from __future__ import annotations

import pytest
from fault_rows import Fault
from fault_state import HostState, look
from fault_systems import FAULTS, script
from lab import BOOT_DIRECTORY, SYSTEM_PROFILE

pytestmark = pytest.mark.faults

STATE = "/var/lib/nixferry"
# As nix.gc does daily: the links of old generations go first.
COLLECT = "PATH=$PATH:/usr/bin:/bin nix-collect-garbage -d >/dev/null"
FULL_DISK = f"cat /dev/zero >{STATE}/filler 2>/dev/null || true"
# What the guard and the boot loader write to lies on a disk of a megabyte. The records of earlier rows would fill it.
SMALL_DISK = f"""
set -e
rm -rf {STATE}/activations
mkdir -p {STATE} /run/small
mount -t tmpfs -o size=1m,mode=755 tmpfs /run/small
for directory in {STATE} /nix/var/nix/profiles /nix/var/nix/gcroots {BOOT_DIRECTORY}; do
    copy=/run/small/$(echo $directory | tr / _)
    cp -a $directory $copy
    mount --bind $copy $directory
done
"""


def test_var_is_full(fault: Fault) -> None:
    host = fault.use("web1")
    host.execute(SMALL_DISK + FULL_DISK)
    fault.remember()
    fault.spoil()
    report = fault.deploy({"version": "2"})
    assert f"cannot write to the state directory {STATE}" in report["msg"]
    assert "Make room" in report["msg"]
    fault.assert_settled(report, outcome="failed", next_deploy=False)
    host.execute(f"rm {STATE}/filler")
    fault.assert_next_deploy_works()


def test_new_system_fills_the_disk(fault: Fault) -> None:
    """The record of the activation keeps some room to itself: that is enough for the rest, the boot loader included."""
    host = fault.use("web2")
    host.execute(SMALL_DISK)
    fault.remember()
    fault.spoil()
    report = fault.deploy({"version": "2", **script("filler", FULL_DISK)})
    fault.assert_settled(report, outcome="committed", next_deploy=False)
    host.execute(f"rm {STATE}/filler")
    fault.assert_next_deploy_works()


def test_disk_fills_during_the_commit(fault: Fault) -> None:
    """The boot loader has no room: neither for the new entry nor to write the old ones once more."""
    host = fault.use("web1")
    host.execute(SMALL_DISK)
    fault.remember()
    fault.spoil()
    fills = {"preSwitchChecks": {"filler": f"case $NIXOS_ACTION in boot) {FULL_DISK} ;; esac"}}
    report = fault.deploy({"version": "2", **fills})
    assert "commit failed" in report["msg"]
    fault.assert_settled(report, outcome=("rolled-back", "failed"), next_deploy=False)
    host.execute(f"rm {STATE}/filler")
    fault.assert_next_deploy_works()


# What the guard writes to lies on a disk with few files, which the new system uses up.
FEW_FILES = f"""
set -e
rm -rf {STATE}/activations
mkdir -p {STATE} /run/few
mount -t tmpfs -o nr_inodes=400,mode=755 tmpfs /run/few
cp -a {STATE} /run/few/state
mount --bind /run/few/state {STATE}
"""
USE_UP_FILES = f"i=0; while true >{STATE}/filler.$i; do i=$((i + 1)); done 2>/dev/null; true"


@pytest.mark.parametrize(
    ("host", "prepare", "breaks", "mend"),
    [
        pytest.param("web1", FEW_FILES, USE_UP_FILES, f"rm {STATE}/filler.*", id="has no inodes left"),
        pytest.param(
            "web2",
            f"mkdir -p {STATE}; mount --bind {STATE} {STATE}",
            f"mount -o remount,ro,bind {STATE}",
            f"umount {STATE}",
            id="becomes read-only",
        ),
    ],
)
def test_state_directory_breaks_while_a_system_locks_out(
    fault: Fault, host: str, prepare: str, breaks: str, mend: str
) -> None:
    """The disk takes no new file from the middle of the activation on, and logins fail."""
    used = fault.use(host)
    used.execute(prepare)
    fault.remember()
    fault.spoil()
    report = fault.deploy({"version": "2", **script("breaks", breaks), **FAULTS["stops_sshd"]})
    fault.assert_settled(report, outcome="rolled-back", next_deploy=False)
    used.execute(mend)
    fault.assert_next_deploy_works()
    assert dict(look(used).activations)[report["activation"]] == "rolled-back"
    assert not used.ask("ls /run/nixferry/unsaved/activations 2>/dev/null || true")


def test_state_directory_is_read_only(fault: Fault) -> None:
    host = fault.use("web2")
    host.execute(f"mkdir -p {STATE}; mount --bind {STATE} {STATE}; mount -o remount,ro,bind {STATE}")
    report = fault.deploy({"version": "2"})
    assert "the state directory" in report["msg"]
    fault.assert_settled(report, outcome="failed", next_deploy=False)
    host.execute(f"umount {STATE}")
    fault.assert_next_deploy_works()


def test_state_directory_is_a_file(fault: Fault) -> None:
    host = fault.use("web1")
    host.execute(f"rm -rf {STATE}; echo garbage >{STATE}")
    fault.remember()
    report = fault.deploy({"version": "2"})
    fault.assert_settled(report, outcome="committed")
    host.execute(f"rm {STATE}.garbage.*")


GARBAGE = f"""
cd {STATE}
last=activations/$(ls -1t activations | head -n 1)
for file in phase boot worker child deadline dead_man request/timeout_activation result/commit_begun; do
    rm -rf $last/$file; head -c 300 /dev/urandom >$last/$file
done
rm -f contact
mkdir -p 'activations/not an id' activations/20200101T000000-empty activations/20200101T000000-link contact
ln -s /nowhere activations/20200101T000000-link/phase
echo garbage >activations/file; echo garbage >new
mkdir -p /run/nixferry/lock; echo garbage >/run/nixferry/lock/file
"""


def test_state_is_garbage(fault: Fault) -> None:
    """What was committed must not be undone because its record can no longer be read."""
    host = fault.use("web2")
    fault.spoil()
    fault.assert_next_deploy_works()
    host.execute(GARBAGE)
    fault.remember()
    report = fault.deploy({"version": "2", **FAULTS["activation_fails"]})
    fault.assert_settled(report, outcome="rolled-back")


@pytest.mark.parametrize(
    ("host", "boot"),
    [pytest.param("web1", "other", id="another boot"), pytest.param("web2", "this", id="this boot")],
)
def test_stale_lock_of(fault: Fault, host: str, boot: str) -> None:
    used = fault.use(host)
    identity = (
        "$(cat /proc/sys/kernel/random/boot_id):$(cut -d ' ' -f 22 /proc/1/stat)" if boot == "this" else "x:1"
    )
    used.execute(
        f"mkdir -p /run/nixferry; echo 20200101T000000-abcdef01 99999 5 {identity} 1577836800 >/run/nixferry/lock"
    )
    fault.assert_settled(fault.deploy({"version": "2"}), outcome="committed")


def test_same_toplevel_twice(fault: Fault) -> None:
    fault.use("web1")
    toplevel = fault.install({"version": "2"})
    assert fault.switch(toplevel)["outcome"] == "committed"
    fault.remember()
    fault.assert_settled(fault.switch(toplevel), outcome="unchanged")


def test_old_generation_by_another_tool(fault: Fault) -> None:
    """As nixos-rebuild does: set the profile, then `switch`."""
    host = fault.use("web2")
    host.install_system(fault.install({"version": "by-hand"}))
    fault.remember()
    fault.assert_settled(fault.deploy({"version": "2", **FAULTS["unit_fails"]}), outcome="rolled-back")


def test_garbage_collection_in_the_middle(fault: Fault) -> None:
    """The old system was only tried: no generation and, once the new one runs, no link of its own leads to it."""
    host = fault.use("web1")
    host.execute("nix-collect-garbage -d")
    old = fault.install({"version": "tried"})
    host.switch(old, "test")
    fault.remember()
    toplevel = fault.install({"version": "2", **FAULTS["stops_sshd"]})
    with fault.switching(toplevel, timeout_confirm=8) as controller:
        fault.wait_for_phase("awaiting-confirmation")
        collected = host.execute("nix-collect-garbage -d")
        report = fault.report(controller)
    assert "freed" in collected.stdout + collected.stderr
    after = fault.assert_settled(report, outcome="rolled-back")
    assert after.runs == old


def test_garbage_collection_after_the_profile_was_set(fault: Fault) -> None:
    """The commit has made the new generation, and fails: the old one has been removed meanwhile."""
    fault.use("web2")
    only_generation(fault)
    collects = {"preSwitchChecks": {"collects": f"case $NIXOS_ACTION in boot) {COLLECT}; false ;; esac"}}
    report = fault.deploy({"version": "2", **collects})
    assert "commit failed" in report["msg"]
    assert_survives_collection(fault, fault.assert_settled(report, outcome="rolled-back", next_deploy=False))


def test_garbage_collection_after_a_reboot_inside_the_deploy(fault: Fault) -> None:
    """The new system has a generation before it is confirmed, and only the old one's link goes."""
    fault.use("web1")
    only_generation(fault)
    toplevel = fault.install({"version": "2", **FAULTS["new_kernel"]})
    check = {"command": f"{COLLECT}; false", "retries": 0, "delay": 0}
    options = {"reboot": "if-required", "timeout_reboot": 60, "timeout_activation": 60}
    report = fault.switch(toplevel, health_checks=[check], **options)
    assert report.get("rebooted"), report
    assert_survives_collection(fault, fault.assert_settled(report, outcome="rolled-back", next_deploy=False))


def test_garbage_collection_while_a_profile_waits(fault: Fault) -> None:
    """The kind whose activation is the new generation."""
    host = fault.use("web2")
    profile = "/nix/var/nix/profiles/collected"
    old = fault.install({"version": "profile-1"})
    options = {"kind": "profile", "profile": profile}
    assert fault.switch(old, **options)["outcome"] == "committed"
    # A collection is about all profiles: what earlier rows have left of the system's goes before the row is judged.
    host.execute("nix-collect-garbage -d")
    new = fault.install({"version": "profile-2"})
    fault.remember()
    check = {"command": f"{COLLECT}; false", "retries": 0, "delay": 0}
    report = fault.switch(new, health_checks=[check], **options)
    assert report["outcome"] == "rolled-back", report
    assert host.ask(f"readlink -e {profile}") == old
    fault.assert_settled(report, outcome="rolled-back", next_deploy=False)
    host.execute("nix-collect-garbage")
    assert host.ask(f"readlink -e {profile}") == old
    assert host.has_path(old)
    host.execute(f"rm -f {profile} {profile}-*-link")
    fault.assert_next_deploy_works()


def assert_survives_collection(fault: Fault, after: HostState) -> None:
    """What runs and boots is still there after another collection, and the next deploy works."""
    fault.host.execute("nix-collect-garbage -d")
    assert fault.host.has_path(after.runs)
    assert fault.host.has_path(after.boots)
    fault.assert_next_deploy_works()


def only_generation(fault: Fault) -> None:
    """Have the host run a system that its profile alone keeps: the image has more roots for the first one."""
    fault.host.install_system(fault.project.build(fault.host.name, {"version": "the-only-one"}))
    fault.host.execute("nix-collect-garbage -d")
    fault.remember()


@pytest.mark.parametrize(
    ("host", "healthy"),
    [pytest.param("web1", True, id="confirmed"), pytest.param("web2", False, id="unhealthy")],
)
def test_third_party_switches_meanwhile(fault: Fault, host: str, healthy: bool) -> None:
    """Another administrator calls another tool while the health checks run."""
    used = fault.use(host)
    third = fault.install({"version": "by-hand"})
    toplevel = fault.install({"version": "2"})
    check = {"command": f"until [ -e /run/by-hand ]; do sleep 0.1; done; {'true' if healthy else 'false'}"}
    checks = [{**check, "retries": 0, "delay": 0, "timeout": 60}]
    with fault.switching(toplevel, health_checks=checks, timeout_confirm=60) as controller:
        fault.wait_for_phase("awaiting-confirmation")
        fault.third_party_switches(third)
        used.execute("touch /run/by-hand")
        report = fault.report(controller)
    used.execute("rm /run/by-hand")
    assert report["other_system"] == third
    assert f"a third party has switched it to: {third}" in report["msg"]
    assert f"a third party has changed the profile {SYSTEM_PROFILE}" in report["msg"]
    fault.assert_settled(report, outcome="failed", new=toplevel)


def test_third_party_changes_what_boots_meanwhile(fault: Fault) -> None:
    """As `nixos-rebuild boot` does: the deploy's system is not confirmed, and the choice is kept."""
    host = fault.use("web1")
    fault.spoil()
    old = fault.before.runs
    third, toplevel = fault.install({"version": "by-hand"}), fault.install({"version": "2"})
    boots = f"nix-env --profile {SYSTEM_PROFILE} --set {third} && {third}/bin/switch-to-configuration boot"
    report = fault.switch(
        toplevel, health_checks=[{"command": boots, "retries": 0, "delay": 0, "timeout": 60}]
    )
    assert report["outcome"] == "rolled-back", report
    assert f"a third party has changed the profile {SYSTEM_PROFILE}" in report["msg"]
    assert host.ask("readlink -e /run/current-system") == old
    assert host.ask(f"readlink -e {SYSTEM_PROFILE}") == third
    assert host.boot_default() == third


def test_specialisation_was_active(fault: Fault) -> None:
    host = fault.use("web2")
    parent = fault.install({"version": "day", "specialisation": {"night": {"version": "night"}}})
    host.install_system(parent)
    host.switch(f"{parent}/specialisation/night", "test")
    before = fault.remember()
    assert before.version == "night"
    report = fault.deploy({"version": "2", **FAULTS["stops_sshd"]})
    fault.assert_settled(report, outcome="rolled-back")


def test_profile_points_elsewhere(fault: Fault) -> None:
    """The profile was set without a switch: neither link is changed by a deploy that fails."""
    host = fault.use("web1")
    host.execute(f"nix-env --profile {SYSTEM_PROFILE} --set {fault.install({'version': 'elsewhere'})}")
    before = fault.remember()
    assert before.profile != before.runs
    fault.assert_settled(fault.deploy({"version": "2", **FAULTS["activation_fails"]}), outcome="rolled-back")
