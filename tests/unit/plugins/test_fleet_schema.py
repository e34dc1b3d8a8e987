# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The schema of fleet.yml has the options of the inventory plugin, and accepts what the documentation shows."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import fragment_loader, inventory_loader
from ansible.utils.plugin_docs import get_docstring

from ansible_collections.nixferry.deploy.plugins.inventory.fleet import EXAMPLES
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.inventory_options import refuse_unknown

REPOSITORY = Path(__file__).parents[3]
SCHEMA = json.loads((REPOSITORY / "docs/schemas/fleet.schema.json").read_text())
TYPES = {
    "str": "string",
    "string": "string",
    "int": "integer",
    "integer": "integer",
    "bool": "boolean",
    "boolean": "boolean",
    "list": "array",
    "dict": "object",
    "dictionary": "object",
}
NAME = "nixferry.deploy.fleet"
# Files that configure the plugin, in the repository and in blocks of the pages.
FILES = [
    path
    for folder in ("demo", "docs", "examples", "extensions", "playbooks", "tests")
    for path in (REPOSITORY / folder).rglob("*.y*ml")
    if re.search(rf"^plugin: {NAME}$", path.read_text(), re.MULTILINE)
]
BLOCKS = [
    textwrap.dedent(block)
    for page in sorted((REPOSITORY / "docs/docsite/rst").glob("*.rst"))
    for block in re.findall(r"^\.\. code-block:: yaml\n\n((?:   .*\n|\n)+)", page.read_text(), re.MULTILINE)
    if f"plugin: {NAME}" in block
]


def options() -> dict[str, Any]:
    """The options of the plugin with those of Ansible's fragments, as this ansible-core has them."""
    path = str(REPOSITORY / "plugins/inventory/fleet.py")
    found, *_rest = get_docstring(
        path, fragment_loader, collection_name="nixferry.deploy", plugin_type="inventory"
    )
    return dict(found["options"])


def test_the_schema_has_the_options_of_the_plugin() -> None:
    properties, documented = SCHEMA["properties"], options()
    assert sorted(properties) == sorted(documented)
    assert sorted(SCHEMA["required"]) == sorted(
        name for name, option in documented.items() if option.get("required")
    )
    for name, option in documented.items():
        described = properties[name]
        if name in ("plugin", "fleet"):
            continue
        assert described.get("default") == option.get("default"), name
        if "choices" in option:
            assert described["enum"] == option["choices"], name
        else:
            assert described["type"] == TYPES[option.get("type", "str")], name


def test_what_the_documentation_shows_is_valid() -> None:
    jsonschema = pytest.importorskip(
        "jsonschema", reason="make test-unit installs no validator; make test does"
    )
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.check_schema(SCHEMA)
    texts = [*BLOCKS, *(path.read_text() for path in FILES), EXAMPLES]
    documents = [document for text in texts for document in yaml.safe_load_all(text)]
    assert len(documents) >= 8
    for document in documents:
        validator.validate(document)
        refuse_unknown(document, SCHEMA["properties"])


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("fromat", "did you mean format?"),
        ("fleets", "did you mean fleet?"),
        ("colour", "colour is not a valid option"),
    ],
)
def test_an_unknown_key_is_refused_by_the_schema_and_by_the_plugin(
    tmp_path: Path, key: str, said: str
) -> None:
    configuration = {"plugin": NAME, "fleet": ".", key: "x"}
    with pytest.raises(NixferryError, match=re.escape(said)):
        refuse_unknown(configuration, SCHEMA["properties"])
    file = tmp_path / "fleet.yml"
    file.write_text(yaml.safe_dump(configuration))
    plugin = inventory_loader.get(NAME)
    with pytest.raises(AnsibleError) as raised:
        plugin.parse(InventoryData(), DataLoader(), str(file))
    assert said in str(raised.value)
    assert str(file) in str(raised.value)
    jsonschema = pytest.importorskip(
        "jsonschema", reason="make test-unit installs no validator; make test does"
    )
    with pytest.raises(jsonschema.ValidationError, match=key):
        jsonschema.validate(configuration, SCHEMA)


def test_the_keys_of_another_inventory_are_not_looked_at(tmp_path: Path) -> None:
    """A file of this name may be an inventory of another plugin, and Ansible says so."""
    file = tmp_path / "fleet.yml"
    file.write_text("all:\n  hosts:\n    web1:\n")
    with pytest.raises(AnsibleError, match="Incorrect plugin name"):
        inventory_loader.get(NAME).parse(InventoryData(), DataLoader(), str(file))
