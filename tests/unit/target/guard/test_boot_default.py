# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose boot default is not what a system installs: nothing is committed that would not boot."""

from __future__ import annotations

import pytest
from guard_host import Host
from guard_systemd_boot import efi_variable, with_systemd_boot

from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import GuardRefusal


def set_default(host: Host) -> None:
    """What `bootctl set-default` does."""
    with_systemd_boot(
        host,
        {"loader/entries/nixos-generation-1.conf": host.current},
        "default nixos-generation-1.conf\n",
    )
    efi_variable(host, "LoaderEntryDefault", "nixos-generation-1.conf\0".encode("utf-16-le"))


@pytest.mark.parametrize("action", ["switch", "boot"])
def test_what_would_not_boot_is_not_begun(host: Host, action: str) -> None:
    set_default(host)
    new = host.toplevel("new")
    with pytest.raises(GuardRefusal, match="LoaderEntryDefault chooses what boots") as refusal:
        host.start(new, action=action)
    assert refusal.value.code == "no_boot_default"
    assert "bootctl set-default" in str(refusal.value)
    assert host.actions == []
    assert not list(host.state.glob("activations/*"))
    # The lock is free again.
    assert host.probe().lock_holder is None
    (host.directory / "sys/firmware/efi/efivars").joinpath(
        "LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
    ).unlink()
    assert host.deploy(new).phase == "committed"


def test_a_test_leaves_the_boot_default_alone(host: Host) -> None:
    set_default(host)
    assert host.deploy(host.toplevel("new"), action="test").phase == "committed"


def test_check_mode_knows_it(host: Host) -> None:
    set_default(host)
    assert "LoaderEntryDefault" in host.probe(toplevel=host.toplevel("new")).boot_default_problem
    assert "LoaderEntryDefault" in host.probe(toplevel=f"{host.directory}/store/absent").boot_default_problem
    assert host.probe(toplevel=host.current).boot_default_problem == ""
