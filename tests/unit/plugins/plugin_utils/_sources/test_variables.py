# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import HEALTH_CHECK_OPTIONS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.address import split_address
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.inventory_options import (
    fleet_options,
    selected,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.listing import FleetListing
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.variables import (
    HostVariables,
    health_check,
    host_variables,
    left_out,
    other_access,
    shared_addresses,
    shared_warnings,
)

SILENT: dict[str, Any] = {
    "kind": "nixos",
    "target_host": None,
    "target_port": None,
    "target_user": None,
    "ssh_options": [],
    "privilege_escalation_command": [],
    "tags": [],
    "owners": [],
    "build_on_target": False,
    "substitute_on_destination": None,
    "health_checks": [],
    "pre_deploy_checks": [],
    "ssh_access": None,
    "keys": {},
    "left_out": None,
}


def listing(hosts: dict[str, Any], **fields: Any) -> FleetListing:
    settings: dict[str, Any] = {"words": ("/srv/network.nix",), "format": "nixops", "meta": {}, **fields}
    return FleetListing(hosts={name: {**SILENT, **host} for name, host in hosts.items()}, **settings)


def told(name: str = "web1", /, meta: dict[str, Any] | None = None, **host: Any) -> HostVariables:
    return host_variables(listing({name: host}, meta=meta or {}), name, {})


def test_a_host_that_says_nothing_is_left_to_ansible_and_the_role() -> None:
    host = told()
    assert {name for name in host.variables if not name.startswith("fleet_")} == {
        "nixos_fleet",
        "nixos_fleet_format",
    }
    assert host.variables["nixos_fleet"] == ["/srv/network.nix"]
    assert host.groups == ("nixos",)
    assert host.warnings == ()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", ("", "192.0.2.1", None)),
        ("root@web1", ("root", "web1", None)),
        ("a@b@web1", ("a@b", "web1", None)),
        ("2001:db8::1", ("", "2001:db8::1", None)),
        ("ssh://al%20ice@web1:2222", ("al ice", "web1", 2222)),
        ("ssh://[2001:db8::1]", ("", "2001:db8::1", None)),
    ],
)
def test_addresses(address: str, expected: tuple[str, str, int | None]) -> None:
    assert split_address(address) == expected


def test_hosts_that_describe_another_access_are_told() -> None:
    hosts: dict[str, dict[str, Any]] = {name: {"ssh_access": "a"} for name in ("web1", "web2", "web3")}
    assert other_access(listing(hosts)) == []
    assert other_access(listing({})) == []
    assert other_access(listing({**hosts, "db1": {"ssh_access": "b"}, "db2": {}})) == ["db1", "db2"]
    # A host that is not deployed, or has no such option, is not asked.
    away = {"left_out": "deployment.buildOnly is set"}
    assert other_access(listing({**hosts, "image": away, "mac": {"kind": "darwin"}})) == []


def test_how_to_log_in() -> None:
    host = told(target_host="192.0.2.1", target_port=2222, target_user="root", ssh_options=["-o", "A=b c"])
    assert host.variables["ansible_host"] == "192.0.2.1"
    assert host.variables["ansible_port"] == 2222
    assert host.variables["ansible_user"] == "root"
    assert host.variables["ansible_ssh_extra_args"] == "-o 'A=b c'"
    assert "ansible_become" not in host.variables


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ([], {}),
        (["sudo"], {"ansible_become": True}),
        (["sudo", "-H", "--"], {"ansible_become": True}),
        (["sudo", "-u"], {"ansible_become": True}),
        (
            ["/run/wrappers/bin/sudo", "-E"],
            {
                "ansible_become": True,
                "ansible_become_exe": "/run/wrappers/bin/sudo",
                "ansible_become_flags": "-H -S -n -E",
            },
        ),
        (["doas"], {"ansible_become": True, "ansible_become_method": "community.general.doas"}),
    ],
)
def test_how_to_become_root(command: list[str], expected: dict[str, Any]) -> None:
    host = told(target_user="deploy", privilege_escalation_command=command)
    assert {name: value for name, value in host.variables.items() if "become" in name} == expected
    as_root = told(target_host="root@web1", privilege_escalation_command=command)
    assert not [name for name in as_root.variables if "become" in name]


