# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Which key may log in where, as variables of Ansible say it: one description for a fleet.

The names are those of the option ``ssh.access`` of nixus. ``nix/fleet/access.nix`` gives each host its part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.options import checked_options
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.literal import nix_literal

STEP = Step.READ_ACCESS
_HOST: dict[str, Any] = {
    "hostKeys": {"type": "dict", "default": {}},
    "hostNames": {"type": "list", "elements": "str", "default": []},
    "keys": {"type": "dict", "default": {}},
}
_KEY: dict[str, Any] = {
    "publicKey": {"type": "str", "required": True},
    "hasAccessTo": {"type": "dict", "default": {}},
}
# What the first word of a public key can be; options before it would not be a key of a known host.
_KEY_TYPES = ("ssh-", "ecdsa-", "sk-")


def access_literal(access: Mapping[str, Any]) -> str:
    """``access`` as a Nix literal: a definition of the option nixferry.sshAccess (``nix/fleet/access.nix``).

    What is asked for beyond its form, such as host keys of those whom others log in to, is checked there, since a fleet
    file may say the rest. Raises ``NixferryError`` for what is not understood.
    """
    hosts = {
        str(name): checked_options(_HOST, host, where=f"ssh_access.{name}", step=STEP)
        for name, host in access.items()
    }
    return nix_literal({name: _host(host, f"ssh_access.{name}") for name, host in hosts.items()})


def _host(host: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What was given of a host, with every key as one line."""
    return {
        "hostKeys": {
            str(name): _public_key(key, f"{where}.hostKeys.{name}") for name, key in host["hostKeys"].items()
        },
        "hostNames": list(host["hostNames"]),
        "keys": {str(name): _key(key, f"{where}.keys.{name}") for name, key in host["keys"].items()},
    }


def _key(key: object, where: str) -> dict[str, Any]:
    checked = checked_options(_KEY, key, where=where, step=STEP)
    for target, users in checked["hasAccessTo"].items():
        if not isinstance(users, Mapping):
            raise NixferryError(f"{where}.hasAccessTo.{target} is no dictionary of users", step=STEP)
        for user, allowed in users.items():
            if not isinstance(allowed, bool):
                raise NixferryError(
                    f"{where}.hasAccessTo.{target}.{user} is neither true nor false", step=STEP
                )
    public = _public_key(checked["publicKey"], f"{where}.publicKey")
    return {"publicKey": public, "hasAccessTo": checked["hasAccessTo"]}


def _public_key(given: object, where: str) -> str:
    """A public key without the end of its line."""
    key = str(given).strip()
    if not key.startswith(_KEY_TYPES) or "\n" in key or len(key.split()) < 2:
        # Whoever puts a private key here by mistake does not want to read it in a log.
        raise NixferryError(f"{where} is not the one line of a public key", step=STEP)
    return key
