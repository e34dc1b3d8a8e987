# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan says of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: plan
author:
  - nixferry contributors (@nixferry)
short_description: Read the entries of hosts in a plan
description:
  - Reads a plan that M(nixferry.deploy.nix_plan) has written, and returns what it says of each host in O(_terms).
  - A plan that has expired, is not valid or does not have the host is an error.
options:
  _terms:
    description: Names of hosts.
    type: list
    elements: str
    required: true
  file:
    description: The plan. A relative path is relative to the directory in which C(ansible-playbook) was started.
    type: path
    required: true
  keys:
    description:
      - Public keys of OpenSSH, as in C(~/.ssh/*.pub). One of them must have signed the plan
        (O(nixferry.deploy.nix_plan#module:sign_key)). Without any, no signature is asked for.
    type: list
    elements: str
    default: []
seealso:
  - module: nixferry.deploy.nix_plan
"""

EXAMPLES = r"""
---
- name: Show which system the plan has for this host
  ansible.builtin.debug:
    msg: "{{ lookup('nixferry.deploy.plan', inventory_hostname, file='plan.json').toplevel }}"
"""

RETURN = r"""
_raw:
  description: The entry of each host.
  type: list
  elements: dict
  contains:
    toplevel:
      description: The store path of the system to deploy.
      type: str
    current:
      description: The store path of the system that ran when the plan was made; empty if none did.
      type: str
    boot_default:
      description: The store path that the profile pointed to; empty if there was no profile.
      type: str
    changed:
      description: Whether the deploy would change the host.
      type: bool
"""

import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plan import (
    planned_host,
    read_plan,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plan_signature import read_plan_file


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core ships no types
    """``plan``: see the documentation above."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **options: Any) -> list[Any]:
        """Called by Ansible."""
        self.set_options(var_options=variables, direct=options)
        host = str((variables or {}).get("inventory_hostname", "localhost"))
        try:
            content = read_plan_file(Path(self.get_option("file")), self.get_option("keys"))
            plan = read_plan(content, now=time.time())
            found = [planned_host(plan, str(term)) for term in terms]
        except NixferryError as error:
            # Ansible would append the cause, which the text holds already.
            raise AnsibleLookupError(error.text(host)) from None
        return [
            {name: getattr(each, name) for name in ("toplevel", "current", "boot_default", "changed")}
            for each in found
        ]
