# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of the roles."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip(
    "antsibull_docs_parser", reason="make test-unit installs no documentation tools; make lint checks it too"
)

import role_readmes


def test_every_variable_is_a_row(tmp_path: Path) -> None:
    role = tmp_path / "example"
    (role / "meta").mkdir(parents=True)
    (role / "meta/argument_specs.yml").write_text("""
argument_specs:
  main:
    short_description: Do it
    description: ["Does it with C(tool), O(example_b) or V(x|y).", Twice.]
    options:
      example_b: {type: list, elements: str, default: [a, b], description: "V(x|y), M(ansible.builtin.debug)."}
      example_a: {type: int, required: true, description: A number.}
      example_c: {type: str, choices: [never, "yes"], description: No default.}
  other:
    short_description: Do the other
""")
    page = role_readmes.readme(role)
    assert "Does it with `tool`, `example_b` or `x|y`." in page
    assert [line for line in page.splitlines() if line.startswith("| `")] == [
        "| `example_a` | int | required | A number. |",
        "| `example_b` | list of str | `[a, b]` | `x\\|y`, ansible.builtin.debug. |",
        "| `example_c` | str |  | No default. Choices: `never`, `'yes'`. |",
    ]
    assert "- `other`: Do the other" in page
