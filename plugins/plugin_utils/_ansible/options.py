# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Checks of nested options that an argument specification of Ansible describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step


def checked_options(
    specification: Mapping[str, Any], given: object, *, where: str, step: Step
) -> dict[str, Any]:
    """Return ``given`` with the types and defaults of ``specification`` applied.

    ``where`` names the option in an error. Raises ``NixferryError`` when ``given`` is not a dictionary, or does not
    fit the specification.
    """
    if not isinstance(given, Mapping):
        raise NixferryError(f"{where} is not a dictionary", step=step)
    validated = ArgumentSpecValidator(dict(specification)).validate(dict(given))
    if validated.error_messages:
        raise NixferryError(f"{where}: {'; '.join(validated.error_messages)}", step=step)
    checked: dict[str, Any] = validated.validated_parameters
    return checked
