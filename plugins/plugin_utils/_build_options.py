# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The options of nix_build: their specification, and their typed form."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate_limits import Limits, default_limits
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate_source import (
    Attribute,
    arguments_literal,
    expression_attribute,
    file_attribute,
    flake_attribute,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._kinds import KINDS, kind_named

STEP = "read the arguments"
SOURCES = ("flake", "file", "expr", "drv_path", "store_path")
DEFAULT_TIMEOUT_SECONDS = 14400

SPECIFICATION: dict[str, Any] = {
    "argument_spec": {
        "flake": {"type": "str"},
        "file": {"type": "str"},
        "expr": {"type": "str"},
        "drv_path": {"type": "str"},
        "store_path": {"type": "str"},
        "attr": {"type": "str", "default": ""},
        "kind": {"type": "str", "choices": list(KINDS), "default": "nixos"},
        "hosts": {"type": "list", "elements": "str"},
        "args": {"type": "dict", "default": {}},
        "argstrs": {"type": "dict", "default": {}},
        "override_inputs": {"type": "dict", "default": {}},
        "impure": {"type": "bool", "default": False},
        "include": {"type": "list", "elements": "str", "default": []},
        "options": {"type": "dict", "default": {}},
        "output": {"type": "str", "default": "out"},
        "build_on": {"type": "str", "choices": ["controller", "target"], "default": "controller"},
        "build_in_check_mode": {"type": "bool", "default": False},
        "max_memory": {"type": "int"},
        "evaluators": {"type": "int"},
        "timeout": {"type": "int", "default": DEFAULT_TIMEOUT_SECONDS},
        "progress": {"type": "str", "choices": ["auto", "lines", "none"], "default": "auto"},
    },
    "mutually_exclusive": [SOURCES],
    "required_one_of": [SOURCES],
}
# What only some sources can make use of: an option that has no effect is a mistake to tell about.
_NEEDS = {
    "attr": ("file", "expr"),
    "args": ("file", "expr"),
    "argstrs": ("file", "expr"),
    "override_inputs": ("flake",),
    "impure": ("flake",),
}


@dataclass(frozen=True)
class BuildOptions:
    """What to build and how. ``directory`` is what relative paths count from, ``timeout`` is in seconds."""

    hosts: tuple[str, ...]
    directory: str
    flake: str
    file: str
    expr: str
    drv_path: str
    store_path: str
    attr: str
    kind: str
    arguments: str
    override_inputs: tuple[tuple[str, str], ...]
    impure: bool
    include: tuple[str, ...]
    option_pairs: tuple[tuple[str, str], ...]
    output: str
    limits: Limits
    timeout: float | None
    dry_run: bool

    @property
    def settings(self) -> dict[str, str]:
        """Settings of nix.conf."""
        return dict(self.option_pairs)

    def attribute(self, host: str) -> Attribute:
        """What to evaluate for ``host``. Raises ``NixferryError`` when the source cannot be understood."""
        if self.flake:
            return flake_attribute(
                self.flake,
                host,
                kind=kind_named(self.kind),
                override_inputs=dict(self.override_inputs),
                impure=self.impure,
                write_lock_file=not self.dry_run,
            )
        if self.file:
            return file_attribute(
                self.file, self.attr, host, directory=self.directory, arguments=self.arguments
            )
        return expression_attribute(self.expr, self.attr, host, arguments=self.arguments)


def build_options(
    arguments: Mapping[str, Any], *, host: str, directory: str, check_mode: bool
) -> BuildOptions:
    """The typed form of validated arguments. Raises ``NixferryError`` for what does not go together."""
    source = next((name for name in SOURCES if arguments[name]), None)
    if source is None:
        raise NixferryError(
            f"one of {', '.join(SOURCES)} is needed, and none of them may be empty", step=STEP
        )
    for name, sources in _NEEDS.items():
        if arguments[name] and source not in sources:
            raise NixferryError(f"`{name}` goes with {' or '.join(sources)}, not with {source}", step=STEP)
    hosts = tuple(dict.fromkeys(map(str, [host] if arguments["hosts"] is None else arguments["hosts"])))
    if not hosts:
        raise NixferryError("`hosts` is an empty list", step=STEP)
    if arguments["build_on"] == "target" and hosts != (host,):
        raise NixferryError(
            "with `build_on: target` every host builds its own system",
            step=STEP,
            remedy="Leave `hosts` out and do without `run_once`.",
        )
    for name in ("max_memory", "evaluators"):
        if arguments[name] is not None and arguments[name] < 1:
            raise NixferryError(f"`{name}` must be positive", step=STEP)
    return BuildOptions(
        hosts=hosts,
        directory=directory,
        **{name: str(arguments[name] or "") for name in (*SOURCES, "attr", "kind", "output")},
        arguments=arguments_literal(arguments["args"], arguments["argstrs"]),
        override_inputs=tuple(
            (str(name), str(value)) for name, value in arguments["override_inputs"].items()
        ),
        impure=arguments["impure"],
        include=tuple(map(str, arguments["include"])),
        option_pairs=tuple((str(name), setting_text(value)) for name, value in arguments["options"].items()),
        limits=default_limits(arguments["max_memory"], arguments["evaluators"]),
        timeout=arguments["timeout"] if arguments["timeout"] > 0 else None,
        dry_run=check_mode and not arguments["build_in_check_mode"],
    )


def setting_text(value: object) -> str:
    """A value as nix.conf writes it: lists with spaces between, booleans as true and false."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return " ".join(map(setting_text, value))
    return str(value)


def base_directory(playbook_directory: str) -> str:
    """What relative paths count from: the playbook's directory.

    A playbook that belongs to a collection is not where the user's files are: there it is the directory in
    which ansible-playbook was started.
    """
    if "/ansible_collections/" in playbook_directory:
        return os.getcwd()  # noqa: PTH109  (a string is what is wanted)
    return playbook_directory
