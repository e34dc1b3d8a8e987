# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Documentation of the options that name a fleet whose secrets must not be in what is made."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the actions that look for declared secrets in a system."""

    DOCUMENTATION = r"""
options:
  fleet:
    description: Look also for the secrets that this fleet file declares for the host.
    type: raw
  fleet_format:
    description: The format of O(fleet).
    type: str
    choices: [auto, nixops, morph, nixus, colmena, deploy-rs, nixos, darwin, home-manager]
  args:
    description: The arguments of functions in O(fleet).
    type: dict
    default: {}
  argstrs:
    description: The same as strings.
    type: dict
    default: {}
  include:
    description: Entries of the search path of Nix for O(fleet).
    type: list
    elements: str
    default: []
  override_inputs:
    description: Other inputs for a flake in O(fleet).
    type: dict
    default: {}
  impure:
    description: Whether the evaluation of a flake in O(fleet) is impure.
    type: bool
    default: false
"""
