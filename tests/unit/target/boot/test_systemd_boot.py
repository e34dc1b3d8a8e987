# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's driver for systemd-boot, with files as nixpkgs writes them and stand-ins for its programs."""

from __future__ import annotations

import pytest
from boot_functions import NEW, OLD, answer, answers, call
from guard_host import SHELLS, Host
from guard_systemd_boot import BOOTCTL, efi_variable, with_systemd_boot

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)


@EVERY_SHELL
@pytest.mark.parametrize(
    ("entries", "loader_conf", "entry"),
    [
        pytest.param(
            {
                "loader/entries/nixos-generation-7.conf": OLD,
                "loader/entries/nixos-generation-8.conf": NEW,
                "loader/entries/nixos-generation-8-specialisation-slow.conf": f"{NEW}-slow",
            },
            "timeout 5\ndefault nixos-generation-7.conf\nconsole-mode keep\n",
            "nixos-generation-8.conf",
            id="numbered",
        ),
        pytest.param(
            {"loader/entries/nixos-0ld.conf": OLD, "loader/entries/nixos-n3w+3-1.conf": NEW},
            "timeout 5\npreferred nixos-0ld.conf\ndefault nixos-*\n",
            "nixos-n3w.conf",
            id="hashed-and-counted",
        ),
        pytest.param(
            {"EFI/Linux/nixos-generation-7-0ld.efi": OLD, "EFI/Linux/nixos-generation-8-n3w+2.efi": NEW},
            "default nixos-generation-7-0ld.efi\n",
            "nixos-generation-8-n3w.efi",
            id="unified",
        ),
    ],
)
def test_systemd_boot(host: Host, entries: dict[str, str], loader_conf: str, entry: str) -> None:
    with_systemd_boot(host, entries, loader_conf)
    assert answer(host, "boot_loader") == "systemd_boot"
    assert answer(host, "boot_once_problem") == ""
    assert answer(host, "boot_default") == OLD
    assert answer(host, f"boot_entry {NEW}") == entry
    assert answer(host, "boot_entry /nix/store/other") == ""
    assert call(host, f"boot_once {entry}")[0] == 0
    assert call(host, "forget_boot_once")[0] == 0
    asked = (host.directory / "bootctl").read_text().splitlines()
    assert [line.rstrip() for line in asked if "oneshot" in line] == [f"set-oneshot {entry}", "set-oneshot"]


CHOICE = {
    "loader/entries/nixos-generation-7.conf": OLD,
    "loader/entries/nixos-generation-8.conf": NEW,
    "loader/entries/nixos-generation-8-specialisation-Slow+1.conf": f"{NEW}-slow",
    "loader/entries/memtest86.conf": "",
}


@EVERY_SHELL
@pytest.mark.parametrize(
    ("loader_conf", "variables", "default", "override"),
    [
        ("default nixos-generation-7.conf", {}, OLD, ""),
        # White space that systemd-boot skips
        ("\tdefault \t nixos-generation-7.conf \t", {}, OLD, ""),
        # The last one counts; it has no meaning without its .conf, and then neither does the one before it.
        ("default nixos-generation-8.conf\ndefault nixos-generation-7.conf", {}, OLD, ""),
        ("default nixos-generation-7", {}, "", ""),
        # Names of entries are compared in lower case, without the counter, as patterns.
        ("default NixOS-generation-8-specialisation-slow.conf", {}, f"{NEW}-slow", ""),
        ("default nixos-generation-?.conf", {}, "", ""),
        ("default nixos-*-7.conf", {}, OLD, ""),
        ("default memtest*", {}, "", ""),
        ("default @saved", {}, "", ""),
        # bootctl set-default, or the key d in the menu
        (
            "default nixos-generation-7.conf",
            {"LoaderEntryDefault": "nixos-generation-8.conf"},
            NEW,
            "LoaderEntryDefault",
        ),
        ("default nixos-generation-7.conf", {"LoaderEntryDefault": "nixos-generation-9.conf"}, OLD, ""),
        ("default nixos-generation-7.conf", {"LoaderEntryDefault": "@saved"}, "", "LoaderEntryDefault"),
        ("default nixos-generation-7.conf", {"LoaderEntryDefault": "nixos-*"}, "", "LoaderEntryDefault"),
        (
            "preferred nixos-generation-7.conf",
            {"LoaderEntryDefault": "nixos-generation-8.conf"},
            OLD,
            "",
        ),
        (
            "preferred nixos-generation-7.conf",
            {"LoaderEntryPreferred": "nixos-generation-8.conf"},
            NEW,
            "LoaderEntryPreferred",
        ),
    ],
)
def test_what_chooses_the_default_of_systemd_boot(
    host: Host, loader_conf: str, variables: dict[str, str], default: str, override: str
) -> None:
    with_systemd_boot(host, CHOICE, f"timeout 5\n{loader_conf}\n")
    for name, value in variables.items():
        efi_variable(host, name, f"{value}\0".encode("utf-16-le"))
    found, problem, once_problem = answers(host, "boot_default", "boot_choice_problem", "boot_once_problem")
    assert found == default
    assert override in problem
    assert bool(problem) == bool(override)
    assert bool(once_problem) == (not default or bool(override))


