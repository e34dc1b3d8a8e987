# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values out of flakes, Nix files and expressions."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nix_eval
author:
  - nixferry contributors (@nixferry)
short_description: Evaluate Nix and return data
description:
  - Evaluates an attribute of a flake or a file, or an expression, with the controller's Nix, and returns the value as
    data.
  - Sets, lists, strings, numbers, booleans and null are returned unchanged. A derivation, and any set with C(outPath)
    or C(__toString), becomes the string that Nix makes of it, and is not built. A path becomes its name and is not
    copied to the store. A function is an error that names its place.
  - The evaluation runs each time the lookup is templated. If a variable contains the lookup, that is on each use.
options:
  _terms:
    description:
      - Attribute paths, such as V(nixosConfigurations.web1.config.networking). They are relative to the attribute in
        O(flake) or O(attr), and each has one value in the result.
      - Without any, the lookup returns the attribute in O(flake) or O(attr), or the whole value of O(file) or O(expr).
      - V({host}) stands for the name of the host in the inventory. Quotes keep dots together, as in
        V(hosts."db.example").
    type: list
    elements: str
  flake:
    description:
      - A flake reference, such as V(.) or V(github:owner/repository#hosts). Relative ones are relative to the directory
        of the playbook, or for a playbook inside a collection to the directory in which C(ansible-playbook) was
        started.
      - As with C(nix eval), the name after C(#) is looked up in C(packages) and C(legacyPackages) of this system first.
      - The lock file is left unchanged. Inputs that it lacks are fetched for this evaluation.
    type: str
  file:
    description:
      - A Nix file, or a directory with a C(default.nix), or an entry of the search path such as V(<nixpkgs/lib>).
      - A relative path is relative to the same directory as in O(flake).
    type: str
  expr:
    description:
      - A Nix expression. It does not appear in the process list. Relative paths in it are relative to the same
        directory as in O(flake).
      - Do not paste values into it. Pass them in O(args), or write them with P(nixferry.deploy.to_nix#filter).
    type: str
  attr:
    description:
      - The attribute path into O(file) or O(expr). Functions on the path are called with O(args) and O(argstrs).
    type: str
    default: ""
  args:
    description:
      - Arguments for functions in O(file) and O(expr). Values keep their types, and a string is never read as Nix code.
      - A value that was encrypted with Ansible Vault is refused.
    type: dict
    default: {}
  argstrs:
    description:
      - Like O(args), with every value turned into a string.
    type: dict
    default: {}
  override_inputs:
    description:
      - Inputs of O(flake) to replace, as names with flake references.
    type: dict
    default: {}
  impure:
    description:
      - Whether the evaluation of O(flake) may depend on the environment and on files outside of it.
    type: bool
    default: false
  include:
    description:
      - Entries of the search path for O(file) and O(expr), such as V(nixpkgs=/path/to/nixpkgs).
    type: list
    elements: str
    default: []
  options:
    description:
      - Settings of C(nix.conf) for this evaluation.
    type: dict
    default: {}
  query:
    description:
      - A JMESPath expression that is applied to each value. It needs the Python library C(jmespath) on the controller.
    type: str
  timeout:
    description:
      - Seconds that the evaluation may take. V(0) means no limit.
    type: int
    default: 600
notes:
  - Derivations that a value needs for its evaluation (import from derivation) are built.
  - What Nix code warns of (C(lib.warn) and the like) is shown as warnings, each text once.
  - Old versions of Nix such as 2.8 print six digits of a number with a fraction, and the lookup returns these.
seealso:
  - module: nixferry.deploy.nix_build
  - plugin: nixferry.deploy.to_nix
    plugin_type: filter
"""

EXAMPLES = r"""
---
- name: Use what the flake says about a host
  ansible.builtin.debug:
    msg: "{{ lookup('nixferry.deploy.nix_eval', 'services.nginx.virtualHosts',
      flake='.#nixosConfigurations.web1.config') | list }}"

- name: Keep a value, so that it is evaluated once
  ansible.builtin.set_fact:
    site: "{{ lookup('nixferry.deploy.nix_eval', file='site.nix', args={'environment': 'production'}) }}"
  run_once: true

- name: Show the ports of all hosts
  ansible.builtin.debug:
    msg: "{{ lookup('nixferry.deploy.nix_eval', file='site.nix', attr='hosts', query='*.port[]') }}"

- name: Compute with Nix
  ansible.builtin.debug:
    msg: "{{ lookup('nixferry.deploy.nix_eval', expr='{ a, b }: a + b', args={'a': 1, 'b': 2}) }}"
"""

RETURN = r"""
_raw:
  description: One value for each attribute path. With a single one, C(lookup) returns the value itself.
  type: list
  elements: raw
"""

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.options import base_directory
from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.query import search
from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.vault import refuse_vaulted
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.options import (
    setting_text,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.warnings import EvaluationWarnings, shown
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.data import (
    DATA_SOURCES,
    data_attributes,
    evaluate_data,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.source import source_from


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core ships no types
    """``nix_eval``: see the documentation above."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **options: Any) -> list[Any]:
        """Called by Ansible."""
        self.set_options(var_options=variables, direct=options)
        host = str((variables or {}).get("inventory_hostname", "localhost"))
        try:
            return self._evaluate([str(term) for term in terms] or [""], host)
        except NixferryError as error:
            # Ansible would append the cause, which the text holds already.
            raise AnsibleLookupError(error.text(host)) from None

    def _evaluate(self, paths: list[str], host: str) -> list[Any]:
        given = self.get_options()
        refuse_vaulted(
            given["expr"],
            where="`expr`",
            step=Step.READ_OPTIONS,
            remedy="Leave it out: a secret reaches a host by other means than Nix.",
        )
        directory = base_directory(str(self._loader.get_basedir()))
        source = source_from(given, DATA_SOURCES)
        said = EvaluationWarnings()
        nix = Nix(
            options={str(name): setting_text(value) for name, value in given["options"].items()},
            working_directory=directory,
            on_event=said.event,
        )
        attributes = data_attributes(source, paths, host, directory=directory)
        try:
            values = evaluate_data(nix, attributes, timeout=given["timeout"] or None, said=said)
        finally:
            for text in said.texts:
                Display().warning(f"nix_eval: {shown(text)}")
        return [search(given["query"], value) for value in values] if given["query"] else values
