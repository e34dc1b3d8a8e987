# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the run that asks has done so far."""

from __future__ import annotations

DOCUMENTATION = r"""
name: report
author:
  - nixferry contributors (@nixferry)
short_description: Return the report of this run so far
description:
  - Returns what the callback P(nixferry.deploy.report#callback) has recorded of this run until now, for instance for
    C(ansible.builtin.set_stats) or a message to a chat. A callback itself cannot set statistics.
  - A run that deploys has a report, as in the JSON file of the callback. A run that only asks the hosts has the state
    of the fleet.
  - A failed task counts even if it was rescued. Only Ansible knows at the end of the run which one was.
options:
  _terms:
    description: None are needed.
    type: list
    elements: str
  brief:
    description: Whether to return only the result, the totals and the outcome of each host.
    type: bool
    default: false
notes:
  - The collection's own playbooks load the callback. Enable it for your own.
seealso:
  - plugin: nixferry.deploy.report
    plugin_type: callback
"""

EXAMPLES = r"""
---
- name: Deploy, and keep for a workflow of AWX what became of it
  block:
    - name: Build, copy and activate
      ansible.builtin.import_role:
        name: nixferry.deploy.nixos
  always:
    - name: Set the statistics of the run
      ansible.builtin.set_stats:
        data:
          nixferry: "{{ lookup('nixferry.deploy.report', brief=true) }}"
        per_host: false
      run_once: true
"""

RETURN = r"""
_raw:
  description: The report, one dictionary.
  type: list
  elements: dict
  contains:
    result:
      description: The worst outcome so far; V(ok) if there is none. Of a fleet, V(attention) if a host needs it.
      type: str
    totals:
      description: Numbers of hosts.
      type: dict
    outcomes:
      description: The outcome of each host, or its state (V(ok), V(due) or V(broken)) if the run only asks the hosts.
      returned: with O(brief)
      type: dict
    hosts:
      description: What is known of each host.
      returned: without O(brief)
      type: dict
"""

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.nixferry.deploy.plugins.callback.report import CallbackModule


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core ships no types
    """``report``: see the documentation above."""

    def run(self, _terms: list[Any], variables: dict[str, Any] | None = None, **options: Any) -> list[Any]:
        """Called by Ansible, in a worker. That is a copy of the process that has the callback, as of now."""
        self.set_options(var_options=variables, direct=options)
        if CallbackModule.speaker is None:
            raise AnsibleLookupError(
                "the callback nixferry.deploy.report does not record this run. What to do: enable it "
                "(callbacks_enabled = nixferry.deploy.report)."
            )
        report = CallbackModule.speaker.so_far()
        if not self.get_option("brief"):
            return [report]
        outcomes = {name: host.get("outcome") or host["state"] for name, host in report["hosts"].items()}
        return [{"result": report["result"], "totals": report["totals"], "outcomes": outcomes}]
