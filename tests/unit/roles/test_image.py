# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which steps the role `image` takes: for an image, a variant, and the replacement of a machine."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from stage import Performance, Stage

PAGE = Path(__file__).parents[3] / "docs/docsite/rst/images.rst"
EXCHANGE = "Exchange the disk of the machine"
PROOF = "Log in to the machine, and run the health checks"
BEFORE = [
    "Make the image",
    "Copy the image to the hypervisor",
    "Keep the disk that the machine has",
    EXCHANGE,
]
STORED = {"store_path": "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-web1"}
MACHINE = {"image_hypervisor": "hv1", "image_machine_disk": "/srv/a disk"}


def machine(**answers: Any) -> dict[str, Any]:
    built = {"nix_build": {"toplevel": "/nix/store/x"}, "Make the image": STORED}
    return {**MACHINE, "group": "machines", "answers": {**built, EXCHANGE: {"changed": True}, **answers}}


def steps(done: Performance, host: str) -> list[str]:
    """The steps after the build."""
    names = [step.rpartition(" : ")[2] for step in done.steps[host]]
    return names[names.index("Make the image") :] if "Make the image" in names else names


@pytest.fixture(scope="module")
def replaced(stage: Stage) -> Performance:
    hosts = {
        "well": machine(),
        "unwell": machine(**{PROOF: {"failed": True, "msg": "unwell: it hangs", "cause": "it hangs"}}),
        "same": machine(**{EXCHANGE: {"changed": False}}),
        "broken": machine(**{EXCHANGE: {"failed": True, "msg": "no room"}}),
        "lost": {**machine(), "image_hypervisor": "hv2"},
        "hv1": {"group": "hypervisors"},
    }
    role = {"name": "nixferry.deploy.image", "tasks_from": "replace"}
    return stage.run([{"hosts": "machines", "tasks": [{"ansible.builtin.include_role": role}]}], hosts)


def test_a_machine_that_is_well_keeps_its_new_disk(replaced: Performance) -> None:
    assert steps(replaced, "well") == [*BEFORE, PROOF, "Keep the new disk"]
    assert replaced.options["well"]["Keep the new disk"]["step"] == "confirm"


def test_a_machine_that_is_not_well_goes_back(replaced: Performance) -> None:
    assert steps(replaced, "unwell") == [*BEFORE, PROOF, "Go back to the disk before"]
    assert replaced.options["unwell"]["Go back to the disk before"]["step"] == "abort"
    assert replaced.options["unwell"]["Go back to the disk before"]["reason"] == "it hangs"
    assert "runs from the one before: unwell: it hangs" in replaced.output


def test_a_machine_with_the_same_image_is_left_alone(replaced: Performance) -> None:
    assert steps(replaced, "same") == BEFORE


def test_a_failed_exchange_is_the_guards_to_undo(replaced: Performance) -> None:
    assert steps(replaced, "broken") == BEFORE


def test_a_machine_without_its_hypervisor_is_not_touched(replaced: Performance) -> None:
    assert steps(replaced, "lost") == []
    assert replaced.failed == {"unwell", "broken", "lost"}


def test_the_programs_get_names_as_they_are(replaced: Performance) -> None:
    options = replaced.options["well"][EXCHANGE]
    assert options["profile"] == "/nix/var/nix/profiles/machines/well"
    command = options["activate_command"]
    assert command.startswith("MACHINE=well\nDISK_LINK='/srv/a disk'\nPREPARE='qemu-img create ")
    assert "\nSTART='virsh start \"$MACHINE\"'\n" in command


def test_a_variant_is_an_attribute_of_the_system(stage: Stage) -> None:
    sources = {
        "dot": {"nixos_flake": "."},
        "fragment": {"nixos_flake": "/x#nixosConfigurations.a"},
        "short": {"nixos_flake": ".#a"},
        "file": {"nixos_file": "x.nix", "nixos_attr": "{host}"},
        "fleet": {"nixos_fleet": "fleet.nix"},
    }
    built = {"nix_build": {"toplevel": "/nix/store/x"}}
    hosts = {name: {**source, "image_variant": "qemu", "answers": built} for name, source in sources.items()}
    done = stage.run([{"hosts": "all", "roles": ["nixferry.deploy.image"]}], hosts)
    assert done.failed == {"fleet"}
    assert "image_variant qemu needs the systems of a flake" in done.output
    found = done.options["dot"]["Build the systems of all hosts together"]["sources"]
    variant = "config.system.build.images.qemu"
    assert {name: source.get("flake") or source.get("attr") for name, source in found.items()} == {
        "dot": f".#nixosConfigurations.{{host}}.{variant}",
        "fragment": f"/x#nixosConfigurations.a.{variant}",
        "short": f".#nixosConfigurations.a.{variant}",
        "file": f"{{host}}.{variant}",
    }


def test_the_plays_of_the_page_are_plays(stage: Stage) -> None:
    blocks = re.findall(r"^\.\. code-block:: yaml\n\n((?:   .*\n|\n)+)", PAGE.read_text(), re.M)
    plays = [
        play
        for block in map(yaml.safe_load, map(textwrap.dedent, blocks))
        if isinstance(block, list)
        for play in block
        if "hosts" in play
    ]
    assert [play["name"] for play in plays] == ["Make images", "Replace machines by their images"]
    built = {"answers": {"nix_build": {"toplevel": "/nix/store/x"}, "Make the image": STORED}}
    hosts = {
        "web1": {**built, "group": "nixos"},
        "vm1": {**built, "group": "machines"},
        "hv1": {"group": "hypervisors"},
    }
    done = stage.run(plays, hosts)
    assert done.return_code == 0, done.output
    assert steps(done, "web1") == ["Make the image"]
    assert steps(done, "vm1") == BEFORE
    assert done.options["vm1"]["Make the image"]["format"] == "qcow2"
