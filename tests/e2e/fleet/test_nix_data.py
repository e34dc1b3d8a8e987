# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Data from Ansible to Nix and back, with the Nix of this machine and no lab."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab import REPOSITORY, nix_environment, run
from project import PlaybookRun, Project

from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.literal import nix_literal

PAGE = REPOSITORY / "docs/docsite/rst/nix_data.rst"
LOOKUP = "lookup('nixferry.deploy.nix_eval', **item)"
SECRET = "correct horse"
SITE = """
{ environment ? "test", settings ? { } }:
{
  inherit environment settings;
  hosts = { web1 = { port = 80; }; "db.example.org" = { port = 5432; }; };
  list = [ 1 (x: x) ];
  path = ./site.nix;
  tool = derivation { name = "tool"; system = "x86_64-linux"; builder = "/bin/sh"; };
  wrong = 1 + "a";
}
"""
ENDLESS = (
    "builtins.genericClosure { startSet = [ { key = 0; } ]; operator = { key }: [ { key = key + 1; } ]; }"
)
FLAKE = "{ outputs = { self }: { site = import ./site.nix { }; hosts.web1.port = 80; }; }"
STAND_IN = """
{
  outputs = { self }: {
    lib.nixosSystem = { modules, specialArgs ? { } }@given:
      let
        read = module: if builtins.isPath module then import module else module;
        etc = builtins.foldl' (all: module: all // (read module specialArgs).environment.etc) { } modules;
        systems = import ./default.nix {
          hosts.web1.etc = builtins.mapAttrs (_name: file: file.text) etc;
          platform = builtins.head (builtins.split "\\n" (builtins.readFile ./seed/platform));
        };
      in
      systems.web1 // {
        extendModules = { modules ? [ ], specialArgs ? { } }: self.lib.nixosSystem {
          modules = given.modules ++ modules;
          specialArgs = given.specialArgs or { } // specialArgs;
        };
      };
  };
}
"""
NASTY = [
    "${builtins.abort 1}",
    "$${x}",
    "''${x}''",
    '"',
    "\\",
    "\\${x}",
    "a\r\nb\tc",
    "/etc",
    "<nixpkgs>",
    "\u2028é🦊",
    "",
]
RESERVED = [
    "if",
    "let",
    "in",
    "or",
    "rec",
    "inherit",
    "with",
    "assert",
    "null",
    "a.b",
    "${x}",
    "",
    "__functor",
]

texts = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(
    NASTY
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
    | texts
)
# Nix compares and prints sets with these names in a way of its own.
keys = (texts | st.sampled_from(RESERVED)).filter(lambda key: key not in ("outPath", "__toString", "type"))
data = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(directory=tmp_path / "project", lab=cast(Any, None))
    project.write("inventory.yml", json.dumps({"all": {"hosts": {"web1": {"ansible_connection": "local"}}}}))
    project.write("ansible.cfg", "[defaults]\ninventory = inventory.yml\n")
    project.write("site.nix", SITE)
    project.write("flake.nix", FLAKE)
    return project


def without_floats(value: Any) -> Any:
    if isinstance(value, float):
        return None
    if isinstance(value, list):
        return [without_floats(each) for each in value]
    return {name: without_floats(each) for name, each in value.items()} if isinstance(value, dict) else value


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(data, min_size=20, max_size=60))
def test_every_value_comes_back_from_nix(tmp_path_factory: pytest.TempPathFactory, values: list[Any]) -> None:
    """Once as what Nix prints, and once as what Nix itself holds equal, since it rounds floats when it prints."""
    values += [*NASTY, dict.fromkeys(RESERVED, 1)]
    directory = tmp_path_factory.mktemp("data")
    (directory / "values.json").write_text(json.dumps(values))
    (directory / "test.nix").write_text(
        f"let read = builtins.fromJSON (builtins.readFile ./values.json); literal = {nix_literal(values)}; in\n"
        f"{{ same = builtins.genList (n: builtins.elemAt read n == builtins.elemAt literal n) {len(values)};\n"
        f"  printed = {nix_literal(without_floats(values))}; }}\n"
    )
    argv = ["nix-instantiate", "--eval", "--json", "--strict", str(directory / "test.nix")]
    answer = json.loads(run(argv, environment=nix_environment()).stdout)
    assert answer["printed"] == without_floats(values)
    assert all(answer["same"]), [
        value for value, same in zip(values, answer["same"], strict=True) if not same
    ]


