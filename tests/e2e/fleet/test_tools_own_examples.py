# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The examples that the tools come with, as they are: their hosts have the systems that the tool itself evaluates.

Only what an example fetches is replaced: its nixpkgs by NIXPKGS_TREE, and the inputs of its flake by checkouts. The
example of nixus is for a nixpkgs of 2019, and later ones refuse its user: test_original_tools.py has a network for it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fleets import answers_of, listing_of
from lab import REPOSITORY
from trees import TOOLS, TREE, with_tools

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.evaluate import Evaluation
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.fleet_words import fleet_from

# A pinned nixpkgs, as examples fetch it.
FETCHED = re.compile(r"(?:builtins\.)?fetchTarball\s*(?:\{[^}]*\}|\"[^\"]*\")")
# Examples that are flakes: the directory, a host with its address, and the derivation that the tool builds for it.
FLAKES = {
    "deploy-rs": (
        "examples/system",
        "example",
        "localhost",
        "deploy.nodes.example.profiles.system.path.drvPath",
    ),
    "colmena": (
        "src/nix/hive/tests/makehive-flake",
        "host-b",
        "somehost.tld",
        "colmenaHive.nodes.host-b.config.system.build.toplevel.drvPath",
    ),
}
# What a tool calls flake-utils, and its inputs that no example evaluates.
UTILS = {"deploy-rs": "utils", "colmena": "flake-utils"}
UNUSED = {"deploy-rs": (), "colmena": ("stable", "nix-github-actions")}
CHECKOUTS = (*FLAKES, "flake-utils", "systems", "flake-compat")
with_flakes = pytest.mark.skipif(
    TREE is None or TOOLS is None or not all((TOOLS / name).is_dir() for name in CHECKOUTS),
    reason=f"NIXPKGS_TREE or FLEET_TOOLS names no checkout of nixpkgs or of {', '.join(CHECKOUTS)}",
)


@dataclass(frozen=True)
class Example:
    """Files of a tool's checkout. ``theirs`` is what evaluates them with the tool's own code, as nodes by name."""

    tool: str
    files: Sequence[str]
    theirs: str
    hosts: Sequence[str]
    pins: Sequence[str] = ()
    """Files of the checkout that fetch nixpkgs."""
    added: Mapping[str, str] = field(default_factory=dict)
    """Files that the tool's own tests make beside an example, or that are this test's own."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """Files of the checkout that the tool's own tests copy beside an example, by their new names."""
    left_out: Sequence[str] = ()
    """Hosts that are listed and not compared."""


def morph(name: str, *hosts: str) -> Example:
    file = f"examples/{name}.nix"
    theirs = f"(import ./data/eval-machines.nix {{ networkExpr = ./{file}; }}).nodes"
    return Example("morph", [file], theirs, hosts, pins=["nixpkgs.nix"])


def colmena(name: str, *hosts: str, left_out: Sequence[str] = ()) -> Example:
    file = f"integration-tests/{name}/hive.nix"
    theirs = f"(import ./src/nix/hive/eval.nix {{ rawHive = import ./{file}; }}).nodes"
    tools = {"integration-tests/tools.nix": f"integration-tests/{name}/tools.nix"}
    return Example("colmena", [file], theirs, hosts, beside=tools, left_out=left_out)


def nixops(*files: str, hosts: Sequence[str], added: Mapping[str, str]) -> Example:
    every = (*files, "own.nix")
    expressions = " ".join(f"./{file}" for file in every)
    # NixOps adds its service for keys to every system. The keys are placed in another way here.
    own = f"{{ defaults = {{ disabledModules = [ {TOOLS}/nixops/nix/keys.nix ]; }}; }}"
    theirs = (
        f"(import {TOOLS}/nixops/nix/eval-machine-info.nix {{ networkExprs = [ {expressions} ]; "
        'uuid = "u"; deploymentName = "d"; args = { }; pluginNixExprs = [ ]; }).nodes'
    )
    return Example("nixops", every, theirs, hosts, added={"own.nix": own, **added})


# What NixOps writes for a machine that it did not make.
PHYSICAL = '{ machine = { boot.isContainer = true; deployment.targetHost = "192.0.2.1"; }; }'
EXAMPLES = {
    "morph-simple": morph("simple", "db01", "web01"),
    "morph-healthchecks": morph("healthchecks", "web01"),
    "morph-secrets": morph("secrets", "web01"),
    # The others have the same modules, or take a quarter of an hour.
    "colmena-exec": colmena("exec", "alpha", left_out=["beta", "deployer", "gamma"]),
    "nixops-legacy": nixops(
        "integration-tests/legacy/nixops.nix",
        hosts=["server"],
        added={"integration-tests/legacy/server-network.json": "{}"},
    ),
    "nixops-hello": nixops(
        "tests/functional/single_machine_logical_base.nix",
        "tests/functional/single_machine_has_hello.nix",
        "physical.nix",
        hosts=["machine"],
        added={"physical.nix": PHYSICAL},
    ),
}


