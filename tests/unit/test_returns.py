# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every action fails with the same keys, and its documentation describes them in the same words.

Ansible's documentation fragments hold no return values, so these stand in the documentation of each action.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.plugins.loader import fragment_loader
from ansible.utils.plugin_docs import get_docstring

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step

REPOSITORY = Path(__file__).parents[2]
ACTIONS = sorted(path.stem for path in (REPOSITORY / "plugins/action").glob("*.py"))
# Beside the sample of a step, which is one of the action's own.
OF_A_FAILURE = """
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
cause:
  description: The cause of the failure. The message begins with the host and the step, and ends with the remedy.
  returned: failure
  type: str
remedy:
  description: How to fix it, if known.
  returned: failure
  type: str
output:
  description: The end of the programs' output.
  returned: failure
  type: list
  elements: str
"""
# Keys that Ansible documents for every result.
ANSIBLE = {"changed", "failed", "msg"}


def returned(action: str) -> dict[str, Any]:
    """The documented return values of an action."""
    path = REPOSITORY / f"plugins/modules/{action}.py"
    _doc, _examples, values, _metadata = get_docstring(
        str(path), fragment_loader, is_module=True, collection_name="nixferry.deploy", plugin_type="module"
    )
    return dict(values)


def test_the_table_has_the_keys_of_an_error() -> None:
    error = NixferryError("it broke", step=Step.REACH, remedy="Mend it.", output=["a line"])
    assert error.result("web1").keys() - ANSIBLE == yaml.safe_load(OF_A_FAILURE).keys()


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_describes_its_failure_as_all_do(action: str) -> None:
    expected = yaml.safe_load(OF_A_FAILURE)
    found = {name: value for name, value in returned(action).items() if name in expected}
    assert found["step"].pop("sample") in list(Step)
    assert found == expected
