# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Locate a host's derivation: a flake, a file or an expression, and an attribute path into it.

Several hosts share a ``Root``, which one evaluator can process for all of them; only the attribute path differs from
host to host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS, Kind
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import NixRequest
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.literal import nix_literal, nix_string

PLACEHOLDER = "{host}"
STEP = Step.EVALUATE
_WRITTEN = 'Write it as Nix does: names with dots between them, in quotes where a name has a dot in it (`hosts."a.b"`).'
AttributePath = tuple[str, ...]

_EVALUATOR = Path(__file__).parent.parent / "nix" / "evaluate.nix"
_SEARCH_PATH_ENTRY = re.compile(r"<[^<>]+>")
# Characters of an attribute name without quotes, in Nix and in the fragment of a URL.
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_'-]*")


@dataclass(frozen=True)
class FlakeRoot:
    """An attribute of a flake. ``prefix`` is the first name of the attribute path, which ``nix eval`` looks up.

    ``override_inputs`` are pairs of an input and a flake reference. Without ``write_lock_file`` Nix leaves
    the flake's lock file alone. ``adapter`` is a function that is applied to the attribute first.
    """

    reference: str
    prefix: str
    override_inputs: tuple[tuple[str, str], ...] = ()
    impure: bool = False
    write_lock_file: bool = True
    adapter: str = ""

    def request(
        self,
        paths: Mapping[str, AttributePath],
        *,
        special_args: Mapping[str, str] | None = None,
        data: bool = False,
    ) -> NixRequest:
        """Return the request for the derivations at ``paths``, or for the values there."""
        root = f"(({self.adapter}) root)" if self.adapter else "root"
        question = _question(root, "{ }", paths, special_args or {}, prefix=self.prefix, data=data)
        return self._apply(f"root: {question}")

    def value_request(self) -> NixRequest:
        """Return the request for the value itself, as JSON."""
        return self._apply(self.adapter or "value: value")

    def _apply(self, body: str) -> NixRequest:
        arguments = ("nix", "eval", *self._flags(), "--json", "--apply", body)
        return NixRequest((*arguments, f"{self.reference}#{quote(quoted_attribute(self.prefix))}"))

    def lock_request(self) -> NixRequest:
        """Return the request that fetches the flake and updates its lock file, once, before parallel evaluators run."""
        return NixRequest(("nix", "flake", "metadata", *self._flags(), "--json", self.reference))

    def _flags(self) -> list[str]:
        """Return the options of every call of Nix that reads the flake: the only place that writes them."""
        flags = [] if self.write_lock_file else ["--no-write-lock-file"]
        for name, reference in self.override_inputs:
            flags += ["--override-input", name, reference]
        if self.impure:
            flags.append("--impure")
        return flags


@dataclass(frozen=True)
class ExpressionRoot:
    """A Nix expression. ``arguments`` is the Nix literal of the arguments of functions in it.

    ``include`` has entries of the search path; they come before those of NIX_PATH. ``anywhere`` means that it contains
    no relative paths, so it means the same in every directory.
    """

    expression: str
    arguments: str = "{ }"
    include: tuple[str, ...] = ()
    anywhere: bool = False

    def request(
        self,
        paths: Mapping[str, AttributePath],
        *,
        special_args: Mapping[str, str] | None = None,
        data: bool = False,
    ) -> NixRequest:
        """Return the request for the derivations at ``paths``, or for the values there."""
        return self._evaluate(self.question(paths, special_args=special_args, data=data))

    def question(
        self,
        paths: Mapping[str, AttributePath],
        *,
        special_args: Mapping[str, str] | None = None,
        data: bool = False,
        bare: bool = False,
    ) -> str:
        """Return the expression that describes the values at ``paths``; with ``bare``, the derivations themselves."""
        root = f"({self.expression}\n)"
        return _question(root, self.arguments, paths, special_args or {}, data=data, bare=bare)

    def value_request(self) -> NixRequest:
        """Return the request for the value itself, as JSON."""
        return self._evaluate(self.expression)

    def _evaluate(self, text: str) -> NixRequest:
        # On standard input: without a length limit, and not in the process list.
        flags = ("--eval", "--json", "--strict", "--read-write-mode", *self.search_path)
        return NixRequest(("nix-instantiate", *flags, "-"), input=text.encode())

    @property
    def search_path(self) -> tuple[str, ...]:
        """Return the options that add ``include`` to the search path."""
        return tuple(part for entry in self.include for part in ("-I", entry))

    def lock_request(self) -> None:
        """Return None: there is nothing to lock."""


Root = FlakeRoot | ExpressionRoot


@dataclass(frozen=True)
class Attribute:
    """One derivation: ``path`` is relative to ``root``."""

    root: Root
    path: AttributePath
    special_args: str = ""
    """Nix literal of further arguments for the modules of its system; empty for none."""


