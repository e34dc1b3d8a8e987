# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reboots inside the activation: the new system is booted once, and the old one stays the default until the end."""

from __future__ import annotations

from typing import Any

import pytest
from fault_rows import Fault
from project import FAULTS

pytestmark = pytest.mark.faults

REBOOT = {"reboot": "if-required", "timeout_reboot": 60, "timeout_activation": 60}
NEW_KERNEL: dict[str, Any] = {"version": "2", **FAULTS["new_kernel"]}


def test_new_kernel(fault: Fault) -> None:
    fault.use("web1")
    boot = fault.host.boot()
    report = fault.deploy(NEW_KERNEL, **REBOOT)
    assert (report.get("rebooted"), report.get("reboot_required")) == (True, False), report
    assert fault.host.boot() != boot
    assert fault.host.booted_system() == report["new"]
    fault.assert_settled(report, outcome="committed")
