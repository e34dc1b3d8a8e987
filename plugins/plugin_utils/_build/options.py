# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The options of nix_build: their specification, and their typed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import PROGRESS_OPTION
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.boot_loaders import SYSTEMD_BOOT
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS, kind_named
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import Attribute
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.jobs import AUTO, MODES
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.limits import Limits, default_limits
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import (
    SigningKey,
    read_signing_key,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.source import (
    SOURCE_OPTIONS,
    SOURCES,
    STEP,
    Source,
    sources_from,
)

from .builders import builder_settings

DEFAULT_TIMEOUT_SECONDS = 14400
# The values of build_on that are not host names.
ON_CONTROLLER = "controller"
ON_TARGET = "target"

SPECIFICATION: dict[str, Any] = {
    "argument_spec": {
        **SOURCE_OPTIONS,
        "sources": {"type": "dict"},
        "kind": {"type": "str", "choices": list(KINDS), "default": "nixos"},
        "hosts": {"type": "list", "elements": "str"},
        "all_hosts": {"type": "bool", "default": False},
        "options": {"type": "dict", "default": {}},
        "builders": {"type": "list", "elements": "raw"},
        "max_jobs": {"type": "int"},
        "output": {"type": "str", "default": "out"},
        "build_on": {"type": "str", "default": ON_CONTROLLER},
        "build_in_check_mode": {"type": "bool", "default": False},
        "full_plan": {"type": "bool", "default": False},
        "note": {"type": "dict", "default": {}},
        "sign_key": {"type": "path"},
        "only_boot_loader": {"type": "str", "choices": [SYSTEMD_BOOT]},
        "max_memory": {"type": "int"},
        "evaluators": {"type": "int"},
        "nix_eval_jobs": {"type": "str", "choices": list(MODES), "default": AUTO},
        "timeout": {"type": "int", "default": DEFAULT_TIMEOUT_SECONDS},
        "progress": PROGRESS_OPTION,
    },
    "mutually_exclusive": [SOURCES],
    "required_one_of": [(*SOURCES, "sources")],
}


@dataclass(frozen=True)
class BuildOptions:
    """What to build and how. ``directory`` is the base of relative paths, ``timeout`` is in seconds."""

    sources: tuple[tuple[str, Source | NixferryError], ...]
    """The source of each host, in the order of the hosts, or its error."""
    directory: str
    kind: str
    option_pairs: tuple[tuple[str, str], ...]
    output: str
    limits: Limits
    timeout: float | None
    dry_run: bool
    signing_key: SigningKey | None = None
    nix_eval_jobs: str = AUTO
    build_on: str = ON_CONTROLLER
    only_boot_loader: str = ""
    """The boot loader that the systems must install; empty for any."""

    @property
    def build_host(self) -> str:
        """Return the host of the inventory that builds for all, empty without one."""
        return "" if self.build_on in (ON_CONTROLLER, ON_TARGET) else self.build_on

    @property
    def settings(self) -> dict[str, str]:
        """Return settings of nix.conf."""
        return dict(self.option_pairs)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the hosts to build for."""
        return tuple(host for host, _source in self.sources)

    def attribute(self, host: str, source: Source) -> Attribute:
        """Return the attribute to evaluate for ``host``. Raises ``NixferryError`` if the source is invalid."""
        return source.attribute(
            host, kind=kind_named(self.kind), directory=self.directory, write_lock_file=not self.dry_run
        )


def build_options(
    arguments: Mapping[str, Any], *, host: str, directory: str, check_mode: bool
) -> BuildOptions:
    """Return the typed form of validated arguments. Raises ``NixferryError`` if they contradict each other."""
    named = arguments["hosts"] if arguments["hosts"] is not None else (arguments["sources"] or [host])
    hosts = tuple(dict.fromkeys(map(str, named)))
    if not hosts:
        raise NixferryError("`hosts` is an empty list", step=STEP)
    if not arguments["build_on"]:
        raise NixferryError("`build_on` is empty", step=STEP)
    if arguments["build_on"] == ON_TARGET and hosts != (host,):
        raise NixferryError(
            "with `build_on: target` every host builds its own system",
            step=STEP,
            remedy="Leave `hosts` out and do without `run_once`.",
        )
    if arguments["sign_key"] and arguments["build_on"] == ON_TARGET:
        raise NixferryError(
            "with `build_on: target` nothing is built here that `sign_key` could sign",
            step=STEP,
            remedy="Build on the controller, or leave `sign_key` out: a host trusts its own builds.",
        )
    for name in ("max_memory", "evaluators"):
        if arguments[name] is not None and arguments[name] < 1:
            raise NixferryError(f"`{name}` must be positive", step=STEP)
    return BuildOptions(
        sources=tuple(sources_from(arguments, hosts).items()),
        directory=directory,
        kind=str(arguments["kind"]),
        option_pairs=_option_pairs(arguments),
        output=str(arguments["output"]),
        limits=default_limits(arguments["max_memory"], arguments["evaluators"]),
        timeout=arguments["timeout"] if arguments["timeout"] > 0 else None,
        dry_run=check_mode and not arguments["build_in_check_mode"],
        signing_key=read_signing_key(str(Path(directory, arguments["sign_key"])))
        if arguments["sign_key"]
        else None,
        nix_eval_jobs=str(arguments["nix_eval_jobs"]),
        build_on=str(arguments["build_on"]),
        only_boot_loader=arguments["only_boot_loader"] or "",
    )


def _option_pairs(arguments: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    named = builder_settings(arguments["builders"], arguments["max_jobs"])
    twice = sorted(named.keys() & arguments["options"].keys())
    if twice:
        raise NixferryError(
            f"`{twice[0]}` is given in `options` and as `{twice[0].replace('-', '_')}`", step=STEP
        )
    options = {str(name): setting_text(value) for name, value in arguments["options"].items()}
    return tuple({**options, **named}.items())


def setting_text(value: object) -> str:
    """Return a value as written in nix.conf: lists separated by spaces, booleans as true and false."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return " ".join(map(setting_text, value))
    return str(value)
