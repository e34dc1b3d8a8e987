# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Which values come from Ansible Vault: they must not reach Nix, whose store every user can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible.parsing.vault import VaultHelper

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step


def refuse_vaulted(value: object, *, where: str, step: Step, remedy: str) -> None:
    """Raise ``NixferryError``, naming the place and not the value, when one was encrypted by itself with Vault.

    Values of a file that is encrypted as a whole are not known as such, nor is what was computed from a value.
    """
    if isinstance(value, Mapping):
        for name, each in value.items():
            refuse_vaulted(each, where=f"{where}.{name}", step=step, remedy=remedy)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        for number, each in enumerate(value):
            refuse_vaulted(each, where=f"{where}[{number}]", step=step, remedy=remedy)
    elif VaultHelper.get_ciphertext(value, with_tags=False) is not None:
        raise NixferryError(
            f"{where} comes from Ansible Vault, and what Nix is told may end in its store, which every user can read",
            step=step,
            remedy=remedy,
        )
