# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The new system is at fault: it locks everybody out, or fails, or hangs."""

from __future__ import annotations

import pytest
from fault_rows import Fault
from project import FAULTS

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(
    ("host", "name", "says"),
    [
        pytest.param("web1", "stops_sshd", "confirm", id="stops sshd"),
        pytest.param("web2", "activation_fails", "exit code 2", id="fails its activation (2)"),
        pytest.param("web1", "unit_fails", "broken.service", id="fails a unit (4)"),
    ],
)
def test_new_system(fault: Fault, host: str, name: str, says: str) -> None:
    fault.use(host)
    report = fault.deploy({"version": "2", **FAULTS[name]})
    assert says in report["msg"]
    assert "What to do" in report["msg"]
    fault.assert_settled(report, outcome="rolled-back")
