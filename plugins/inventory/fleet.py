# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of fleet files and flakes as an inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet
short_description: The hosts of NixOps, morph, nixus, colmena and flake files
description:
  - Makes an inventory from the existing fleet file of NixOps, morph, nixus, colmena or deploy-rs, or from a flake with
    C(nixosConfigurations) and the like. None of these tools is needed.
  - Each host gets its login settings, and the variables that the role P(nixferry.deploy.nixos#role) needs to build and
    deploy it from the same file.
  - Listing hosts evaluates no system, and reads no contents of secrets.
  - The configuration is a YAML file. Any name that ends with V(.yml) or V(.yaml) will do. A key that is not an option
    is refused.
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [nixferry.deploy.fleet]
  fleet:
    description:
      - A fleet file, a list of the files of one NixOps network, a directory with such a file, or a flake.
      - A flake may name its output, for example V(.#colmenaHive). The default is the first existing output of
        C(colmenaHive), C(colmena), C(deploy), C(nixopsConfigurations), C(nixosConfigurations), C(darwinConfigurations)
        and C(homeConfigurations).
      - A relative path is relative to the directory of the configuration.
    type: raw
    required: true
  format:
    description:
      - The format of the file. V(auto) detects it from what the tools return, and evaluates no host.
      - For a file with one NixOS configuration per host, set V(nixos).
    type: str
    choices: [auto, nixops, morph, nixus, colmena, deploy-rs, nixos, darwin, home-manager]
    default: auto
  args:
    description:
      - Arguments for a fleet file that is a function, like C(--arg) of NixOps.
      - Not for secrets. All inputs of Nix may end up in its store, which every user can read.
    type: dict
    default: {}
  argstrs:
    description: Like O(args), with every value turned into a string.
    type: dict
    default: {}
  include:
    description: Entries of the Nix search path, such as V(nixpkgs=/srv/nixpkgs). A relative path is as in O(fleet).
    type: list
    elements: str
    default: []
  override_inputs:
    description: Inputs of the flake to replace, as names with flake references.
    type: dict
    default: {}
  impure:
    description: Whether the evaluation of a flake may depend on the environment and on files outside of it.
    type: bool
    default: false
  query:
    description:
      - A JMESPath expression that selects hosts. Its input is a list of dictionaries with C(name) and the values of the
        host in the fleet file. Its result must be such dictionaries or names.
      - Needs the Python library C(jmespath).
    type: str
    default: ""
  tag_prefix:
    description: A prefix for the names of the groups that are made from tags.
    type: str
    default: ""
  reuse:
    description:
      - Whether a flake that has not changed is listed from what an earlier run of this user has found, without
        evaluating it. The contents of the flake and of its locked inputs, the options and the version of Nix must be
        the same.
      - Only for flakes without O(impure). For other fleets, use O(cache).
    type: bool
    default: true
  timeout:
    description: Seconds that reading the fleet may take. V(0) means no limit.
    type: int
    default: 600
notes:
  - Every host is in the group of its kind, V(nixos), V(darwin) or V(home_manager), and in a group for each of its tags.
    A node of deploy-rs without a profile C(system) is in the group V(profile).
  - Further profiles of a node of deploy-rs, besides its system, are in C(fleet_profiles), for the role
    P(nixferry.deploy.profile#role).
  - A host whose entry in the fleet file cannot be read stays in the inventory, with the reason in C(fleet_error). Its
    build fails with the same reason, and the other hosts are deployed.
  - An address, a user, a port or a name that ssh or become could take for an option or a command is refused, with the
    whole inventory.
  - Hosts that the fleet file excludes from deploys are left out; C(-v) names them and the reason.
  - Nothing is written next to a flake, not even a lock file.
  - What Nix code warns of while the hosts are listed (C(lib.warn) and the like) is shown as warnings, each text once.
requirements:
  - Nix on the controller, 2.8 or later.
  - jmespath, for O(query).
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
# fleet.yml: a NixOps network beside it
plugin: nixferry.deploy.fleet
fleet: network.nix

---
# The logical and the physical part of a network, which takes an argument
plugin: nixferry.deploy.fleet
fleet: [logical.nix, physical.nix]
args:
  workers: 3

---
# A colmena hive in a flake, only hosts with the tag web, and a group for each owner
plugin: nixferry.deploy.fleet
fleet: .#colmenaHive
query: "[?contains(tags, 'web')].name"
keyed_groups:
  - key: fleet_owners
    prefix: owner

---
# With a cache of one hour
plugin: nixferry.deploy.fleet
fleet: github:example/fleet
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/fleet
cache_timeout: 3600
"""

import contextlib
from collections.abc import Sequence
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.text import names_text
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.warnings import EvaluationWarnings, shown
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.address import check_connections
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.inventory_options import (
    OPTIONS,
    FleetOptions,
    fleet_options,
    names_plugin,
    refuse_unknown,
    selected,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.listing import FleetListing, read_fleet
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.remembered import (
    fingerprint,
    recall,
    remember,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.variables import (
    HostVariables,
    host_variables,
    left_out,
    other_access,
    shared_addresses,
    shared_warnings,
)


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """See DOCUMENTATION."""

    NAME = "nixferry.deploy.fleet"

    def verify_file(self, path: str) -> bool:
        """Return True if the file is a configuration of this plugin, by its name or by what it says itself."""
        if not super().verify_file(path) or not path.endswith((".yml", ".yaml")):
            return False
        return path.endswith(("fleet.yml", "fleet.yaml")) or names_plugin(path, self.NAME)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill ``inventory`` with the hosts of the fleet that ``path`` names."""
        super().parse(inventory, loader, path, cache)
        self._refuse_unknown(path)
        self._read_config_data(path)
        try:
            options = fleet_options({name: self.get_option(name) for name in OPTIONS}, path)
            listing = self._listing(options, path, cache)
            check_connections(listing)
            names = selected(listing, str(self.get_option("query")))
        except NixferryError as error:
            # Ansible would append the cause, which the text holds already.
            raise AnsibleParserError(error.text(path)) from None
        for name, reason in left_out(listing).items():
            self.display.v(f"{path}: {name} is left out: {reason}")
        for address, sharing in shared_addresses(listing).items():
            self.display.warning(f"{path}: {', '.join(sharing)} are all deployed to {address}")
        if differing := other_access(listing):
            self.display.warning(
                f"{path}: {names_text(differing)}: nixferry.sshAccess differs from that of the other hosts. "
                "Define it once, in `defaults` or in a module that all hosts import: each host takes its own part only."
            )
        absent = left_out(listing)
        hosts = [host_variables(listing, name, options.common) for name in names if name not in absent]
        if not listing.hosts and not listing.errors:
            self.display.warning(f"{path}: the file has no hosts; it was read in the format {listing.format}")
        for warning, concerned in shared_warnings(hosts).items():
            self.display.warning(f"{path}: {names_text(concerned)}: {warning}")
        for host in hosts:
            self._add(host)

    def _refuse_unknown(self, path: str) -> None:
        """Raise ``AnsibleParserError`` for keys that are not options. Ansible itself says what else is wrong."""
        config = self.loader.load_from_file(path, cache="none")
        if not isinstance(config, dict) or config.get("plugin") != self.NAME:
            return
        try:
            refuse_unknown(config, self.option_definitions)
        except NixferryError as error:
            raise AnsibleParserError(error.text(path)) from None

    def _listing(self, options: FleetOptions, path: str, cache: bool) -> FleetListing:
        """Return the fleet's hosts, from the cache if possible."""
        key = f"{self.get_cache_key(path)}_{options.digest}"
        if self.get_option("cache") and cache and key in self._cache:
            return FleetListing.of_data(self._cache[key])
        listing, warnings = self._read(options, path)
        for text in warnings:
            self.display.warning(f"{path}: {shown(text)}")
        for name, error in listing.errors.items():
            self.display.warning(f"{path}: {error.text(name)}")
        if self.get_option("cache") and not listing.errors:
            self._cache[key] = listing.data()
        return listing

    def _read(self, options: FleetOptions, path: str) -> tuple[FleetListing, Sequence[str]]:
        """Return the fleet's hosts and the warnings of the evaluation, of this run or of an earlier one."""
        seconds = int(self.get_option("timeout"))
        timeout = float(seconds) if seconds > 0 else None
        name = None
        if self.get_option("reuse"):
            # What is wrong with the flake is better explained where it is read.
            with contextlib.suppress(NixferryError):
                name = fingerprint(Nix(working_directory=options.directory), options.fleet, timeout=timeout)
        if name is not None and (found := recall(name)):
            return found
        said = EvaluationWarnings()
        try:
            nix = Nix(working_directory=options.directory, on_event=said.event)
            listing = read_fleet(nix, options.fleet, timeout=timeout, said=said)
        except NixferryError:
            for text in said.texts:
                self.display.warning(f"{path}: {shown(text)}")
            raise
        if name is not None and not listing.errors:
            remember(name, listing, said.texts)
        return listing, said.texts

    def _add(self, host: HostVariables) -> None:
        self.inventory.add_host(host.name)
        for name, value in host.variables.items():
            self.inventory.set_variable(host.name, name, value)
        kind, *tags = host.groups
        prefix = str(self.get_option("tag_prefix"))
        for group in (kind, *(f"{prefix}{tag}" for tag in tags)):
            safe = self.inventory.add_group(self._sanitize_group_name(group))
            self.inventory.add_child(safe, host.name)
        strict = self.get_option("strict")
        variables = self.inventory.get_host(host.name).get_vars()
        self._set_composite_vars(self.get_option("compose"), variables, host.name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, host.name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, host.name, strict=strict)
