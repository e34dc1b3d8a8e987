# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Addresses, users and ports from fleet files, which become connection variables of Ansible.

Ansible passes them to ssh as they are, and ssh reads a host that begins with a dash as an option, which may run a
command on the controller. The forms are those that ``valid_hostname`` and ``valid_ruser`` in ssh.c of OpenSSH 9.6
accept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

from .listing import FleetListing
from .outputs import STEP

LONGEST = 255
LAST_PORT = 65535
_SSH_URL = re.compile(r"ssh://", re.IGNORECASE)
# A scope of an IPv6 address follows a percent sign; `%h` in a ProxyCommand would get the whole name.
_HOST = re.compile(r"(?!-)[^\s\x00-\x1f\x7f'\"`$\\;&<>|(){},]+")
_USER = re.compile(r"(?!-)(?:(?!\s-)[^\x00-\x1f\x7f'\"`$;&<>|(){}])+(?<!\\)")
# The name of a host is not always its address.
_NAME = re.compile(r"(?!-)[^\x00-\x1f\x7f]+")
_WEB = re.compile(r"https?://", re.IGNORECASE)
_PROGRAM = re.compile(r"/?[0-9A-Za-z_+.][0-9A-Za-z_+.-]*(/[0-9A-Za-z_+.-]+)*")
_REMEDY = (
    "Change it in the fleet file: no leading dash, space or quote, and nothing that has a meaning to a shell."
)


def split_address(address: str) -> tuple[str, str, int | None]:
    """Return user, host and port of ``user@host`` or ``ssh://user@host:port``; empty and None if missing.

    Raises ``ValueError`` for a URL that is malformed, or whose port is not a port.
    """
    if _SSH_URL.match(address):
        parts = urlsplit(address)
        return unquote(parts.username or ""), parts.hostname or "", parts.port
    user, _at, host = address.rpartition("@")
    return user, host, None


def check_connections(listing: FleetListing) -> None:
    """Raise ``NixferryError`` for the first host whose name or login settings are not valid.

    All formats of fleet files pass here, and so does a listing from a cache.
    """
    for name in (*listing.hosts, *listing.errors):
        if not _fits(_NAME, name):
            raise _invalid(name, "name", name)
    for name, host in listing.hosts.items():
        if not host["left_out"]:
            _check_connection(name, host)


def _check_connection(name: str, host: Mapping[str, Any]) -> None:
    try:
        user, address, port = split_address(str(host["target_host"] or ""))
    except ValueError:
        raise _invalid(name, "address", str(host["target_host"])) from None
    if not address:
        # Then Ansible connects to the name.
        address = name.rpartition("@")[2] if host["kind"] == "home-manager" else name
    if not _fits(_HOST, address):
        raise _invalid(name, "address", address)
    for found in _users(name, host, user):
        if not _fits(_USER, found):
            raise _invalid(name, "user", found)
    for number in (host["target_port"], port):
        whole = isinstance(number, int) and not isinstance(number, bool)
        if number is not None and not (whole and 1 <= number <= LAST_PORT):
            raise _invalid(name, "port", str(number))
    for check in (*host["health_checks"], *host["pre_deploy_checks"]):
        # The controller opens it; its library knows file: and ftp: as well.
        if "url" in check and not _WEB.match(str(check["url"])):
            raise _invalid(name, "address of a health check", str(check["url"]))
    command = host["privilege_escalation_command"]
    if command and not _fits(_PROGRAM, str(command[0])):
        raise _invalid(name, "program that becomes another user", str(command[0]))


def _users(name: str, host: Mapping[str, Any], user: str) -> Iterator[str]:
    """Yield all users that the host names."""
    if host["kind"] == "home-manager" and "@" in name:
        yield name.rpartition("@")[0]
    profiles = host.get("further_profiles", ())
    named = (user, host["target_user"], host.get("escalate_to"))
    for found in (*named, *(profile[key] for profile in profiles for key in ("user", "login_user"))):
        if found:
            yield str(found)


def _fits(form: re.Pattern[str], value: str) -> bool:
    return len(value) <= LONGEST and form.fullmatch(value) is not None


def _invalid(name: str, what: str, value: str) -> NixferryError:
    shown = value if len(value) <= LONGEST else f"{value[:LONGEST]}..."
    return NixferryError(
        f"the {what} {shown!r} of the host {name[:LONGEST]!r} is not valid", step=STEP, remedy=_REMEDY
    )
