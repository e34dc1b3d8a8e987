# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the README.md of every role from its argument specification: role_readmes.py [--check]

With --check nothing is written: names the files that are not what they would be, and exits with 1 if there are any.
The markup of the descriptions is Ansible's, read by the library that renders Ansible's own documentation.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from antsibull_docs_parser.md import to_md
from antsibull_docs_parser.parser import Context, parse

REPOSITORY = Path(__file__).resolve().parents[2]
NAMESPACE = "nixferry.deploy"
PAGE = """<!-- Written by tests/tools/role_readmes.py from meta/argument_specs.yml: change that. -->

# Role {namespace}.{role}

{about}

```yaml
- name: {short}
  hosts: all
  gather_facts: false
  roles:
    - role: {namespace}.{role}
```

`ansible-doc --type role {namespace}.{role}` shows this page in a terminal. The [guides](../../docs/docsite/rst) explain
what the role is for.

## Variables

| variable | type | default | meaning |
| --- | --- | --- | --- |
{rows}{others}"""
ENTRY_POINTS = """
## Other entry points

With `tasks_from` of `ansible.builtin.import_role`. They take the same variables.

{rows}"""
# The library writes HTML for what Markdown can quote, and escapes whatever could mean something anywhere.
QUOTED = re.compile(r"<code>(?:<strong>)?([^<`]*?)(?:</strong>)?</code>")
NEEDLESS = re.compile(r"\\([.,:;()'\"=/+!?%{}#@|_-])")


def markdown(text: str | Iterable[str]) -> str:
    """Return the text of a description, in which paragraphs are separate strings, as Markdown."""
    paragraphs = [text] if isinstance(text, str) else list(text)
    return QUOTED.sub(r"`\1`", NEEDLESS.sub(r"\1", to_md(parse(paragraphs, Context()))))


def row(name: str, option: Mapping[str, Any]) -> str:
    """Return the row of a variable in a table of Markdown."""
    kind = option.get("type", "str")
    if option.get("elements"):
        kind += f" of {option['elements']}"
    default = (
        "required"
        if option.get("required")
        else f"`{yaml_text(option['default'])}`"
        if "default" in option
        else ""
    )
    meaning = markdown(option["description"])
    if option.get("choices"):
        meaning += " Choices: " + ", ".join(f"`{yaml_text(choice)}`" for choice in option["choices"]) + "."
    # A line of Markdown is a row of the table.
    cells = [f"`{name}`", kind, default, " ".join(meaning.replace("|", "\\|").split())]
    return f"| {' | '.join(cells)} |\n"


def yaml_text(value: object) -> str:
    """Return a value as one would write it in a playbook, on one line."""
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")
    )


def readme(role: Path) -> str:
    """Return the page of the role in this directory."""
    specification = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))
    entry_points = specification["argument_specs"]
    main = entry_points["main"]
    others = "".join(
        f"- `{name}`: {markdown(entry_point['short_description'])}\n"
        for name, entry_point in entry_points.items()
        if name != "main"
    )
    return PAGE.format(
        namespace=NAMESPACE,
        role=role.name,
        short=main["short_description"],
        about=markdown(main["description"]),
        rows="".join(row(*item) for item in sorted(main.get("options", {}).items())),
        others=ENTRY_POINTS.format(rows=others) if others else "",
    )


def main(arguments: list[str]) -> int:
    """Write or check the pages of all roles; returns the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: role_readmes.py [--check]", file=sys.stderr)
        return 2
    stale = []
    for role in sorted(path.parent.parent for path in REPOSITORY.glob("roles/*/meta/argument_specs.yml")):
        page, text = role / "README.md", readme(role)
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            stale.append(str(page.relative_to(REPOSITORY)))
            if not arguments:
                page.write_text(text, encoding="utf-8")
    if arguments and stale:
        print(f"Not up to date: {', '.join(stale)}. Run `make role-readmes`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
