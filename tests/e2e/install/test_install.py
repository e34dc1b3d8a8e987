# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first installation of a machine: what is destroyed, what is refused, what goes on after a fault."""

from __future__ import annotations

import pytest
from installers import Installer, boot_installer
from lab import LabHost
from project import Project

ROLE = "nix_install"


@pytest.fixture
def installer(fresh1: LabHost, project: Project) -> Installer:
    return boot_installer(fresh1, project)


def test_a_machine_becomes_a_host(installer: Installer) -> None:
    host = installer.host
    before = installer.known_hosts
    done = installer.install().assert_ok()

    toplevel = installer.project.build(host.name)
    assert host.current_system() == host.booted_system() == host.boot_default() == toplevel
    assert host.profile() == toplevel
    result = done.result("Boot the new system")
    assert result["rebooted"]
    key = host.ask("cut -d ' ' -f 1,2 /etc/ssh/ssh_host_ed25519_key.pub")
    assert result["host_keys"] == [key]
    assert key in installer.known_hosts
    assert before != installer.known_hosts

    again = installer.install().assert_ok()
    assert again.changed(host.name) == []
    assert again.result("Look at the machine and its disks")["state"] == "managed"
    assert installer.formatted() == 1
