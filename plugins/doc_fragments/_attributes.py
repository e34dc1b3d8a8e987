# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The attributes that actions have: what check mode and the like mean for them."""

from __future__ import annotations


class ModuleDocFragment:
    """A module that extends a fragment states its own support of check_mode and diff_mode."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in C(check_mode) and return what would change without changing anything.
  diff_mode:
    description: Returns details on what has changed, or would change, when in diff mode.
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the
      controller.
    support: full
    details:
      - It runs on the controller. The host needs a POSIX shell, but no Python.
  async:
    description: Supports being used with the C(async) keyword.
    support: none
    details:
      - It runs on the controller. Use the C(throttle) and C(strategy) keywords to decide how many hosts go at once.
"""

    ACTIONGROUP_NIXFERRY = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/nixferry.deploy.nixferry) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - nixferry.deploy.nixferry
"""
