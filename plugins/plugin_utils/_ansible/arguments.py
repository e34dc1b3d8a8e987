# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Spare Ansible a template for an argument of a task that is nothing but a variable.

Ansible compiles each template anew in every process, and makes one process for every host. A role passes many of its
variables on as they are, and most of them have a value without a template.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.template import is_trusted_as_template

# Every word that Jinja keeps for itself is without an underscore.
_VARIABLE = re.compile(r"\{\{ ?([A-Za-z0-9]*_[A-Za-z0-9_]+) ?\}\}")
_FACTS = "ansible_facts"


def variable_behind(argument: object, variables: Mapping[str, Any]) -> Any:
    """Return the value of the variable that ``argument`` names in the form ``{{ name }}``, otherwise ``argument``.

    Either one may be a template or contain some, and has the same value then.
    """
    match = _VARIABLE.fullmatch(argument) if isinstance(argument, str) else None
    if match is None or not is_trusted_as_template(argument):
        return argument
    name = match[1]
    # About a fact by its old name Ansible warns, but only in a template.
    if name.startswith("ansible_") or name in variables.get(_FACTS, ()):
        return argument
    return variables.get(name, argument)