def evaluate(project: Project, cases: list[dict[str, Any]], *arguments: str, **keywords: Any) -> PlaybookRun:
    """One task for all cases; a case that fails does not stop the next one."""
    task = {
        "name": "case",
        "ansible.builtin.set_fact": {"answer": f"{{{{ {LOOKUP} }}}}"},
        "loop": cases,
        "ignore_errors": True,
        **keywords,
    }
    return project.run_playbook([{"hosts": "web1", "gather_facts": False, "tasks": [task]}], *arguments)


def test_values_out_of_nix(project: Project) -> None:
    nasty = {"text": "".join(NASTY), "list": [1, None, True, {"if": "${x}"}]}
    cases = [
        ({"file": "site.nix", "attr": "environment"}, "test"),
        ({"file": "site.nix", "attr": "settings", "args": {"settings": nasty}}, nasty),
        ({"file": "site.nix", "attr": 'hosts."db.example.org".port'}, 5432),
        ({"file": "site.nix", "attr": "environment", "argstrs": {"environment": 5}}, "5"),
        ({"file": "site.nix", "attr": "hosts", "query": "sort(*.port)"}, [80, 5432]),
        ({"file": "site.nix", "attr": "path"}, str(project.directory / "site.nix")),
        ({"expr": "{ a, b }: a + b", "args": {"a": 1, "b": 2}}, 3),
        ({"expr": "import <site> { }", "attr": "hosts.{host}.port", "include": ["site=site.nix"]}, 80),
        ({"expr": "[ 1.5 (-0.25) ]"}, [1.5, -0.25]),
        ({"flake": "path:.#hosts.{host}.port"}, 80),
        ({"flake": "path:.#site.hosts"}, {"web1": {"port": 80}, "db.example.org": {"port": 5432}}),
    ]
    task = evaluate(project, [case for case, _answer in cases]).assert_ok().result("case")
    assert [each["ansible_facts"]["answer"] for each in task["results"]] == [
        answer for _case, answer in cases
    ]
    assert not (project.directory / "flake.lock").exists()
    # Several attribute paths, and a derivation.
    several = "query('nixferry.deploy.nix_eval', 'hosts.web1', 'tool', file='site.nix')"
    play = {
        "hosts": "web1",
        "gather_facts": False,
        "tasks": [{"name": "several", "ansible.builtin.set_fact": {"answer": f"{{{{ {several} }}}}"}}],
    }
    host, tool = project.run_playbook([play]).assert_ok().result("several")["ansible_facts"]["answer"]
    assert host == {"port": 80}
    assert tool.startswith("/nix/store/")
    assert tool.endswith("-tool")


def test_what_is_no_data_is_explained(project: Project) -> None:
    cases = {
        "attribute 'list.1' is a function": {"file": "site.nix", "attr": "list"},
        f"{project.directory}/site.nix:9:": {"file": "site.nix", "attr": "wrong"},
        "it has environment, hosts": {"file": "site.nix", "attr": "nothing"},
        "names no attribute": {"flake": "."},
        "exclude each other": {"flake": ".", "file": "site.nix"},
        "`include` goes with file or expr": {"flake": ".#site", "include": ["a=b"]},
        "nowhere.nix does not exist": {"file": "nowhere.nix"},
        "Invalid jmespath expression": {"expr": "{ }", "query": "*.["},
        "syntax error": {"expr": "let"},
        "timeout for the evaluation expired": {"expr": ENDLESS, "timeout": 1},
    }
    task = evaluate(project, list(cases.values())).result("case")
    for words, result in zip(cases, task["results"], strict=True):
        assert result["failed"], result
        assert words in result["msg"], result["msg"]
        assert "web1: " in result["msg"]