def flake_attribute(
    flake: str,
    host: str,
    *,
    kind: Kind,
    override_inputs: Mapping[str, str] | None = None,
    impure: bool = False,
    write_lock_file: bool = True,
) -> Attribute:
    """Return the attribute that the flake reference ``flake`` means for ``host``.

    ``{host}`` is replaced, and dots in a host's name do not split the path. Then: a reference without an
    attribute means the host's system in the output of ``kind``; an output of systems with a name in it means
    that system; any other attribute is used unchanged.
    Raises ``NixferryError`` if the kind has no flake output and the reference no attribute.
    """
    reference, _hash, fragment = flake.partition("#")
    path = [segment.replace(PLACEHOLDER, host) for segment in split_attribute_path(fragment)]
    if not path:
        if not kind.flake_output:
            raise NixferryError(
                f"the flake reference {flake!r} names no attribute, and flakes have no output for {kind.name}",
                step=STEP,
                remedy=f"Name the attribute, for instance '{flake}#packages.x86_64-linux.{PLACEHOLDER}'.",
            )
        path = [kind.flake_output, host]
    if len(path) == 2:
        for known in KINDS.values():
            if known.flake_output == path[0]:
                path += split_attribute_path(known.flake_attribute)
                break
    root = FlakeRoot(
        reference=reference.replace(PLACEHOLDER, quote(host)) or ".",
        prefix=path[0],
        override_inputs=tuple((override_inputs or {}).items()),
        impure=impure,
        write_lock_file=write_lock_file,
    )
    return Attribute(root, tuple(path[1:]))


def file_attribute(
    file: str, attribute: str, host: str, *, directory: str, arguments: str, include: tuple[str, ...] = ()
) -> Attribute:
    """Return an attribute of a Nix file, a path relative to ``directory``, or ``<a/name>`` in NIX_PATH.

    Raises ``NixferryError`` if the file does not exist.
    """
    if _SEARCH_PATH_ENTRY.fullmatch(file):
        return expression_attribute(
            f"import {file}", attribute, host, arguments=arguments, include=include, anywhere=True
        )
    path = Path(directory, Path(file).expanduser())
    if not path.exists():
        raise NixferryError(
            f"the file {path} does not exist",
            step=STEP,
            remedy="Give a file or a directory with default.nix in it. "
            "A relative path counts from the playbook's directory.",
        )
    expression = f"import {nix_string(str(path), where='the file name')}"
    return expression_attribute(
        expression, attribute, host, arguments=arguments, include=include, anywhere=True
    )


def expression_attribute(
    expression: str,
    attribute: str,
    host: str,
    *,
    arguments: str,
    include: tuple[str, ...] = (),
    anywhere: bool = False,
) -> Attribute:
    """Return an attribute of the value of an expression; the value itself if ``attribute`` is empty."""
    path = tuple(segment.replace(PLACEHOLDER, host) for segment in split_attribute_path(attribute))
    return Attribute(ExpressionRoot(expression, arguments, include, anywhere), path)


def arguments_literal(args: Mapping[str, Any], argstrs: Mapping[str, Any]) -> str:
    """Return ``args`` and ``argstrs`` as one Nix attribute set; the values of ``argstrs`` become strings.

    Raises ``NixferryError`` if a name is in both or Nix has no such value.
    """
    both = sorted(set(args) & set(argstrs))
    if both:
        raise NixferryError(
            f"{', '.join(both)}: in args and in argstrs", step=STEP, remedy="Leave each out of one of them."
        )
    return nix_literal({**args, **{name: str(value) for name, value in argstrs.items()}}, where="args")


def split_attribute_path(text: str) -> list[str]:
    """Split ``a.b."c.d"`` into its names. Quotes protect dots, as in ``-A`` (src/libexpr/attr-path.cc of Nix).

    Raises ``NixferryError`` if a quote is not closed or a name is empty.
    """
    if not text:
        return []
    names = [""]
    quoted = was_quoted = False
    for character in text:
        if character == '"':
            quoted = not quoted
            was_quoted = True
        elif character == "." and not quoted:
            _refuse_empty(names[-1], was_quoted, text)
            names.append("")
            was_quoted = False
        else:
            names[-1] += character
    if quoted:
        raise NixferryError(
            f"a quote is not closed in the attribute path {text!r}", step=STEP, remedy=_WRITTEN
        )
    _refuse_empty(names[-1], was_quoted, text)
    return names


def quoted_attribute(name: str) -> str:
    """Return ``name`` as written in an attribute path."""
    return name if _PLAIN_NAME.fullmatch(name) else f'"{name}"'


def _refuse_empty(name: str, was_quoted: bool, text: str) -> None:
    if not name and not was_quoted:
        raise NixferryError(
            f"the attribute path {text!r} has an empty name in it", step=STEP, remedy=_WRITTEN
        )


def _question(
    root: str,
    arguments: str,
    paths: Mapping[str, Sequence[str]],
    special_args: Mapping[str, str],
    *,
    data: bool,
    bare: bool = False,
    prefix: str = "",
) -> str:
    """Return the expression that describes the derivations at ``paths`` below ``root``, or the values there."""
    names = nix_literal([prefix] if prefix else [])
    requests = nix_literal({name: list(path) for name, path in paths.items()}, where="the attribute paths")
    text = _EVALUATOR.read_text(encoding="utf-8")
    special = " ".join(f"{nix_string(name)} = {given};" for name, given in special_args.items() if given)
    wanted = (
        f"prefix = {names}; requests = {requests}; specialArgs = {{ {special} }}; "
        f"data = {nix_literal(data)}; bare = {nix_literal(bare)};"
    )
    return f"({text}) {{ root = {root}; arguments = {arguments}; {wanted} }}"
