# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Examples of the guides, as tests run them."""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path

import yaml
from lab import REPOSITORY
from project import Project

README = REPOSITORY / "README.md"


GUIDE = REPOSITORY / "docs/docsite/rst/guide.rst"


REBOOTS = REPOSITORY / "docs/docsite/rst/reboots.rst"


# What the documentation cannot know: where the lab's hosts are and how to log in.
LAB_VARIABLES = (
    "ansible_host",
    "ansible_port",
    "ansible_ssh_private_key_file",
    "ansible_ssh_common_args",
    "lab_http_port",
)


def readme_blocks() -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", README.read_text(), re.M | re.S)


def guide_blocks(page: Path = GUIDE) -> list[str]:
    return [f"{block}\n" for block in page_blocks(page, "yaml")]


def page_blocks(page: Path, language: str) -> list[str]:
    """The examples in one language, without a line end behind them."""
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", page.read_text(), re.M)
    return [textwrap.dedent(block).strip() for block in found]


def is_playbook(text: str) -> bool:
    content = yaml.safe_load(text)
    return isinstance(content, list) and "hosts" in content[0]


def inventory_for_the_lab(text: str, project: Project) -> str:
    """An inventory of the documentation with the lab's addresses and the lab's unprivileged user."""
    inventory = yaml.safe_load(text)
    lab = yaml.safe_load((project.lab.directory / "inventory.yml").read_text())["lab"]
    for host, variables in inventory["nixos"]["hosts"].items():
        own = {**lab["vars"], **lab["hosts"][host]}
        variables.update({name: own[name] for name in LAB_VARIABLES if name in own})
        if variables["ansible_user"] != "root":
            variables["ansible_user"] = "deploy"
    return yaml.safe_dump(inventory)


def beside(project: Project, playbook: Path) -> None:
    """Put the flake of systems where the documentation has it: beside the playbook."""
    shutil.copytree(project.systems, playbook.parent, dirs_exist_ok=True)