def test_the_filter_in_a_template_and_its_refusal_of_secrets(project: Project, tmp_path: Path) -> None:
    lines = VaultLib([("default", VaultSecret(b"password"))]).encrypt(SECRET).decode().splitlines()
    secret = "\n".join(f"  {line}" for line in lines)
    project.write(
        "vars.yml", f"secret: !vault |\n{secret}\nsite:\n  text: 'a ${{b}} \"c\"'\n  ports: [80, 443]\n"
    )
    (tmp_path / "password").write_text("password")

    def task(name: str, expression: str, **keywords: Any) -> dict[str, Any]:
        fact = {name: f"{{{{ {expression} }}}}"}
        return {"name": name, "ansible.builtin.set_fact": fact, "ignore_errors": True, **keywords}

    tasks = [
        task("plain", "site | nixferry.deploy.to_nix"),
        task("refused", "{'a': [secret]} | nixferry.deploy.to_nix"),
        task("allowed", "(secret | nixferry.deploy.to_nix(allow_vaulted=true)) | length"),
        task("lookup", "lookup('nixferry.deploy.nix_eval', expr='{ a }: a', args={'a': {'b': [secret]}})"),
        {
            "name": "build",
            "nixferry.deploy.nix_build": {"expr": "{ a }: a", "args": {"a": "{{ secret }}"}},
            "ignore_errors": True,
        },
        task("undefined", "[nothing] | nixferry.deploy.to_nix"),
        task("key", "{1: 2} | nixferry.deploy.to_nix"),
    ]
    play = {"hosts": "web1", "gather_facts": False, "vars_files": ["vars.yml"], "tasks": tasks}
    done = project.run_playbook([play], "--vault-password-file", str(tmp_path / "password")).assert_ok()
    plain = done.result("plain")["ansible_facts"]["plain"]
    argv = ["nix-instantiate", "--eval", "--json", "--strict", "--expr", plain]
    answer = json.loads(run(argv, environment=nix_environment()).stdout)
    assert answer == {"text": 'a ${b} "c"', "ports": [80, 443]}
    assert done.result("allowed")["ansible_facts"]["allowed"] == len(SECRET) + 2
    assert "the value.a[0] comes from Ansible Vault" in done.result("refused")["msg"]
    assert "`args`.a.b[0] comes from Ansible Vault" in done.result("lookup")["msg"]
    assert "`args`.a comes from Ansible Vault" in done.result("build")["msg"]
    assert "'nothing' is undefined" in done.result("undefined")["msg"]
    assert "Put the key into quotes" in done.result("key")["msg"]
    assert SECRET not in str(done)


def page_blocks(language: str) -> dict[str, str]:
    """The files on the page about data, by the names that they begin with."""
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", PAGE.read_text(), re.M)
    blocks = [textwrap.dedent(block).strip() + "\n" for block in found]
    return {block.partition("\n")[0].removeprefix("# "): block for block in blocks}


def test_the_page_brings_variables_into_a_systems_modules(project: Project) -> None:
    """With a stand-in for nixpkgs, whose evaluations extend as those of lib.evalModules do."""
    for name in ("flake.nix", "web.nix"):
        project.write(name, page_blocks("nix")[name])
    playbooks = page_blocks("yaml")
    inventory = yaml.safe_load(playbooks["inventory.yml"])
    inventory["nixos"]["vars"]["ansible_connection"] = "local"
    project.write("inventory.yml", json.dumps(inventory))
    stand_in = project.directory / "nixpkgs"
    project.describe_hosts({})
    project.systems.rename(stand_in)
    project.write("nixpkgs/flake.nix", STAND_IN)
    inputs = json.dumps({"nixos_override_inputs": {"nixpkgs": f"path:{stand_in}"}})
    state = {"XDG_STATE_HOME": str(project.directory / "state")}

    def build(*arguments: str) -> Path:
        flags = ("--tags", "build", "-e", inputs, *arguments)
        run = project.run_playbook(playbooks["deploy.yml"], *flags, environment=state).assert_ok()
        built = run.result("Build the systems of all hosts together")["hosts"]["web1"]
        assert not built["failed"], built
        return Path(built["toplevel"]) / "etc/site"

    site = build()
    assert (site / "name").read_text() == "web1's own ${site}"
    assert (site / "admins").read_text() == "ann\nbob"
    # Without them it is what the flake says.
    site = build("-e", '{"nixos_specialargs": {}}')
    assert (site / "name").read_text() == "example.org"
    # What no modules were evaluated for has no use for arguments.
    options = {"file": "site.nix", "attr": "tool", "specialargs": {"site": 1}}
    play = {
        "hosts": "web1",
        "gather_facts": False,
        "tasks": [{"name": "build", "nixferry.deploy.nix_build": options}],
    }
    refused = project.run_playbook([play], "--check", environment=state).result("build")
    assert "attribute 'tool' has no use for specialArgs" in refused["msg"]


def test_the_other_playbooks_of_the_page(project: Project) -> None:
    playbooks = page_blocks("yaml")
    project.run_playbook(
        playbooks["update.yml"].replace("hosts: nixos", "hosts: web1"), "--syntax-check"
    ).assert_ok()
    plays = [play for name in ("template.yml", "show.yml") for play in yaml.safe_load(playbooks[name])]
    python = {"ansible_python_interpreter": sys.executable}
    shown = project.run_playbook(plays, variables=python).assert_ok()
    assert (project.directory / "sites.nix").read_text() in PAGE.read_text()
    assert shown.result("Compute")["ansible_facts"]["next_ports"] == [8081, 8082]
