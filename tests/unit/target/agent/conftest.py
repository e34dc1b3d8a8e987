# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures for tests of the pull agent."""

from __future__ import annotations

from pathlib import Path

import pytest
from guard_host import Host
from pull_host import make_keys, make_place

from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import SshKey


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SshKey]:
    """Keys of the publisher, and of another one."""
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def place(host: Host, keys: dict[str, SshKey]) -> Path:
    """The agent's state on the host."""
    return make_place(host, keys)
