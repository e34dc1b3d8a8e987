# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible data as a Nix expression. Documented in plugins/filter/to_nix.yml."""

from __future__ import annotations

from collections.abc import Callable

from ansible.errors import AnsibleFilterError

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.vault import refuse_vaulted
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.literal import nix_literal


def to_nix(value: object, allow_vaulted: bool = False) -> str:
    """``value`` as a Nix literal that can stand anywhere in an expression."""
    try:
        if not allow_vaulted:
            refuse_vaulted(
                value,
                where="the value",
                step=Step.TO_NIX,
                remedy="Bring secrets to the host by other means than its system; allow_vaulted=true is for files "
                "that no build reads.",
            )
        return nix_literal(value)
    except NixferryError as error:
        # Ansible would append the cause, which the text holds already.
        raise AnsibleFilterError(f"to_nix: {error.cause}. {error.remedy}".rstrip()) from None


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Names and functions, as Ansible wants them."""
        return {"to_nix": to_nix}
