# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A disk answers with I/O errors (EIO) in the middle of a deploy. See `bad_disk` for how real they are."""

from __future__ import annotations

from typing import Any

import pytest
from bad_disk import FSYNC, READ, WRITE, Disk, bad_disk, forget_what_was_read
from fault_rows import Fault
from fault_systems import FAULTS
from holds import SET_PROFILE, activation_of, hold, install_holds, patient_system, release, wait_reached
from lab import SYSTEM_PROFILE

pytestmark = pytest.mark.faults

STATE = "/var/lib/nixferry"
PROFILES = SYSTEM_PROFILE.rpartition("/")[0]
NEW = "on-a-dying-disk"
# Reads wait for the disk of other tests as well, and so may all of these.
OPTIONS = {"timeout_activation": 60, "timeout_confirm": 15}


def deploy_while_it_dies(
    fault: Fault, disk: Disk, place: str, *broken: int, **options: Any
) -> dict[str, Any]:
    """Deploy a system; the disk answers these requests with errors from the moment when the deploy is at `place`."""
    host = fault.host
    toplevel = fault.install(patient_system(NEW, **options))
    hold(host, place)
    with fault.switching(toplevel, **OPTIONS) as controller:
        wait_reached(host, place)
        fault.strikes()
        disk.breaks(*broken)
        if READ in broken:
            forget_what_was_read()
        release(host)
        report = fault.report(controller)
    assert disk.failures, "nothing was refused"
    return report


def test_disk_of_the_state_directory_takes_no_writes(fault: Fault) -> None:
    """They seem to succeed, since they end in main memory: only the flush fails. So the system is not committed."""
    host = fault.use("web1")
    install_holds(host)
    fault.spoil()
    with bad_disk(host, STATE) as disk:
        fault.remember()
        report = deploy_while_it_dies(fault, disk, activation_of(NEW), WRITE, FSYNC)
        assert f"the state directory {STATE}" in report["msg"], report["msg"]
        fault.assert_settled(report, outcome="rolled-back", next_deploy=False)
    fault.assert_next_deploy_works()


def test_disk_of_the_state_directory_dies_while_a_system_locks_out(fault: Fault) -> None:
    """Neither the record of the deploy nor the guard's own program can be read any more, and logins fail."""
    host = fault.use("web2")
    install_holds(host)
    fault.spoil()
    with bad_disk(host, STATE) as disk:
        fault.remember()
        report = deploy_while_it_dies(
            fault, disk, activation_of(NEW), READ, WRITE, FSYNC, **FAULTS["stops_sshd"]
        )
        assert f"the state directory {STATE} takes no files" in report["msg"], report["msg"]
        disk.breaks()
        fault.assert_settled(report, outcome="rolled-back", next_deploy=False)
    fault.assert_next_deploy_works()


def test_disk_of_the_profile_dies(fault: Fault) -> None:
    """The commit can neither set nor read the profile, and the roll back cannot read it either."""
    host = fault.use("web1")
    install_holds(host)
    fault.spoil()
    with bad_disk(host, PROFILES) as disk:
        fault.remember()
        report = deploy_while_it_dies(fault, disk, SET_PROFILE, READ, WRITE, FSYNC)
        assert "third party" not in report["msg"], report["msg"]
        assert host.current_system() == fault.before.runs
        disk.breaks()
        fault.assert_settled(report, outcome=("rolled-back", "failed"), next_deploy=False)
    fault.assert_next_deploy_works()
