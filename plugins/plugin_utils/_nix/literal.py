# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Write Ansible values as Nix expressions.

The content of a variable becomes a value and never code: strings are escaped as in the Nix manual
("String literals"), and a string that looks like a path stays a string.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step

_STEP = Step.PASS_ARGUMENTS
_INTEGER_LIMIT = 2**63


def nix_literal(value: object, *, where: str = "the value") -> str:
    """Return ``value`` as a Nix expression that needs no parentheses.

    Accepts JSON values: None, booleans, numbers, strings, sequences and mappings with string keys, and Ansible's
    subclasses of them. Raises ``NixferryError``, naming ``where``, for anything else and for values that Nix does
    not have (infinite numbers, integers beyond 64 bits, the null character).
    """
    try:
        return _literal(value, where)
    except RecursionError:
        raise NixferryError(f"{where} is nested too deeply, or contains itself", step=_STEP) from None


def _literal(value: object, where: str) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return nix_string(value, where=where)
    if isinstance(value, int):
        return _integer(value, where)
    if isinstance(value, float):
        return _float(value, where)
    if isinstance(value, Mapping):
        entries = [_entry(name, each, where) for name, each in value.items()]
        return "{ " + " ".join(entries) + " }" if entries else "{ }"
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        items = [_literal(each, f"{where}[{number}]") for number, each in enumerate(value)]
        return "[ " + " ".join(items) + " ]" if items else "[ ]"
    raise NixferryError(
        f"{where} is of type {type(value).__name__}, which has no equivalent in Nix", step=_STEP
    )


def nix_string(text: str, *, where: str = "the value") -> str:
    """Return ``text`` as a Nix string literal in double quotes."""
    if "\0" in text:
        raise NixferryError(
            f"{where} contains the null character, which is not valid in a Nix string", step=_STEP
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NixferryError(f"{where} cannot be written in UTF-8: {error.reason}", step=_STEP) from error
    # Nix's lexer turns an unescaped carriage return in a literal into a newline.
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\r", "\\r")
    return f'"{escaped}"'


def _entry(name: object, value: object, where: str) -> str:
    if not isinstance(name, str):
        raise NixferryError(
            f"{where} has the key {name!r} of type {type(name).__name__}: attribute names are strings",
            step=_STEP,
            remedy="Put the key into quotes.",
        )
    return f"{nix_string(name, where=where)} = {_literal(value, f'{where}.{name}')};"


def _integer(value: int, where: str) -> str:
    if not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
        raise NixferryError(f"{where} is {value}, which does not fit into Nix's 64 bits", step=_STEP)
    if value == -_INTEGER_LIMIT:
        # The minus is an operator, and the number without it would be one too large.
        return f"({value + 1} - 1)"
    return f"({value})" if value < 0 else str(value)


def _float(value: float, where: str) -> str:
    if not math.isfinite(value):
        raise NixferryError(f"{where} is {value}, which is not a number in Nix", step=_STEP)
    if 0 < abs(value) < sys.float_info.min:
        raise NixferryError(f"{where} is {value}, which is too close to zero for Nix", step=_STEP)
    # Nix wants a point before an exponent, which Python leaves out of 1e+16.
    mantissa, _e, exponent = repr(abs(float(value))).partition("e")
    if "." not in mantissa:
        mantissa += ".0"
    text = f"{mantissa}e{int(exponent)}" if exponent else mantissa
    return f"(-{text})" if math.copysign(1.0, value) < 0 else text
