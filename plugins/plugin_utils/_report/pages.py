# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Pages of HTML that need nothing else: one file, readable without scripts.

Jinja escapes whatever a template shows. The Content-Security-Policy of a page allows its own style sheet, by its hash,
and nothing else: what got past the escaping could neither run, nor load, nor send anything.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import clean_line
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.closure_diff import change_text, is_unit

from .text import duration

FILES = Path(__file__).parent / "web"
# Packages of one difference that a page lists. The data have them all.
MOST_PACKAGES = 300
# How the outcomes look: a tone, which is a colour of the style sheet, and a sign, which tells the same without colour.
LOOKS = {
    "unknown": ("bad", "question"),
    "failed": ("bad", "cross"),
    "rolled-back": ("bad", "back"),
    "awaiting-confirmation": ("warn", "clock"),
    "unreachable": ("bad", "unplugged"),
    "not-attempted": ("warn", "dash"),
    "tested": ("info", "flask"),
    "committed": ("good", "check"),
    "dry-activated": ("info", "eye"),
    "copied": ("info", "arrow"),
    "built": ("info", "box"),
    "hidden": ("info", "lock"),
    "unchanged": ("same", "equal"),
}


def page(template: str, **view: Any) -> str:
    """Return the page that a template makes of a view."""
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            # Our own file: all other values are escaped.
            style=Markup(style),  # noqa: S704
            policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
            looks=LOOKS,
            **view,
        )
    )


def tile(number: int, label: str, tone: str, sign: str, *, total: int = 0) -> dict[str, Any]:
    """Return a number with its label; ``total`` is what it is a part of, if it has a share in the bar."""
    return {
        "number": number,
        "label": label,
        "tone": tone if number else "same",
        "sign": sign,
        "total": total,
    }


def clock(moment: str | None) -> str:
    """Return a time in ISO 8601, in UTC, for readers."""
    return f"{str(moment)[:16].replace('T', ' ')} UTC" if moment else ""


def differences(closures: Iterable[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the differences of closures that are not empty: equal ones once, with the hosts that they are of."""
    hosts: dict[str, list[str]] = defaultdict(list)
    kept: dict[str, dict[str, Any]] = {}
    for name, closure in closures:
        told = _difference(closure)
        if told is not None:
            hosts[repr(told)].append(name)
            kept[repr(told)] = told
    return [{"hosts": names, **kept[key]} for key, names in hosts.items()]


def size_change(closure: Mapping[str, Any]) -> str:
    """Return by how much a closure grew or shrank; empty if that is not known."""
    before, after = closure.get("size_before"), closure.get("size_after")
    return change_text(after - before) if isinstance(before, int) and isinstance(after, int) else ""


def _difference(closure: Mapping[str, Any]) -> dict[str, Any] | None:
    found = closure.get("packages")
    packages = [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []
    packages = [each for each in packages if not is_unit(str(each.get("name", "")))]
    units = _units(closure.get("units"))
    if not packages and not units:
        return None
    return {
        "change": size_change(closure),
        "number": len(packages),
        "units": units,
        "packages": [_package(each) for each in packages[:MOST_PACKAGES]],
        "more": max(0, len(packages) - MOST_PACKAGES),
    }


def _units(found: Any) -> list[tuple[str, str]]:
    """Return which units are changed, added and removed."""
    units = found if isinstance(found, Mapping) else {}
    told = [(word, _versions(units.get(word))) for word in ("changed", "added", "removed")]
    return [(word, names) for word, names in told if names]


def _package(package: Mapping[str, Any]) -> dict[str, str]:
    delta = package.get("size_delta")
    return {
        "name": clean_line(str(package.get("name", ""))),
        "word": clean_line(str(package.get("change", ""))),
        "before": _versions(package.get("before")),
        "after": _versions(package.get("after")),
        "change": change_text(delta) if isinstance(delta, int) and delta else "",
    }


def _versions(found: Any) -> str:
    return clean_line(", ".join(map(str, found))) if isinstance(found, Sequence) and found else ""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FILES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = duration
    environment.filters["clock"] = clock
    return environment


@cache
def _style() -> str:
    """Return the style sheet without its comments."""
    return re.sub(r"/\*.*?\*/\s*", "", (FILES / "style.css").read_text(encoding="utf-8"), flags=re.DOTALL)
