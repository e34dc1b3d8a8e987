# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An argument that is nothing but a variable has the value that Ansible's own template of it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible.errors import AnsibleError, AnsibleValueOmittedError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.arguments import variable_behind

VARIABLES: dict[str, Any] = {
    "of_text": "switch",
    "of_nothing": "",
    "of_truth": True,
    "of_number": 90,
    "of_null": None,
    "of_list": ["sshd.service", {"url": trust_as_template("http://{{ of_text }}")}],
    "_of_template": trust_as_template("{{ of_number + 1 }}"),
    "of_chain": trust_as_template("{{ _of_template }}"),
    "of_mapping": {"timeout": trust_as_template("{{ of_chain }}")},
    "of_untrusted": "{{ lookup('pipe', 'id') }}",
    "of_header": trust_as_template(
        "#jinja2: variable_start_string:'<<', variable_end_string:'>>'\nis <<of_text>>"
    ),
    "of_line": trust_as_template("{{ of_text }}\n"),
    "none": "a name that Jinja keeps for itself",
}


def templar() -> Templar:
    return Templar(loader=DataLoader(), variables=VARIABLES)


@pytest.mark.parametrize("name", [name for name in VARIABLES if "_" in name])
@pytest.mark.parametrize("form", ["{{ %s }}", "{{%s}}"])
def test_the_value_is_that_of_the_template(name: str, form: str) -> None:
    argument = trust_as_template(form % name)
    assert variable_behind(argument, VARIABLES) is VARIABLES[name]
    wanted = templar().template(argument)
    found = NixferryAction.finalize_task_arg("action", argument, templar(), None)
    assert (found, type(found).__mro__) == (wanted, type(wanted).__mro__)


def test_what_a_host_says_is_no_template() -> None:
    argument = trust_as_template("{{ of_untrusted }}")
    assert NixferryAction.finalize_task_arg("action", argument, templar(), None) == VARIABLES["of_untrusted"]
    untrusted = "{{ of_text }}"
    assert variable_behind(untrusted, VARIABLES) is untrusted


@pytest.mark.parametrize(
    "text",
    [
        "switch",
        "{{ of_text }} ",
        "{{ of_text | upper }}",
        "{{ of_text | default(of_nothing) }}",
        "{{ of_text | default('a', true) }}",
        "{{ of_text | default('a\\n') }}",
        "{{ _of_template | default(omit) }}",
        "{{ of_header | default(omit, true) }}",
        "{{ of_list | default(omit, true) }}",
        "{{ ansible_host | default(omit) }}",
        "{{ from_a_fact | default(omit) }}",
        "{{ of_mapping.timeout }}",
        "{{ of_missing }}",
        "{{ none }}",
        "{{ 90_000 }}",
        "{{ ansible_host }}",
        "{{ from_a_fact }}",
    ],
)
def test_any_other_argument_is_left_to_ansible(text: str) -> None:
    argument = trust_as_template(text)
    variables = {**VARIABLES, "ansible_host": "a", "from_a_fact": "b", "ansible_facts": {"from_a_fact": "b"}}
    assert variable_behind(argument, variables) is argument


@pytest.mark.parametrize("name", [*(name for name in VARIABLES if "_" in name), "of_missing"])
@pytest.mark.parametrize("default", ["omit", "omit, true", "'nixos'", "'/nix/var/nix/profiles/system'", "''"])
def test_a_default_is_that_of_the_template(name: str, default: str) -> None:
    argument = trust_as_template(f"{{{{ {name} | default({default}) }}}}")
    wanted, found = (
        _value_or_error(lambda: templar().template(argument)),
        _value_or_error(lambda: NixferryAction.finalize_task_arg("action", argument, templar(), None)),
    )
    assert (found, type(found).__mro__) == (wanted, type(wanted).__mro__)


def _value_or_error(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except AnsibleValueOmittedError as error:
        return type(error)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ of_text | default('a') }}", "switch"),
        ("{{ of_nothing | default('a') }}", ""),
        ("{{ of_missing | default('/a:b') }}", "/a:b"),
        ("{{ of_truth | default(omit, true) }}", True),
    ],
)
def test_an_argument_with_a_default_needs_no_template(text: str, value: object) -> None:
    assert variable_behind(trust_as_template(text), VARIABLES) == value


@pytest.mark.parametrize("text", ["{{ of_missing | default(omit) }}", "{{ of_null | default(omit, true) }}"])
def test_an_omitted_argument_needs_no_template(text: str) -> None:
    with pytest.raises(AnsibleValueOmittedError):
        variable_behind(trust_as_template(text), VARIABLES)


def test_a_variable_with_the_name_omit_is_left_to_ansible() -> None:
    argument = trust_as_template("{{ of_missing | default(omit) }}")
    assert variable_behind(argument, {"omit": "a"}) is argument


def test_an_argument_that_is_no_text_is_left_to_ansible() -> None:
    for argument in (None, 90, ["{{ of_text }}"], {"a": "{{ of_text }}"}):
        assert variable_behind(argument, VARIABLES) is argument


def test_errors_and_omitted_values_are_those_of_the_template() -> None:
    variables = {
        "of_omitted": trust_as_template("{{ omit }}"),
        "of_error": trust_as_template("{{ undef(hint='not built yet') }}"),
        "of_itself": trust_as_template("{{ of_itself }}"),
    }
    engine = Templar(loader=DataLoader(), variables=variables)
    with pytest.raises(AnsibleValueOmittedError):
        NixferryAction.finalize_task_arg("guard", trust_as_template("{{ of_omitted }}"), engine, None)
    with pytest.raises(AnsibleError, match="not built yet"):
        NixferryAction.finalize_task_arg("build", trust_as_template("{{ of_error }}"), engine, None)
    with pytest.raises(AnsibleError, match=r"(?i)recursive"):
        NixferryAction.finalize_task_arg("build", trust_as_template("{{ of_itself }}"), engine, None)
