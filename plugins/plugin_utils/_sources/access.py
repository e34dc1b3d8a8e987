# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""SSH access between hosts from Ansible variables: one description for a fleet.

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
# The first word of a public key; options before it would not be a key of a known host.
_KEY_TYPES = ("ssh-", "ecdsa-", "sk-")


def access_literal(access: Mapping[str, Any]) -> str:
    """Return ``access`` as a Nix literal: a definition of the option nixferry.sshAccess (``nix/fleet/access.nix``).

    Further requirements, such as host keys of destinations, are checked there, since the fleet file may define the
    rest. Raises ``NixferryError`` for an invalid form.
    """
    hosts = {
        str(name): checked_options(_HOST, host, where=f"ssh_access.{name}", step=STEP)
        for name, host in access.items()
    }
    return nix_literal({name: _host(host, f"ssh_access.{name}") for name, host in hosts.items()})


def _host(host: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the description of a host, with every key as one line."""
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
            raise NixferryError(f"{where}.hasAccessTo.{target} is not a dictionary of users", step=STEP)
        for user, allowed in users.items():
            if not isinstance(allowed, bool):
                raise NixferryError(
                    f"{where}.hasAccessTo.{target}.{user} is neither true nor false", step=STEP
                )
    public = _public_key(checked["publicKey"], f"{where}.publicKey")
    return {"publicKey": public, "hasAccessTo": checked["hasAccessTo"]}


def _public_key(given: object, where: str) -> str:
    """Return a public key without its newline."""
    key = str(given).strip()
    if not key.startswith(_KEY_TYPES) or "\n" in key or len(key.split()) < 2:
        # Never quote the value: it may be a private key by mistake.
        raise NixferryError(f"{where} is not the one line of a public key", step=STEP)
    return key
