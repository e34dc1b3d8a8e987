# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Checks of options that an argument specification of Ansible describes, and the base of paths in them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
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


def refuse_unknown_options(
    specification: Mapping[str, Mapping[str, Any]], given: Iterable[str], *, action: str
) -> None:
    """Raise ``NixferryError`` if an action was given an option that its argument specification does not have.

    Ansible says it as well, but only after all else that is wrong with the options, such as that a required one lacks.
    """
    known = {name for option, rules in specification.items() for name in (option, *rules.get("aliases", ()))}
    causes = []
    for name in sorted(set(given) - known):
        similar = difflib.get_close_matches(name, known, n=1)
        meant = f": did you mean {similar[0]}?" if similar else ""
        causes.append(f"{name} is not an option of {action}{meant or '.'}")
    if causes:
        raise NixferryError(
            " ".join(causes), step=Step.READ_OPTIONS, remedy=f"`ansible-doc {action}` lists all of them."
        )


def base_directory(playbook_directory: str) -> str:
    """Return the base of relative paths: the playbook's directory.

    For a playbook of a collection, which is not beside the user's files, it is the directory in which
    ansible-playbook was started.
    """
    if "/ansible_collections/" in playbook_directory:
        return os.getcwd()  # noqa: PTH109  (a string is what is wanted)
    return playbook_directory
