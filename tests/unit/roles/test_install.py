# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which steps the role `install` takes, what it builds, and that its page names the variables that it has."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from stage import Performance, Stage

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.variables import (
    refuse_values,
    role_variables,
)

PAGE = Path(__file__).parents[3] / "docs/docsite/rst/install.rst"
LOOK = "Look at the machine and its disks"
FITS = "Look whether the system and the disko script fit the machine"
DISKO = "Build the disko script"
BUILDS = ["Build the system", DISKO]
SYSTEM = ["Install the system on the disks", "Boot the new system"]


def machine(steps: list[str], left: list[str] | None = None, **variables: Any) -> dict[str, Any]:
    """A machine on which these steps are left, as seen before the build, and after it."""
    answers = {LOOK: {"steps": steps}, FITS: {"steps": steps if left is None else left}}
    return {**variables, "answers": {**answers, "nix_build": {"toplevel": "/nix/store/x"}}}


@pytest.fixture(scope="module")
def done(stage: Stage) -> Performance:
    whole = ["disks", "system", "reboot"]
    hosts = {
        "managed": machine([]),
        "new": machine(whole, install_hardware_file="facter.json", nixos_health_checks=[{"unit": "web"}]),
        "linux": machine(["kexec", *whole], install_kexec="image.tar.gz", nixos_secrets={"a": {"text": "b"}}),
        "resumed": machine(whole, ["system", "reboot"]),
        "rebooted": machine(["reboot"]),
        "fragment": machine(
            whole,
            nixos_flake="git+file:x#nixosConfigurations.a.config.system.build.toplevel",
            nixos_impure=True,
        ),
        "file": machine(whole, nixos_file="x.nix", nixos_attr="{host}", nixos_args={"a": 1}),
        "given": machine(whole, install_disko={"store_path": "/nix/store/y"}),
    }
    return stage.run([{"hosts": "all", "roles": ["nixferry.deploy.install"]}], hosts)


def steps(done: Performance, host: str) -> list[str]:
    return [step.rpartition(" : ")[2] for step in done.steps[host]]


def test_the_steps(done: Performance) -> None:
    assert not done.failed, done.output
    assert steps(done, "managed") == [LOOK]
    assert steps(done, "new") == [
        LOOK,
        *BUILDS,
        FITS,
        "Read the hardware",
        "Format the disks",
        *SYSTEM,
        "Check the health of the new system",
    ]
    assert steps(done, "linux") == [
        LOOK,
        *BUILDS,
        FITS,
        "Start the installer",
        "Format the disks",
        *SYSTEM,
        "Place the secrets",
    ]
    assert steps(done, "resumed") == [LOOK, *BUILDS, FITS, *SYSTEM]
    assert steps(done, "rebooted") == [LOOK, *BUILDS, FITS, "Boot the new system"]


def test_the_disko_script_is_that_of_the_configuration(done: Performance) -> None:
    def source(host: str) -> dict[str, Any]:
        found = done.options[host][DISKO]["sources"][host]
        return {name: value for name, value in found.items() if value}

    attribute = "config.system.build.diskoScript"
    assert source("new") == {"flake": f'.#nixosConfigurations."{{host}}".{attribute}'}
    assert source("fragment") == {"flake": f"git+file:x#nixosConfigurations.a.{attribute}", "impure": True}
    assert source("file") == {"file": "x.nix", "attr": f"{{host}}.{attribute}", "args": {"a": 1}}
    assert source("given") == {"store_path": "/nix/store/y"}


def test_a_source_without_a_disko_script_is_refused(stage: Stage) -> None:
    hosts = {
        "fleet": machine(["disks"], nixos_fleet="hive.nix"),
        "named": machine(["disks"], nixos_fleet="hive.nix", install_disko={"store_path": "/nix/store/y"}),
    }
    done = stage.run([{"hosts": "all", "roles": ["nixferry.deploy.install"]}], hosts)
    assert done.failed == {"fleet"}
    assert "Name it in install_disko" in done.output
    assert steps(done, "fleet") == [LOOK]


def test_what_is_destroyed_is_said_in_every_step_that_looks_at_disks(stage: Stage) -> None:
    given = {"install_disks": ["/dev/disk/by-id/a"], "install_confirm": ["/dev/disk/by-id/a"]}
    hosts = {"new": machine(["kexec", "disks", "system", "reboot"], install_kexec="image.tar", **given)}
    done = stage.run([{"hosts": "all", "roles": ["nixferry.deploy.install"]}], hosts)
    for task in (LOOK, FITS, "Start the installer", "Format the disks"):
        assert done.options["new"][task]["disks"] == given["install_disks"], task
        assert done.options["new"][task]["confirm"] == given["install_confirm"], task


def test_the_page_names_variables_that_there_are() -> None:
    blocks = re.findall(r"^\.\. code-block:: yaml\n\n((?:   .*\n|\n)+)", PAGE.read_text(), re.M)
    seen = set()
    for block in blocks:
        content = yaml.safe_load(textwrap.dedent(block))
        variables = content if isinstance(content, dict) else content[0].get("roles", [{}])[0].get("vars", {})
        ours = {name: value for name, value in variables.items() if name.startswith("install_")}
        assert set(ours) <= role_variables("install"), block
        refuse_values("install", ours)
        seen |= set(ours)
    assert len(seen) > 5
    assert set(re.findall(r"install_[a-z_]+[a-z]", PAGE.read_text())) <= role_variables("install") | {
        "install_result"
    }