def test_a_command_that_ansible_has_no_word_for_is_told() -> None:
    host = told(target_user="deploy", privilege_escalation_command=["my-sudo", "-x"])
    assert "`my-sudo -x` is not a become method" in host.warnings[0]
    assert "ansible_become" not in host.variables


def test_becoming_another_user_than_root() -> None:
    host = told(target_user="deploy", privilege_escalation_command=["sudo", "-u"], escalate_to="web")
    assert host.variables["ansible_become_user"] == "web"


def test_what_the_role_goes_by() -> None:
    host = told(
        meta={"options": {"max-jobs": "2"}},
        build_on_target=True,
        substitute_on_destination=False,
        timeout_confirm=20,
        timeout_activation=60,
        ignore_failed_units=True,
        rollback=False,
        health_checks=[{"name": "n", "command": "true", "delay": 0, "timeout": 5}],
        pre_deploy_checks=[{"name": "b", "command": "test -e /x", "delay": 3, "timeout": 5}],
        tags=["web", "a-b"],
    )
    expected = {
        "nixos_options": {"max-jobs": "2"},
        "nixos_build_on": "target",
        "nixos_substitute_on_destination": False,
        "nixos_timeout_confirm": 20,
        "nixos_timeout_activation": 60,
        "nixos_failed_units": "ignore",
        "nixos_rollback": False,
        "nixos_health_checks": [{"name": "n", "command": "true", "delay": 1, "timeout": 5}],
        "nixos_pre_deploy_checks": [{"name": "b", "command": "test -e /x", "delay": 3, "timeout": 5}],
    }
    assert {name: host.variables.get(name) for name in expected} == expected
    assert host.groups == ("nixos", "web", "a-b")


def test_a_request_of_morph_goes_to_the_host_itself() -> None:
    check = {
        "name": "n", "delay": 2, "timeout": 5, "url": "http://:8080/x", "own_host": True, "scheme": "http",
        "port": 8080, "path": "/x", "headers": {"Host": "web"}, "validate_certs": True,
    }  # fmt: skip
    for address, url in (
        ("web1.example.org", "http://web1.example.org:8080/x"),
        ("root@192.0.2.1", "http://192.0.2.1:8080/x"),
        ("2001:db8::1", "http://[2001:db8::1]:8080/x"),
    ):
        made = health_check(check, {"target_host": address})
        assert made["url"] == url
        assert (200 in made["status_codes"], 204 in made["status_codes"], 301 in made["status_codes"]) == (
            True,
            True,
            False,
        )
        assert not ArgumentSpecValidator(HEALTH_CHECK_OPTIONS).validate(made).error_messages


def test_keys_of_the_file_are_told() -> None:
    assert told(keys={"token": {"path": "/x"}}).variables["fleet_keys"] == {"token": {"path": "/x"}}


HELLO = {"name": "hel.lo", "user": "hello", "login_user": None, "profile_path": "/nix/var/nix/profiles/x"}


@pytest.mark.parametrize(
    ("word", "source"),
    [
        (
            "github:a/b#deploy",
            {
                "flake": 'github:a/b#deploy.nodes."web.1".profiles."hel.lo".path',
                "override_inputs": {},
                "impure": True,
            },
        ),
        (
            "/srv/deploy.nix",
            {"file": "/srv/deploy.nix", "attr": 'deploy.nodes."web.1".profiles."hel.lo".path'},
        ),
    ],
)
@pytest.mark.parametrize("kind", ["nixos", "profile"])
def test_profiles_beside_the_system_are_told_with_how_to_deploy_them(
    kind: str, word: str, source: dict[str, Any]
) -> None:
    hosts = {"web.1": {"kind": kind, "target_host": "192.0.2.1", "further_profiles": [HELLO]}}
    host = host_variables(listing(hosts, words=(word,), format="deploy-rs"), "web.1", {"impure": True})
    assert host.variables["fleet_profiles"] == [{**HELLO, **source}]
    assert host.variables["ansible_host"] == "192.0.2.1"
    assert host.groups == (kind,)
    # Without a system there is nothing for the role nixos.
    assert ("nixos_fleet" in host.variables) == (kind == "nixos")
    (warning,) = host.warnings
    assert "hel.lo" in warning
    assert "the role profile" in warning
    assert "fleet_profiles" not in told().variables


