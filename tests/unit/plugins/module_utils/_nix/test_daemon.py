# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd says about the Nix daemon, and that its silence is not an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.module_utils._nix import daemon
from ansible_collections.nixferry.deploy.plugins.module_utils._nix.daemon import (
    UNIT,
    DaemonError,
    Service,
    service,
)


class Module:
    """As much of AnsibleModule as `service` uses."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get_bin_path(self, name: str) -> str | None:
        file = self._directory / name
        return str(file) if file.exists() else None


def told(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Service:
    systemctl = directory / "systemctl"
    systemctl.write_text(f"#!/bin/sh\n{script}\n")
    systemctl.chmod(0o755)
    monkeypatch.setattr(daemon, "BOOTED_BY_SYSTEMD", str(directory))
    return service(Module(directory))


@pytest.mark.parametrize(
    ("load", "active", "expected"),
    [
        ("loaded", "active", Service("systemd", UNIT, True)),
        ("loaded", "inactive", Service("systemd", UNIT, False)),
        ("loaded", "failed", Service("systemd", UNIT, False)),
        ("masked", "inactive", Service("systemd", UNIT, False)),
        ("not-found", "inactive", Service("systemd", "", False)),
    ],
)
def test_what_systemd_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: str, active: str, expected: Service
) -> None:
    assert told(tmp_path, monkeypatch, f"echo LoadState={load}; echo ActiveState={active}") == expected


@pytest.mark.parametrize(
    "script",
    [
        "echo 'Failed to connect to bus: No such file or directory' >&2; exit 1",
        "kill -9 $$",
        "exit 0",
        "echo nonsense",
    ],
)
def test_silence_is_not_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    with pytest.raises(DaemonError, match="does not tell whether"):
        told(tmp_path, monkeypatch, script)


def test_a_machine_without_systemd_has_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "BOOTED_BY_SYSTEMD", str(tmp_path / "none"))
    assert service(Module(tmp_path)) == Service("", "", False)