def lay_out(example: Example, directory: Path) -> None:
    """Copy the tool's checkout, with what replaces what it fetches."""
    shutil.copytree(f"{TOOLS}/{example.tool}", directory, dirs_exist_ok=True)
    for name in example.pins:
        text, count = FETCHED.subn(f"({TREE})", (directory / name).read_text())
        assert count == 1, name
        (directory / name).write_text(text)
    for source, name in example.beside.items():
        shutil.copy(directory / source, directory / name)
    for name, text in example.added.items():
        (directory / name).write_text(text)


@with_tools
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_system_of_a_tools_own_example(tmp_path: Path, by: Nix, name: str) -> None:
    example = EXAMPLES[name]
    lay_out(example, tmp_path)
    files = " ".join(f"./{file}" for file in example.files)
    hosts = " ".join(f'"{host}"' for host in example.hosts)
    (tmp_path / "both.nix").write_text(f"""
        let
          path = system: builtins.unsafeDiscardStringContext system.drvPath;
          ours = import {REPOSITORY}/plugins/plugin_utils/nix/fleet {{ files = [ {files} ]; }};
          theirs = {example.theirs};
        in
        {{
          inherit (ours) format;
          names = builtins.attrNames ours.hosts;
          theirNames = builtins.attrNames theirs;
          systems = map (name: {{
            theirs = path theirs.${{name}}.config.system.build.toplevel;
            ours = path ours.hosts.${{name}}.toplevel;
          }}) [ {hosts} ];
        }}
    """)
    argv = [
        "nix-instantiate",
        "--eval",
        "--strict",
        "--json",
        "-I",
        f"nixpkgs={TREE}",
        str(tmp_path / "both.nix"),
    ]
    found = json.loads(by.run(argv, step=Step.EVALUATE).stdout)
    # No format is given: what the tool itself reads or returns tells it.
    assert found["format"] == example.tool
    assert found["names"] == found["theirNames"] == sorted([*example.hosts, *example.left_out])
    for host, systems in zip(example.hosts, found["systems"], strict=True):
        assert systems["ours"] == systems["theirs"], host


# The flake of a nixpkgs whose files stay where they are. What Nix would say of its source is made up.
NIXPKGS = """
{{
  outputs = {{ self }}: (import {tree}/flake.nix).outputs {{
    self = {{ outPath = "{tree}"; lastModifiedDate = "20240601000000"; }};
  }};
}}
"""


def flake_of(directory: Path, example: str) -> tuple[Path, dict[str, str]]:
    """Lay out an example that is a flake, and what its inputs are replaced by. The tool is one of them."""
    flake, nixpkgs = directory / "flake", directory / "nixpkgs"
    shutil.copytree(f"{TOOLS}/{example}", flake)
    nixpkgs.mkdir()
    (nixpkgs / "flake.nix").write_text(NIXPKGS.format(tree=TREE))
    (nixpkgs / "default.nix").write_text(f"import {TREE}\n")
    tool = example.partition("/")[0]
    utils = UTILS[tool]
    return flake, {
        "nixpkgs": f"path:{nixpkgs}",
        tool: f"path:{TOOLS}/{tool}",
        **{f"{tool}/{name}": f"path:{nixpkgs}" for name in ("nixpkgs", *UNUSED[tool])},
        f"{tool}/{utils}": f"path:{TOOLS}/flake-utils",
        f"{tool}/{utils}/systems": f"path:{TOOLS}/systems",
        f"{tool}/flake-compat": f"path:{TOOLS}/flake-compat",
    }


def evaluated(by: Nix, flake: Path, inputs: Mapping[str, str], attribute: str) -> str:
    """What Nix itself says of an attribute that is a string."""
    overrides = [word for pair in inputs.items() for word in ("--override-input", *pair)]
    argv = [
        "nix",
        "eval",
        "--impure",
        "--no-write-lock-file",
        "--raw",
        f"path:{flake}#{attribute}",
        *overrides,
    ]
    return by.run(argv, step=Step.EVALUATE).stdout


@with_flakes
@pytest.mark.parametrize("tool", FLAKES)
def test_the_system_of_an_example_that_is_a_flake(tmp_path: Path, by: Nix, tool: str) -> None:
    directory, host, address, attribute = FLAKES[tool]
    flake, inputs = flake_of(tmp_path, f"{tool}/{directory}")
    fleet = fleet_from(
        [f"path:{flake}"], directory=str(tmp_path), override_inputs=inputs, impure=True, write_lock_file=False
    ).settled(by)
    listed = listing_of(fleet, by=by)
    assert listed.format == tool
    assert listed.hosts[host]["target_host"] == address
    ours = answers_of(fleet, host, by=by)[host]
    assert isinstance(ours, Evaluation), ours
    theirs = evaluated(by, flake, inputs, attribute)
    if tool == "deploy-rs":
        # What it builds is a wrapper around the system that it activates.
        needed = by.run(["nix-store", "--query", "--references", theirs], step=Step.EVALUATE).stdout.split()
        theirs, *more = [each for each in needed if "-nixos-system-" in each and "-activate-" not in each]
        assert more == []
    assert ours.drv_path == theirs
