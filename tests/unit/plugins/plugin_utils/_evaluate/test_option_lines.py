# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line of a definition, told only where no other can be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.option_lines import (
    option_path,
    with_lines,
)

# As nixpkgs has worded it over the years.
WRONG_TYPE = (
    "A definition for option `{option}' is not of type `signed integer'. Definition values:\n- In `{file}': {value}",
    "A definition for option `{option}' is not of type `signed integer'. TypeError: Definition values:\n"
    "- In `{file}': {value}",
)
UNKNOWN = (
    "The option `{option}' does not exist. Definition values:\n- In `{file}': {value}\n\nDid you mean ..?"
)


def told(
    directory: Path, text: str, option: str, value: str = '"22"', message: str = WRONG_TYPE[0]
) -> int | None:
    """The line that the message is given for a file with this text."""
    file = directory / "network.nix"
    file.write_text(text)
    before = message.format(option=option, file=file, value=value)
    after = with_lines(before)
    if after == before:
        return None
    line = after.split(f"- In `{file}:")[1].split("'")[0]
    assert after == before.replace(f"- In `{file}'", f"- In `{file}:{line}'")
    return int(line)


PORT = "deployment.targetPort"


@pytest.mark.parametrize("message", WRONG_TYPE)
def test_a_definition_that_stands_alone(tmp_path: Path, message: str) -> None:
    text = '{\n  web1 = { lib, ... }: {\n    deployment = {\n      targetPort = "22";\n    };\n  };\n}'
    assert told(tmp_path, text, PORT, message=message) == 4


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{ web1.deployment.targetPort = "22"; }', 1),
        ('{\n deployment.targetPort = lib.mkForce (\n "22"); }', 2),
        ('{ deployment = {\n "targetPort" = "22"; }; }', 2),
        # Of several, the only one with that value.
        ('{ web1.deployment.targetPort = 22;\n web2.deployment.targetPort = "22"; }', 2),
        # Another host is read from elsewhere, and has hardly the same mistake in it.
        ('{ web1 = import ./web1.nix;\n web2.deployment.targetPort = "22"; }', 2),
        # What a file imports by its path is named by itself.
        ("{ web1 = { imports = [ ./web1.nix ];\n deployment.targetPort = port; }; }", 2),
        # It stands apart from the rest of its name.
        ('let ssh = {\n deployment.targetPort = "22"; }; in { web1 = ssh; }', 2),
    ],
)
def test_the_line_is_told(tmp_path: Path, text: str, line: int) -> None:
    assert told(tmp_path, text, PORT) == line


@pytest.mark.parametrize(
    "text",
    [
        # Which of the two?
        '{ web1.deployment.targetPort = "22";\n web2.deployment.targetPort = "22"; }',
        '{ web1.deployment.targetPort = "22";\n web2.deployment.targetPort = port; }',
        # It comes from elsewhere, and what is here is another host's.
        "{ web1.deployment = import ./ssh.nix; web2.deployment.targetPort = 22; }",
        '{ web1.deployment.${name} = "22"; }',
        '{ web1.deployment.targetPort = "22"; web2.deployment.${name} = port; }',
        "{ inherit (import ./ssh.nix) web1; }",
        # A host that is read from elsewhere counts as part of this file.
        "{ web1 = import ./web1.nix; web2.deployment.targetPort = port; }",
        "{ web1.imports = [ (import ./web1.nix) ]; web2.deployment.targetPort = port; }",
        "{ web1.deployment = ssh; web2.deployment.targetPort = port; }",
        "{ inherit web1; web2.deployment.targetPort = port; }",
        # Something else of that name, or only a part of it in one place.
        '{ proxy.targetPort = "22"; web1.deployment = { inherit port; }; }',
        '{ web1.deployment.targetPort = "22"; web2.deployment = { inherit targetPort; }; }',
        "{ # deployment.targetPort\n }",
        "{ broken",
        "",
    ],
)
def test_no_line_is_guessed(tmp_path: Path, text: str) -> None:
    assert told(tmp_path, text, PORT) is None


def test_an_option_that_does_not_exist(tmp_path: Path) -> None:
    """The message stops at the first name that nobody knows."""
    text = "{\n web1.services.nginks = {\n  enable = true; };\n}"
    assert told(tmp_path, text, "services.nginks", "{ enable = true; }", UNKNOWN) == 2
    assert told(tmp_path, "{ web1 = {\n foo.bar.a = 1;\n foo.bar.b = 2; }; }", "foo", "{..}", UNKNOWN) == 2


def test_every_file_gets_its_own_line(tmp_path: Path) -> None:
    first, second = tmp_path / "a.nix", tmp_path / "b.nix"
    first.write_text('{ networking.hostName = "a"; }')
    second.write_text('{\n  networking.hostName = "b"; }')
    message = (
        "The option `networking.hostName' has conflicting definition values:\n"
        f'- In `{first}\': "a"\n- In `{second}\': "b"\n- In `<unknown-file>\': "c"\n- In `/nowhere.nix\': "d"'
    )
    assert with_lines(message).splitlines()[1:] == [
        f"- In `{first}:1': \"a\"", f"- In `{second}:2': \"b\"",
        "- In `<unknown-file>': \"c\"", "- In `/nowhere.nix': \"d\"",
    ]  # fmt: skip


def test_other_messages_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.nix").write_text("{ x = 1; }")
    message = f"attribute 'x' missing\n- In `{tmp_path}/a.nix': 1"
    assert with_lines(message) == message


@pytest.mark.parametrize(
    ("shown", "path"),
    [
        ("a.b", ("a", "b")),
        ('users.users."a.b".uid', ("users", "users", "a.b", "uid")),
        (
            "deployment.healthChecks.http.[definition 1-entry 2].port",
            ("deployment", "healthChecks", "http", "port"),
        ),
        ("environment.etc.<name>.text", ("environment", "etc", "text")),
    ],
)
def test_names_of_options(shown: str, path: tuple[str, ...]) -> None:
    assert option_path(shown) == path
