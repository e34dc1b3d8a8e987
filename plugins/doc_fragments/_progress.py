# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Documentation of the option ``progress``, for every action that shows progress."""

from __future__ import annotations


class ModuleDocFragment:
    """The option ``progress``."""

    DOCUMENTATION = r"""
options:
  progress:
    description:
      - How to show progress. V(auto) is a refreshing line on a terminal and occasional lines elsewhere. V(lines) never
        refreshes a line. V(none) is silent.
    type: str
    choices: [auto, lines, none]
    default: auto
"""
