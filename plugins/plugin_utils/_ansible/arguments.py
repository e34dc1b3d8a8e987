# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Spare Ansible a template for an argument of a task that is nothing but a variable, or one with a default.

Ansible compiles each template anew in every process, and makes one process for every host. A role passes many of its
variables on as they are, and most of them have a value without a template. The first template that a process compiles
costs it several milliseconds, and some MiB of memory that it would otherwise share with the main process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleValueOmittedError
from ansible.template import is_trusted_as_template

# Every word that Jinja keeps for itself is without an underscore.
_NAME = "([A-Za-z0-9]*_[A-Za-z0-9_]+)"
_VARIABLE = re.compile(rf"\{{\{{ ?{_NAME} ?\}}\}}")
_WITH_DEFAULT = re.compile(rf"\{{\{{ ?{_NAME} \| default\((?:'([\w./:-]*)'|omit(, true)?)\) ?\}}\}}")
_FACTS = "ansible_facts"
_OMIT = "omit"
_UNDEFINED = object()
_PLAIN = (bool, int, float, type(None))
_MAY_BE_TEMPLATE = re.compile(r"\{[{%#]|#jinja2:")


def variable_behind(argument: object, variables: Mapping[str, Any]) -> Any:
    """Return the value of the variable that ``argument`` names, otherwise ``argument``.

    The forms are ``{{ name }}``, ``{{ name | default('text') }}``, ``{{ name | default(omit) }}`` and
    ``{{ name | default(omit, true) }}``. The argument and the returned value may be templates or contain some, and have
    the same value then. Raises ``AnsibleValueOmittedError`` if the value is ``omit``.
    """
    if not isinstance(argument, str) or not is_trusted_as_template(argument):
        return argument
    match = _VARIABLE.fullmatch(argument)
    if match is not None:
        return variables.get(match[1], argument) if _is_own(match[1], variables) else argument
    match = _WITH_DEFAULT.fullmatch(argument)
    if match is None or not _is_own(match[1], variables) or _OMIT in variables:
        return argument
    value = variables.get(match[1], _UNDEFINED)
    if _may_be_undefined(value):
        return argument
    if value is not _UNDEFINED and (value or not match[3]):
        return value
    if match[2] is None:
        raise AnsibleValueOmittedError
    return match[2]


def _is_own(name: str, variables: Mapping[str, Any]) -> bool:
    """Return False for a fact by its old name, about which Ansible warns, but only in a template."""
    return not name.startswith("ansible_") and name not in variables.get(_FACTS, ())


def _may_be_undefined(value: object) -> bool:
    """Return True for a variable whose template may be undefined or empty, and for one that may contain some."""
    if isinstance(value, str):
        return _MAY_BE_TEMPLATE.search(value) is not None
    return value is not _UNDEFINED and not isinstance(value, _PLAIN)
