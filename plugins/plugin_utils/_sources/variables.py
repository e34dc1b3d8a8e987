# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Turn a host's data in a fleet file into variables for Ansible and the roles."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import quoted_attribute

from .address import split_address
from .listing import FleetListing

ROOT = "root"
# Programs that become another user, and Ansible's plugins for them.
BECOME_METHODS = {
    "sudo": "ansible.builtin.sudo",
    "doas": "community.general.doas",
    "dzdo": "community.general.dzdo",
    "ksu": "community.general.ksu",
    "pbrun": "community.general.pbrun",
    "pfexec": "community.general.pfexec",
    "pmrun": "community.general.pmrun",
    "run0": "community.general.run0",
}
# Flags that Ansible's plugins add themselves, or that only matter without Ansible.
_USUAL_FLAGS = frozenset({"-H", "-n", "-S", "--", "--non-interactive", "-u"})
_SUDO_FLAGS = "-H -S -n"
# The kinds that another role deploys, with their outputs of a flake.
_OUTPUTS = {"darwin": "darwinConfigurations", "home-manager": "homeConfigurations"}
# The group of a host that has nothing to deploy for one of the roles.
_NO_SYSTEM = "profile"
_FURTHER = (
    "the role nixos does not deploy the profiles other than `system` ({}): deploy them with the role profile, "
    "from the variable fleet_profiles"
)
# Options of a flake that is not a fleet.
_FLAKE_OPTIONS = ("override_inputs", "impure")
# The status codes that morph considers healthy.
SUCCESS = range(200, 300)


@dataclass(frozen=True)
class HostVariables:
    """The variables and groups of one host. ``warnings`` are settings of the fleet file without effect."""

    name: str
    variables: Mapping[str, Any]
    groups: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def host_variables(listing: FleetListing, name: str, common: Mapping[str, Any]) -> HostVariables:
    """Return the variables of the host ``name``. ``common`` has options of the build, by their names in nix_build."""
    host = listing.hosts.get(name)
    if host is None:
        # Keep it in the inventory, so that a deploy of it fails instead of skipping it.
        error = listing.errors[name].text(name)
        kind = listing.format if listing.format in _OUTPUTS else "nixos"
        variables = {**_build(listing, name, kind, common), "fleet_error": error}
        return HostVariables(name, variables, (kind.replace("-", "_"),))
    kind = str(host["kind"])
    variables = {
        "fleet_format": listing.format,
        "fleet_tags": list(host["tags"]),
        "fleet_owners": list(host["owners"]),
        "fleet_keys": dict(host["keys"]),
        **login(name, host),
        **_build(listing, name, kind, common),
    }
    escalation, warnings = _escalation(host)
    variables.update(escalation)
    if kind == "nixos":
        variables.update(_deploy(listing, host))
    if further := further_profiles(listing, name, common):
        variables["fleet_profiles"] = further
        warnings.append(_FURTHER.format(", ".join(profile["name"] for profile in further)))
    return HostVariables(name, variables, (kind.replace("-", "_"), *host["tags"]), tuple(warnings))


