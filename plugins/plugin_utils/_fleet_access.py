# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Which key may log in where: one description for a fleet, of which each host gets its part.

The names are those of the option ``ssh.access`` of nixus.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.nixferry.deploy.plugins.plugin_utils._errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix_literal import nix_literal

STEP = "read the access to hosts"
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


@dataclass(frozen=True)
class _Login:
    """The holder of ``key``, who is at home on ``source``, may log in as ``user`` on ``target``."""

    source: str
    key: str
    target: str
    user: str


def access_literal(access: Mapping[str, Any]) -> str:
    """What each host gets of ``access``, as a Nix literal for the adapters of fleet files.

    Raises ``NixferryError`` for what is not understood, and for a host that others log in to without host keys.
    """
    hosts = {str(name): _validated(_HOST, host, f"ssh_access.{name}") for name, host in access.items()}
    logins = list(_logins(hosts))
    authorized: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    known: dict[str, dict[str, Any]] = defaultdict(dict)
    for login in logins:
        keys = authorized[login.target][login.user]
        if login.key not in keys:
            keys.append(login.key)
        known[login.source].update(_known_hosts(hosts, login))
    return nix_literal(
        {
            "authorized_keys": {host: dict(users) for host, users in authorized.items()},
            "known_hosts": dict(known),
        }
    )


def _logins(hosts: Mapping[str, Mapping[str, Any]]) -> Iterator[_Login]:
    for source, host in hosts.items():
        for name, key in host["keys"].items():
            where = f"ssh_access.{source}.keys.{name}"
            checked = _validated(_KEY, key, where)
            public = _public_key(checked["publicKey"], f"{where}.publicKey")
            for target, users in checked["hasAccessTo"].items():
                if not isinstance(users, Mapping):
                    raise NixferryError(f"{where}.hasAccessTo.{target} is no dictionary of users", step=STEP)
                for user, allowed in users.items():
                    if not isinstance(allowed, bool):
                        raise NixferryError(
                            f"{where}.hasAccessTo.{target}.{user} is neither true nor false", step=STEP
                        )
                    if allowed:
                        yield _Login(source, public, str(target), str(user))


def _known_hosts(hosts: Mapping[str, Mapping[str, Any]], login: _Login) -> dict[str, Any]:
    target = hosts.get(login.target, {"hostKeys": {}, "hostNames": []})
    if not target["hostKeys"]:
        raise NixferryError(
            f"ssh_access.{login.target}.hostKeys is empty, but {login.source} is to log in there",
            step=STEP,
            remedy="Give the public host key, as /etc/ssh/ssh_host_ed25519_key.pub of the host has it.",
        )
    names = [login.target, *target["hostNames"], *(["localhost"] if login.source == login.target else [])]
    return {
        f"{login.target}-{name}": {
            "hostNames": names,
            "publicKey": _public_key(key, f"ssh_access.{login.target}.hostKeys.{name}"),
        }
        for name, key in target["hostKeys"].items()
    }


def _public_key(given: object, where: str) -> str:
    """A public key without the end of its line."""
    key = str(given).strip()
    if not key.startswith(_KEY_TYPES) or "\n" in key or len(key.split()) < 2:
        # Whoever puts a private key here by mistake does not want to read it in a log.
        raise NixferryError(f"{where} is not the one line of a public key", step=STEP)
    return key


def _validated(specification: Mapping[str, Any], given: object, where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise NixferryError(f"{where} is not a dictionary", step=STEP)
    validated = ArgumentSpecValidator(dict(specification)).validate(dict(given))
    if validated.error_messages:
        raise NixferryError(f"{where}: {'; '.join(validated.error_messages)}", step=STEP)
    checked: dict[str, Any] = validated.validated_parameters
    return checked
