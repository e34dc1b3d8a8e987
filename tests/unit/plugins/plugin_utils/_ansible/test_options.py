# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that an action does not have."""

from __future__ import annotations

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.options import refuse_unknown_options
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

SPECIFICATION = {"flake": {"type": "str"}, "toplevel": {"type": "str", "aliases": ["path"]}}


def test_known_options_and_aliases() -> None:
    refuse_unknown_options(SPECIFICATION, ["flake", "path"], action="nixferry.deploy.nix_build")


def test_unknown_options_are_named_with_what_may_be_meant() -> None:
    with pytest.raises(NixferryError) as raised:
        refuse_unknown_options(SPECIFICATION, ["flak", "zzz", "path"], action="nixferry.deploy.nix_build")
    assert raised.value.cause == (
        "flak is not an option of nixferry.deploy.nix_build: did you mean flake? "
        "zzz is not an option of nixferry.deploy.nix_build."
    )
    assert "ansible-doc nixferry.deploy.nix_build" in raised.value.remedy