def further_profiles(listing: FleetListing, name: str, common: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the profiles of a deploy-rs node besides its system, in order, with the options of the role profile.

    ``common`` has further options of the build, by their names in nix_build.
    """
    fleet, _hash, _output = listing.words[0].partition("#")
    found = []
    for profile in listing.hosts[name].get("further_profiles", ()):
        names = ("deploy", "nodes", name, "profiles", str(profile["name"]), "path")
        path = ".".join(map(quoted_attribute, names))
        source: dict[str, Any] = {"file": fleet, "attr": path}
        if _hash:
            source = {"flake": f"{fleet}#{path}", "override_inputs": {}, "impure": False}
            source.update({option: common[option] for option in _FLAKE_OPTIONS if option in common})
        found.append({**profile, **source})
    return found


def shared_warnings(hosts: Iterable[HostVariables]) -> dict[str, list[str]]:
    """Return the warnings of all hosts, each with the names of the hosts concerned."""
    found: dict[str, list[str]] = defaultdict(list)
    for host in hosts:
        for warning in host.warnings:
            found[warning].append(host.name)
    return found


def left_out(listing: FleetListing) -> dict[str, str]:
    """Return the hosts that the fleet file itself excludes from deploys, with the reason."""
    return {name: str(host["left_out"]) for name, host in listing.hosts.items() if host["left_out"]}


def shared_addresses(listing: FleetListing) -> dict[str, list[str]]:
    """Return addresses of more than one host, with the names of these hosts."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, host in listing.hosts.items():
        if host["kind"] == "nixos" and not host["left_out"]:
            access = login(name, host)
            found[f"{access.get('ansible_host', name)}:{access.get('ansible_port', 22)}"].append(name)
    return {address: names for address, names in found.items() if len(names) > 1}


def other_access(listing: FleetListing) -> list[str]:
    """Return the hosts whose description of SSH access differs from that of most hosts."""
    described: dict[str | None, list[str]] = defaultdict(list)
    for name, host in listing.hosts.items():
        if host["kind"] == "nixos" and not host["left_out"]:
            described[host.get("ssh_access")].append(name)
    usual = max(described.values(), key=len, default=[])
    return sorted(name for names in described.values() if names is not usual for name in names)


def health_check(check: Mapping[str, Any], host: Mapping[str, Any]) -> dict[str, Any]:
    """Return a health check of a fleet file in the form of nix_switch."""
    kept = {
        name: check[name] for name in ("name", "command", "url", "headers", "validate_certs") if name in check
    }
    if check.get("own_host"):
        address = str(host["target_host"]).rpartition("@")[2]
        shown = f"[{address}]" if ":" in address else address
        kept["url"] = f"{check['scheme']}://{shown}:{check['port']}{check['path']}"
    if "url" in kept:
        kept["status_codes"] = list(SUCCESS)
    # A period of zero seconds would retry without a pause.
    return {**kept, "delay": max(1, int(check["delay"])), "timeout": max(1, int(check["timeout"]))}


def login(name: str, host: Mapping[str, Any]) -> dict[str, Any]:
    """Return Ansible's variables for the login to a host; what its data leaves open is not among them."""
    user, address, port = split_address(str(host["target_host"] or ""))
    if host["kind"] == "home-manager" and not address:
        user, _at, address = name.rpartition("@")
        address = address if user else ""
    variables: dict[str, Any] = {}
    if address and address != name:
        variables["ansible_host"] = address
    if user or host["target_user"]:
        variables["ansible_user"] = str(host["target_user"] or user)
    if host["target_port"] or port:
        variables["ansible_port"] = int(host["target_port"] or port or 0)
    if host["ssh_options"]:
        variables["ansible_ssh_extra_args"] = shlex.join(map(str, host["ssh_options"]))
    return variables


def _escalation(host: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return how to become root, if the login user is not root, and a warning if Ansible cannot express it."""
    command = [str(word) for word in host["privilege_escalation_command"]]
    user = str(host["target_user"] or split_address(str(host["target_host"] or ""))[0])
    if not command or user == ROOT or host["kind"] != "nixos":
        return {}, []
    program = command[0].rpartition("/")[2]
    method = BECOME_METHODS.get(program)
    if method is None:
        shown = shlex.join(command)
        return {}, [
            f"`{shown}` is not a become method of Ansible: set ansible_become and ansible_become_method yourself"
        ]
    variables: dict[str, Any] = {"ansible_become": True}
    if program != "sudo":
        variables["ansible_become_method"] = method
    if "/" in command[0]:
        variables["ansible_become_exe"] = command[0]
    further = [word for word in command[1:] if word not in (*_USUAL_FLAGS, ROOT)]
    if further:
        usual = f"{_SUDO_FLAGS} " if program == "sudo" else ""
        variables["ansible_become_flags"] = usual + shlex.join(further)
    if host.get("escalate_to") not in (None, ROOT):
        variables["ansible_become_user"] = str(host["escalate_to"])
    return variables, []


def _build(listing: FleetListing, name: str, kind: str, common: Mapping[str, Any]) -> dict[str, Any]:
    """Return the role's variables for the source of this host."""
    if kind == _NO_SYSTEM:
        return {}
    if kind == "nixos":
        prefix, source = "nixos", {"fleet": list(listing.words), "fleet_format": listing.format}
    else:
        source = {"flake": f"{listing.words[0].partition('#')[0]}#{_OUTPUTS[kind]}.{quoted_attribute(name)}"}
        prefix = "profile"
        source["kind"] = kind
        common = {option: value for option, value in common.items() if option in _FLAKE_OPTIONS}
    return {f"{prefix}_{option}": value for option, value in {**source, **common}.items()}


def _deploy(listing: FleetListing, host: Mapping[str, Any]) -> dict[str, Any]:
    """Return the role's variables for the deploy; missing settings keep the role's defaults."""
    variables: dict[str, Any] = {}
    if host["build_on_target"]:
        variables["nixos_build_on"] = "target"
    if host["substitute_on_destination"] is not None:
        variables["nixos_substitute_on_destination"] = bool(host["substitute_on_destination"])
    for name, variable in (
        ("timeout_confirm", "nixos_timeout_confirm"),
        ("timeout_activation", "nixos_timeout_activation"),
        ("rollback", "nixos_rollback"),
    ):
        if name in host:
            variables[variable] = host[name]
    if host.get("ignore_failed_units"):
        variables["nixos_failed_units"] = "ignore"
    for name in ("health_checks", "pre_deploy_checks"):
        checks: Sequence[Mapping[str, Any]] = host[name]
        if checks:
            variables[f"nixos_{name}"] = [health_check(check, host) for check in checks]
    if listing.meta.get("options"):
        variables["nixos_options"] = dict(listing.meta["options"])
    return variables