NAMES = {
    "nixos-generation-2.conf": "nixos-generation-2.conf",
    "nixos-generation-2+3.conf": "nixos-generation-2.conf",
    "nixos-generation-2+3-1.conf": "nixos-generation-2.conf",
    "nixos-generation-2+0-3.conf": "nixos-generation-2.conf given up",
    "nixos-generation-2+0.efi": "nixos-generation-2.efi given up",
    "nixos-generation-2-specialisation-a+b.conf": "nixos-generation-2-specialisation-a+b.conf",
    "nixos-generation-2-specialisation-a+b+3-0.conf": "nixos-generation-2-specialisation-a+b.conf",
    "a+3-.conf": "a+3-.conf",
    "a+-3.conf": "a+-3.conf",
    "a+1-2-3.conf": "a+1-2-3.conf",
    "a+0x1.conf": "a+0x1.conf",
    "a+.conf": "a+.conf",
}


@EVERY_SHELL
def test_only_a_counter_at_the_end_is_not_part_of_a_name(host: Host) -> None:
    questions = [
        f"entry_name /boot/{name}; if has_no_tries_left /boot/{name}; then echo given up; fi"
        for name in NAMES
    ]
    found = [" ".join(text.split()) for text in answers(host, *questions)]
    assert dict(zip(NAMES, found, strict=True)) == NAMES


def test_what_was_given_up_is_not_preferred(host: Host) -> None:
    entries = {"loader/entries/nixos-old.conf": OLD, "loader/entries/nixos-new+0-3.conf": NEW}
    with_systemd_boot(host, entries, "preferred nixos-new.conf\ndefault nixos-old.conf\n")
    assert answer(host, "boot_default") == OLD


@pytest.mark.parametrize(
    ("timeout", "variable", "waits"),
    [("5", "", False), ("menu-force", "", True), ("menu-force", "5", False), ("0", "menu-force", True)],
)
def test_a_menu_that_waits_for_a_key(host: Host, timeout: str, variable: str, waits: bool) -> None:
    with_systemd_boot(
        host,
        {"loader/entries/nixos-generation-7.conf": OLD},
        f"timeout {timeout}\ndefault nixos-generation-7.conf\n",
    )
    if variable:
        efi_variable(host, "LoaderConfigTimeout", f"{variable}\0".encode("utf-16-le"))
    assert ("waits in its menu" in answer(host, "boot_once_problem")) == waits
    assert answer(host, "boot_choice_problem") == ""


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("bootctl", "bootctl was not found"),
        ("unmounted", "partition is not mounted"),
        ("features", "too old"),
        ("read-only", "read-only"),
        ("default", "could not be found"),
    ],
)
def test_systemd_boot_that_cannot(host: Host, trouble: str, words: str) -> None:
    entries = {} if trouble == "default" else {"loader/entries/nixos-generation-7.conf": OLD}
    with_systemd_boot(host, entries, "default nixos-generation-7.conf\n")
    if trouble == "bootctl":
        # This machine may have one.
        assert words in answer(host, 'have() { [ "$1" != bootctl ]; }; boot_once_problem')
        return
    elif trouble == "unmounted":
        (host.directory / "boot/efi/loader/loader.conf").unlink()
    elif trouble == "features":
        efi_variable(host, "LoaderFeatures", b"\x07\0\0\0\0\0\0\0")
    elif trouble == "read-only":
        mounts = host.directory / "proc/mounts"
        mounts.write_text("efivarfs /sys/firmware/efi/efivars efivarfs ro,nosuid 0 0\n")
        assert words in answer(host, f"PROC={host.directory}/proc; boot_once_problem")
        return
    assert words in answer(host, "boot_once_problem")


def test_systemd_boot_whose_variables_are_not_kept(host: Host) -> None:
    with_systemd_boot(host, {"loader/entries/nixos-generation-8.conf": NEW}, "default x\n")
    host.program("bootctl", "#!/bin/sh\nexit 0\n")
    assert call(host, "boot_once nixos-generation-8.conf")[0] != 0
    host.fault("bootctl")
    host.program("bootctl", BOOTCTL)
    assert call(host, "boot_once nixos-generation-8.conf")[0] != 0


@EVERY_SHELL
def test_what_makes_later_installations_fail_is_removed(host: Host) -> None:
    """A power cut between the making of loader.tmp and its renaming; the file of the default stays."""
    entries = {"loader/entries/nixos-generation-7.conf": OLD}
    with_systemd_boot(host, entries, "default nixos-generation-7.conf\n")
    loader = host.directory / "boot/efi/loader"
    others = 'lock_is_held() { [ -e "$HOST/locked" ]; }; note() { echo "$1"; }'
    clear = f"KIND_HAS_BOOT_DEFAULT=1; {others}; prepare_boot_places"
    assert call(host, clear) == (0, "")
    (loader / "loader.tmp").write_text("timeout 5\n")
    (host.directory / "locked").touch()
    assert call(host, clear) == (0, "")
    assert (loader / "loader.tmp").exists()
    (host.directory / "locked").unlink()
    status, output = call(host, clear)
    assert status == 0
    assert "loader/loader.tmp, left by an installation" in output
    assert [path.name for path in loader.iterdir()] == ["loader.conf"]
    assert answer(host, "boot_default") == OLD


@EVERY_SHELL
@pytest.mark.parametrize(
    ("version", "default"), [("260", OLD), ("261.2-1~deb14u1", OLD), ("257.13-1~deb13u1", "")]
)
def test_an_old_loader_knows_no_preferred_entry(host: Host, version: str, default: str) -> None:
    """Then the pattern counts, which both entries match."""
    entries = {"loader/entries/nixos-0ld.conf": OLD, "loader/entries/nixos-n3w.conf": NEW}
    with_systemd_boot(host, entries, "preferred nixos-0ld.conf\ndefault nixos-*\n", version=version)
    assert answer(host, "boot_default") == default
