# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The NixOS module brings the same programs and units as the role: Nix makes the texts that Python makes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from lab import REPOSITORY
from nixos_module import (
    CHECKS,
    FILES,
    FOLLOWING,
    KEY,
    NIX,
    SETTINGS,
    STUBS,
    evaluate,
    module,
    module_program,
    nix,
)

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.installed import (
    GuardPolicy,
    installed_program,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.on_host import host_checks
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.agent import (
    DIRECTORY,
    FILES_OF_PROGRAM,
    agent_policy,
    agent_program,
    agent_units,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.repository import (
    Repository,
    default_attribute,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.settings import (
    OWN_NAME,
    AgentSettings,
)


@pytest.fixture(scope="module")
def texts() -> dict[str, Any]:
    variables = [{"name": name, "value": value} for name, value in SETTINGS.variables(program=FILES).items()]
    checks = [
        {
            "kind": check.kind,
            "target": check.target,
            "retries": check.retries,
            "delay": check.delay,
            "timeout": check.timeout,
        }
        for check in CHECKS
    ]
    policy = {
        "kind": "nixos",
        "profile": SETTINGS.profile,
        "publicKeys": list(SETTINGS.public_keys),
    }
    values = {
        "agent": f"{DIRECTORY}/agent",
        "state": DIRECTORY,
        "login": "",
        "credentials": "",
        "fileSize": "1M",
        "timeoutBuild": "1",
        "timeoutConfirm": "600",
        "calendar": SETTINGS.calendar,
        "jitter": str(SETTINGS.jitter),
    }
    return dict(
        evaluate(
            f"let texts = import {NIX}/pull-agent.nix; in {{ inherit (texts) version guardVersion; "
            f"agent = texts.agent {nix(variables)}; guard = texts.guard {nix(policy)}; "
            f"checks = texts.checks {nix(checks)}; signers = texts.signers {nix(list(SETTINGS.pointer_keys))}; "
            f"units = texts.units {nix(values)}; }}"
        )
    )


def test_programs_and_units_are_the_same_texts(texts: dict[str, Any]) -> None:
    policy = GuardPolicy(SETTINGS.kind, SETTINGS.profile, SETTINGS.public_keys)
    assert texts["agent"] == agent_program(SETTINGS, FILES)
    assert texts["guard"] == installed_program(policy).rstrip("\n")
    assert texts["checks"] == host_checks(CHECKS).rstrip("\n")
    assert texts["signers"] == SETTINGS.signers()
    assert texts["units"] == agent_units(SETTINGS)


def test_the_module_makes_units_of_its_options() -> None:
    config = module()
    assert [each["message"] for each in config["assertions"] if not each["assertion"]] == []
    files = {
        each["name"].rpartition("/")[2]: each["text"] for each in config["systemd"]["packages"][0]["paths"]
    }
    agent = f"/nix/store/{'0' * 32}-nixferry-pull-agent"
    assert set(files) == set(agent_units(SETTINGS))
    assert f"ExecStart={agent} fetch\n" in files["nixferry-pull.service"]
    assert "@" not in "".join(
        line for text in files.values() for line in text.splitlines() if line[:1] == "@"
    )
    assert config["nix"]["settings"]["extra-trusted-public-keys"] == ["cache-1:AAAA"]
    assert f"L+ /var/lib/nixferry-pull/agent - - - - {agent}" in config["systemd"]["tmpfiles"]["rules"]
    assert module(enable=False) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://x"},
        {"url": "https://x/$(id)"},
        {"publicKeys": []},
        {"pointerKeys": []},
        {"pointerKeys": ["not a key"]},
        {"windows": ["25:00-26:00"]},
        {"timeoutConfirm": 100},
        {"channel": "../x"},
        {"repository": "https://git.example.org/x"},
        {"commitKeys": ["not a key"]},
        {"branch": "a..b"},
        {"minCommit": "main"},
        {"file": "../x.nix"},
        {**FOLLOWING, "attribute": "a b"},
        {"url": "https://ann:secret@pointers.example.org"},
        {"certificate": "/etc/x.pem"},
        {"certificate": "/etc/x.pem", "certificateKey": "/nix/store/x/key"},
        {"certificate": "/etc/x.pem", "certificateKey": "/etc/x.key", "url": "http://pointers.example.org"},
        {"repositoryKeyFile": "/etc/key"},
        {"knownHosts": ["git.example.org ssh-ed25519 AAAA"]},
        {"commitOpenpgpFingerprints": ["A" * 40]},
    ],
    ids=str,
)
def test_the_module_refuses_what_the_role_refuses(wrong: dict[str, Any]) -> None:
    broken = [each["message"] for each in module(**wrong)["assertions"] if not each["assertion"]]
    assert len(broken) == 1


def test_one_image_serves_many_hosts() -> None:
    """The name of a host is not in the program, as with the role."""
    config = module(host=OWN_NAME)
    assert [each["message"] for each in config["assertions"] if not each["assertion"]] == []
    settings = replace(SETTINGS, host=OWN_NAME)
    assert settings.pointer_url == "https://pointers.example.org/stable/hosts"
    ours, theirs = agent_program(settings).splitlines(), module_program(host=OWN_NAME).splitlines()
    for line in ("PULL_HOST=''", "PULL_URL=https://pointers.example.org/stable/hosts"):
        assert line in ours
        assert line in theirs
    for wrong in ({**FOLLOWING, "host": OWN_NAME}, {"host": "@other"}):
        assert len([each for each in module(**wrong)["assertions"] if not each["assertion"]]) >= 1
    with pytest.raises(NixferryError, match="must be a name"):
        replace(settings, repository=Repository(FOLLOWING["repository"], "x"))


def test_a_repository_makes_the_same_program_as_the_role() -> None:
    """All that the module sets, but for the paths of its files and of git."""
    settings = AgentSettings(
        host="web1",
        channel="stable",
        url="",
        kind=KINDS["nixos"],
        profile=KINDS["nixos"].profile,
        public_keys=(),
        pointer_keys=(),
        repository=Repository(
            FOLLOWING["repository"],
            default_attribute(KINDS["nixos"], "web1"),
            commit_keys=(KEY,),
            min_commit="a" * 40,
        ),
    )
    config = module(**FOLLOWING)
    assert [each["message"] for each in config["assertions"] if not each["assertion"]] == []
    files = {
        name: f"/nix/store/{'0' * 32}-nixferry-pull-{name.removeprefix('allowed_').replace('_', '-')}"
        for name in FILES_OF_PROGRAM
    }
    guard = installed_program(agent_policy(settings))
    wanted = agent_program(settings, {**files, "guard": guard}).replace(
        "PULL_PATH=''", f"PULL_PATH=/nix/store/{'0' * 32}-git/bin"
    )
    assert module_program(**FOLLOWING) == wanted


def test_the_options_are_those_of_the_role() -> None:
    """With the same defaults, in the style of NixOS."""
    spec = yaml.safe_load((REPOSITORY / "roles/pull_agent/meta/argument_specs.yml").read_text())
    role = {
        re.sub("_(.)", lambda found: found[1].upper(), name.removeprefix("pull_agent_")): option["default"]
        for name, option in spec["argument_specs"]["main"]["options"].items()
    }
    # NixOS is told the content of a system, not an order; it has one profile, and a file for a secret.
    for name in ("state", "holdReason", "holdSeconds", "kind", "profile", "activateCommand"):
        del role[name]
    role["netrcFile"] = role.pop("netrc")
    role["repositoryKeyFile"] = role.pop("repositoryKey")
    found = evaluate(
        f'let {STUBS} module = import {NIX}/pull.nix {{ inherit lib pkgs; config.networking.hostName = ""; '
        "config.nixferry.pull = { }; }; in "
        "builtins.mapAttrs (_: option: option.default) module.options.nixferry.pull"
    )
    assert found.pop("enable") is False
    assert found.pop("caches") == []
    assert found == role
