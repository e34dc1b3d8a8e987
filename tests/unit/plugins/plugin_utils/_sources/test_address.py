# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fleet file says about the login cannot become an option of ssh or a command."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.address import check_connections
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.listing import FleetListing

SILENT: dict[str, Any] = {
    "kind": "nixos",
    "target_host": None,
    "target_port": None,
    "target_user": None,
    "privilege_escalation_command": [],
    "health_checks": [],
    "pre_deploy_checks": [],
    "left_out": None,
}
OPTION = "-oProxyCommand=touch hacked"
HOSTILE = [
    OPTION,
    "-v",
    "a;id",
    "$(id)",
    "`id`",
    "a|b",
    "a&b",
    "a>b",
    "a'b",
    'a"b',
    "a\nb",
    "a\0b",
    "x" * 256,
]


def listing(hosts: dict[str, Any], errors: dict[str, NixferryError] | None = None) -> FleetListing:
    described = {name: {**SILENT, **host} for name, host in hosts.items()}
    return FleetListing(("/srv/network.nix",), "nixops", {}, described, errors or {})


def refused(what: str, name: str = "web1", /, **host: Any) -> None:
    with pytest.raises(NixferryError, match=f"the {what} .* of the host .* is not valid") as error:
        check_connections(listing({"good": {}, name: host}))
    assert "fleet file" in error.value.remedy
    # The file may leave the host out, since Ansible never sees it then.
    if what != "name":
        check_connections(listing({name: {**host, "left_out": "it is not enabled"}}))


@pytest.mark.parametrize("text", [*HOSTILE, "a b", "a\\b", "a,b", "a(b"])
def test_hostile_addresses(text: str) -> None:
    refused("address", target_host=text)
    refused("address", target_host=f"root@{text}")


@pytest.mark.parametrize("text", [*HOSTILE, "a -b", "a\\"])
def test_hostile_users(text: str) -> None:
    refused("user", target_user=text)
    refused("user", target_host=f"{text}@web1")
    refused("user", escalate_to=text)
    profile = {"name": "x", "user": None, "login_user": None, "profile_path": None}
    refused("user", further_profiles=[{**profile, "user": text}])
    refused("user", further_profiles=[{**profile, "login_user": text}])


def test_hostile_urls() -> None:
    refused("address", target_host="ssh://-oProxyCommand=x")
    refused("user", target_host="ssh://-oProxyCommand=x@web1")
    refused("user", target_host="ssh://a%0ab@web1")
    refused("address", target_host="ssh://web1:70000")
    refused("address", target_host="ssh://[web1")


@pytest.mark.parametrize("port", [0, -1, 65536, "22", "22 -v", True, 1.5])
def test_hostile_ports(port: object) -> None:
    refused("port", target_port=port)


@pytest.mark.parametrize("word", ["/bin/sudo;id", "$(id)", "a b", "/a//b/", "-x y", "sudo\n"])
def test_hostile_programs(word: str) -> None:
    refused("program that becomes another user", privilege_escalation_command=[word, "-u"])


@pytest.mark.parametrize("when", ["health_checks", "pre_deploy_checks"])
@pytest.mark.parametrize(
    "url", ["file://:80/etc/shadow", "ftp://x:21/", "://", "file:///etc/passwd?http://x"]
)
def test_hostile_health_checks(when: str, url: str) -> None:
    refused("address of a health check", **{when: [{"url": "https://web1:443/"}, {"url": url}]})


@pytest.mark.parametrize("name", [OPTION, "-v", "a\nb", "x" * 256])
def test_hostile_names(name: str) -> None:
    refused("name", name, target_host="192.0.2.1")
    with pytest.raises(NixferryError, match="the name"):
        check_connections(listing({}, errors={name: NixferryError("broken", step="read the fleet")}))


def test_a_name_is_an_address_if_there_is_no_other() -> None:
    refused("address", "web 1")
    check_connections(listing({"web 1": {"target_host": "192.0.2.1"}}))
    refused("user", "$(id)@web1", kind="home-manager")
    refused("address", "alice@-v", kind="home-manager")


USUAL = (
    "web1 web-1.example.org 192.0.2.1 2001:db8::1 fe80::1%eth0 my_alias web1. b\u00fccher.example alice@web1"
)
URLS = "ssh://al%20ice@web1:2222 ssh://[2001:db8::1] DOMAIN\\alice@web1 a@b@web1"


@pytest.mark.parametrize("address", [*USUAL.split(), *URLS.split(), None])
def test_usual_addresses(address: str | None) -> None:
    command = ["/run/wrappers/bin/sudo", "-u"]
    host = {"target_host": address, "target_port": 2222, "target_user": "al.ice-1", "escalate_to": "web"}
    check_connections(listing({"web1": {**host, "privilege_escalation_command": command}}))
    check_connections(listing({"alice@web1": {"kind": "home-manager"}}))
