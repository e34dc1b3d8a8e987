# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Documentation of the attributes of the collection's actions and modules."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of every action of the collection; actions override support where it differs."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description:
      - Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: full
  action:
    description:
      - Indicates this has a corresponding action plugin so some parts of the options can be executed on the controller.
    support: full
  async:
    description: Supports being used with the C(async) keyword.
    support: none
    details:
      - The work is done on the controller. Each wait has its own timeout option.
  delegation:
    description: Can be used in conjunction with O(ignore:delegate_to) and related keywords.
    support: full
  platform:
    description: Target OS/families that can be operated against.
    platforms: Linux, macOS
    support: full
"""

    # The action group nixferry, for module_defaults.
    ACTIONGROUP_NIXFERRY = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/nixferry.deploy.nixferry) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - nixferry.deploy.nixferry
"""

    # For modules that run on the host, in its Python.
    MODULE = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description:
      - Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: full
  action:
    description:
      - Indicates this has a corresponding action plugin so some parts of the options can be executed on the controller.
    support: none
  async:
    description: Supports being used with the C(async) keyword.
    support: full
  delegation:
    description: Can be used in conjunction with O(ignore:delegate_to) and related keywords.
    support: full
  platform:
    description: Target OS/families that can be operated against.
    platforms: Linux, macOS
    support: full
"""
