# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The kinds of systems, as far as the controller has to know them.

How a system of a kind is activated, made permanent and rolled back is the business of its driver on the host,
``target/kinds/<kind>.sh``; ``target/kinds/kind.sh`` says what a driver is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import NixferryError, Step


@dataclass(frozen=True)
class Kind:
    """One sort of system."""

    name: str
    profile: str = ""
    """The default profile link, the same as in the driver (KIND_PROFILE); empty: it must be given."""
    has_boot_default: bool = False
    """Whether a boot loader decides what runs after a power cut. Only such a kind can be booted just once."""
    has_units: bool = False
    """Whether a system brings units of systemd with it, so that the journal says what went on."""
    flake_output: str = ""
    flake_attribute: str = ""
    """The toplevel below ``<flake>#<flake_output>.<name>``; empty: the output itself is the toplevel."""
    activate_command: str = ""
    """The user's command for a profile once it is set. Empty: none."""


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "nixos",
            "/nix/var/nix/profiles/system",
            has_boot_default=True,
            has_units=True,
            flake_output="nixosConfigurations",
            flake_attribute="config.system.build.toplevel",
        ),
        Kind(
            "darwin",
            "/nix/var/nix/profiles/system",
            flake_output="darwinConfigurations",
            flake_attribute="system",
        ),
        Kind(
            "home-manager",
            "~/.local/state/nix/profiles/home-manager",
            has_units=True,
            flake_output="homeConfigurations",
            flake_attribute="activationPackage",
        ),
        Kind(
            "system-manager",
            "/nix/var/nix/profiles/system-manager-profiles/system-manager",
            has_units=True,
            flake_output="systemConfigs",
        ),
        Kind("profile"),
    )
}


def kind_named(name: str) -> Kind:
    """Look up a kind; raises a ``NixferryError`` that lists the known ones."""
    try:
        return KINDS[name]
    except KeyError:
        raise NixferryError(
            f"{name!r} is not a kind of system",
            step=Step.CHOOSE_KIND,
            remedy=f"Use one of {', '.join(KINDS)}.",
        ) from None


def profile_kind(activate_command: str = "") -> Kind:
    """Return the kind ``profile`` with the user's own command, which may be empty.

    The command runs after the profile was set, on activation and on rollback: ``PROFILE`` points to the closure to
    activate and so does ``TOPLEVEL``, which is the old one during a rollback.
    """
    command = activate_command.strip()
    return replace(KINDS["profile"], activate_command=command) if command else KINDS["profile"]
