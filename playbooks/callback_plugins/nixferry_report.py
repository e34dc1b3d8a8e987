# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The callback nixferry.deploy.report, without having to be enabled.

Ansible loads what lies beside a playbook in this directory, so the playbooks here end with a summary by themselves.
"""

from __future__ import annotations

from ansible_collections.nixferry.deploy.plugins.callback.report import CallbackModule as ReportModule

DOCUMENTATION = r"""
name: nixferry_report
type: aggregate
short_description: Tell at the end of a run what became of every host
description:
  - The callback P(nixferry.deploy.report#callback) for the playbooks of the collection.
extends_documentation_fragment:
  - nixferry.deploy._report
"""


class CallbackModule(ReportModule):  # type: ignore[misc]  # ansible-core ships no types
    """The same under a name of its own."""

    CALLBACK_NAME = "nixferry_report"
    CALLBACK_NEEDS_ENABLED = False