@pytest.mark.parametrize(
    ("kind", "name", "flake"),
    [
        ("darwin", "mac1", "/srv#darwinConfigurations.mac1"),
        ("home-manager", "alice@web1", '/srv#homeConfigurations."alice@web1"'),
    ],
)
def test_other_kinds_are_for_the_other_role(kind: str, name: str, flake: str) -> None:
    fleet = listing({name: {"kind": kind}}, words=("/srv#x",), format=kind)
    host = host_variables(fleet, name, {"impure": True, "args": {"a": 1}})
    assert host.variables["profile_flake"] == flake
    assert host.variables["profile_kind"] == kind
    assert host.variables["profile_impure"] is True
    assert not {"nixos_fleet", "profile_args"} & set(host.variables)
    if kind == "home-manager":
        assert (host.variables["ansible_user"], host.variables["ansible_host"]) == ("alice", "web1")


def test_a_host_that_could_not_be_read_stays_in_the_inventory() -> None:
    fleet = listing({"web1": {}}, errors={"web2": NixferryError("it is wrong", step="read the fleet")})
    host = host_variables(fleet, "web2", {"args": {"a": 1}})
    assert host.groups == ("nixos",)
    assert "it is wrong" in host.variables["fleet_error"]
    assert host.variables["nixos_fleet"] == ["/srv/network.nix"]
    assert host.variables["nixos_args"] == {"a": 1}


def test_hosts_left_out_and_hosts_at_one_address() -> None:
    fleet = listing(
        {
            "web1": {"target_host": "192.0.2.1"},
            "web2": {"target_host": "192.0.2.1", "target_port": 22},
            "web3": {"target_host": "192.0.2.1", "target_port": 23},
            "web4": {"target_host": "192.0.2.1", "left_out": "it is not enabled"},
        }
    )
    assert left_out(fleet) == {"web4": "it is not enabled"}
    assert shared_addresses(fleet) == {"192.0.2.1:22": ["web1", "web2"]}


def test_a_warning_about_many_hosts_is_one() -> None:
    command = {"target_user": "deploy", "privilege_escalation_command": ["my-sudo"]}
    fleet = listing({"web1": command, "web2": command, "web3": {}})
    hosts = [host_variables(fleet, name, {}) for name in fleet.hosts]
    assert list(shared_warnings(hosts).values()) == [["web1", "web2"]]


def test_a_query_selects_hosts() -> None:
    pytest.importorskip("jmespath", reason="jmespath is not installed")
    errors = {"bad": NixferryError("x", step="probe")}
    fleet = listing({"web1": {"tags": ["web"]}, "db1": {"tags": ["db"]}}, errors=errors)
    assert selected(fleet, "[?contains(tags, 'web')].name") == ["web1", "bad"]
    assert selected(fleet, "[?contains(tags, 'db')]") == ["db1", "bad"]
    with pytest.raises(NixferryError, match="not a host of the fleet"):
        selected(fleet, "[].tags[]")
    with pytest.raises(NixferryError, match=r"query: .*Incomplete expression"):
        selected(fleet, "[?")


def test_without_a_query_all_hosts_are_selected() -> None:
    assert selected(listing({"web1": {}}, errors={"bad": NixferryError("x", step="probe")}), "") == [
        "web1",
        "bad",
    ]


def test_the_build_gets_the_options_of_the_configuration(tmp_path: Any) -> None:
    (tmp_path / "network.nix").touch()
    given: dict[str, Any] = {
        "fleet": "network.nix", "format": "auto", "args": {"n": 3}, "argstrs": {"s": 4}, "override_inputs": {},
        "include": ["nixpkgs=../x", "/abs", "b=https://c"], "impure": False,
    }  # fmt: skip
    options = fleet_options(given, str(tmp_path / "fleet.yml"))
    assert options.common == {
        "args": {"n": 3, "s": "4"},
        "include": [f"nixpkgs={tmp_path.parent}/x", "/abs", "b=https://c"],
    }
    other = fleet_options({**given, "args": {}}, str(tmp_path / "fleet.yml"))
    assert other.digest != options.digest
