# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard's functions for boot loaders on real firmware with real boot loaders: what they say is what boots.

Of the layouts and scenarios, a commit runs one in TURNS. A boot takes some 20 seconds of a processor.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from machine import Story, go_through, machine

SYSTEMD_BOOT = ("/boot", "/efi+/boot", "/efi", "/boot/efi")
GRUB = ("grub-efi", "grub-bios")
# Entries that are called after their contents, as since 2025
HASHED = ("/boot", "names hash")
TURNS = 6

Tell = Callable[..., Story]


@pytest.fixture
def tell(tmp_path: Path) -> Tell:
    """Let a guest with a layout act by a scenario to its end; return what it has told."""

    def told(layout: str, scenario: str, *settings: str) -> Story:
        name = f"nixferry-lab-vm-{os.getpid()}-{secrets.token_hex(3)}"
        with machine(name, layout, scenario, tmp_path, settings) as guest:
            story = go_through(guest)
        failed = [told["FAILED"] for told in story.told.values() if "FAILED" in told]
        assert not failed, story.serial
        return story

    return told


@pytest.mark.takes_turns(TURNS, among="boot loaders")
@pytest.mark.parametrize(
    ("layout", "settings"),
    [*((layout, ()) for layout in (*SYSTEMD_BOOT, *GRUB)), pytest.param(HASHED[0], HASHED[1:], id="hashed")],
)
def test_a_system_is_booted_once(tell: Tell, layout: str, settings: tuple[str, ...]) -> None:
    """Whatever happens to it: a power cut before it is booted, then a panic. Three boots."""
    story = tell(layout, "one-shot", *settings)
    assert story.systems() == ["sys1", "sys2", "sys1"], story.serial
    for boot, told in story.told.items():
        assert told["loader"] == ("grub" if layout in GRUB else "systemd_boot")
        assert told["default"] == "/lab/sys1"
        assert told.get("once_problem", "") == ""
        # The boot loader has forgotten the mark before the system starts.
        assert told["marked"] == "", boot
    assert "once_problem" in story.told[1]
    marked = (
        "1>1" if layout in GRUB else r"nixos-[0-9a-f]{64}\.conf" if settings else r"nixos-generation-2\.conf"
    )
    assert re.fullmatch(marked, story.told[1]["marked_now"])
    assert story.told[1]["forgotten_now"] == ""
    panics = story.serial.count("Kernel panic")
    assert panics == 1, story.serial


@pytest.mark.takes_turns(TURNS, among="boot loaders")
@pytest.mark.parametrize("layout", SYSTEMD_BOOT[:2])
def test_what_boots_by_default_is_known(tell: Tell, layout: str) -> None:
    """What the guard says is the default is what systemd-boot boots next, whatever chooses it.

    Six boots.
    """
    story = tell(layout, "systemd-boot")
    told = story.told
    assert told[1]["default_now"] == "/lab/sys2"
    assert "LoaderEntryDefault" in told[1]["problem_now"]
    assert told[2]["system"] == "/lab/sys2"
    assert "bootctl set-default" in told[2]["once_problem"]
    assert told[2]["problem_now"] == ""
    assert told[2]["entry_now"] == "nixos-generation-2-specialisation-A+b.conf"
    assert told[3]["system"] == "/lab/sys2"
    assert told[3]["entry_now"] == "nixos-generation-2.conf"
    assert told[4]["system"] == "/lab/sys2"
    # systemd-boot has counted the boot.
    assert "nixos-generation-2+2-1.conf" in told[4]["counted"]
    assert told[4]["several_now"] == ""
    assert told[4]["default_now"] == told[5]["system"] == "/lab/sys2"
    assert told[5]["default_now"] == ""
    assert "read-only" in told[5]["read_only_now"]
    assert "not mounted" in told[5]["unmounted_now"]
    assert "/etc/fstab" in told[5]["absent_now"]
    assert "EFI variables cannot be read" in told[5]["hidden_now"]
    # The power went while a new default was written.
    assert told[6]["system"] == told[6]["default"] == "/lab/sys1"
