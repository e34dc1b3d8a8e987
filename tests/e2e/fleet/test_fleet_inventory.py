# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fleet files as inventories: hosts of every tool are deployed from the files as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleets import FLEETS, lay_out
from guides import guide_blocks
from lab import REPOSITORY, Lab, LabHost
from plays import BUILD, SWITCH, deploy_play
from project import Project, make_project

from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.access import access_literal

HOSTS = "web1,web2,web3"
PAGE = REPOSITORY / "docs/docsite/rst/fleet_files.rst"


def inventory(project: Project, name: str, fleet: str | list[str], **options: Any) -> str:
    """Write a configuration of the inventory plugin beside the fleet files; the argument that names it."""
    options = {"plugin": "nixferry.deploy.fleet", "fleet": fleet, **options}
    project.write(f"fleets/{name}.fleet.yml", yaml.safe_dump(options))
    return f"--inventory=fleets/{name}.fleet.yml"


def page_blocks() -> dict[str, str]:
    """The YAML files of the page by the name in their first line."""
    return {block.split()[1]: block for block in guide_blocks(PAGE)}


@pytest.fixture
def fleets(project: Project) -> Path:
    """The fleet files in a user's project, with what they cannot know of the lab in variables beside the playbook."""
    lab: dict[str, Any] = yaml.safe_load((project.lab.directory / "inventory.yml").read_text())["lab"]
    ports = {name: host["ansible_port"] for name, host in lab["hosts"].items()}
    login = ("ansible_ssh_private_key_file", "ansible_ssh_common_args")
    project.write("group_vars/all.yml", yaml.safe_dump({name: lab["vars"][name] for name in login}))
    web2_http = lab["hosts"]["web2"]["lab_http_port"]
    return lay_out(project.directory / "fleets", {**ports, "db1": 1, "web2_http": web2_http})


def described(project: Project, *arguments: str) -> dict[str, Any]:
    """What ansible-inventory makes of the inventories."""
    argv, settings = project.prepare([], *arguments, "--list", "--export")
    argv[0] = argv[0].replace("ansible-playbook", "ansible-inventory")
    argv.remove("playbook.yml")
    done = project.run_prepared(argv, settings)
    assert done.returncode == 0, done.stderr
    # Strings that are no templates are marked, as those of any inventory plugin.
    found: dict[str, Any] = json.loads(
        done.stdout, object_hook=lambda each: each.get("__ansible_unsafe", each)
    )
    return {**found, "stderr": done.stderr}


@pytest.mark.usefixtures("fleets")
def test_networks_of_nixops_morph_and_nixus_are_deployed(
    web1: LabHost, web2: LabHost, web3: LabHost, project: Project
) -> None:
    # nixus has no option for the port.
    blocks = page_blocks()
    project.write("fleets/nixops/fleet.yml", blocks["fleet.yml"])
    inventories = (
        "--inventory=fleets/nixops/fleet.yml",
        inventory(project, "morph", "morph"),
        inventory(project, "nixus", "nixus"),
    )
    project.write("host_vars/web3.yml", f"ansible_port: {web3.ssh_port}\n")
    access = {
        "web1": {
            "hostKeys": {"ed25519": "{{ lab_host_key }}"},
            "keys": {
                "root": {"publicKey": "ssh-ed25519 CCCC root@web1", "hasAccessTo": {"web1": {"root": True}}}
            },
        }
    }
    # The rest of it stands in the file.
    network = project.directory / "fleets/nixops/network.nix"
    told = 'nixferry.sshAccess.web1.hostNames = [ "192.0.2.1" ];'
    begin = "defaults = { lib, ... }: {"
    assert begin in network.read_text()
    network.write_text(network.read_text().replace(begin, f"{begin} {told}"))
    own = {"lab_host_key": "ssh-ed25519 AAAA root@web1\n", "nixos_ssh_access": access}
    project.write("host_vars/web1.yml", yaml.safe_dump(own))
    arguments = (*inventories, "--limit", HOSTS)
    run = project.run_playbook(blocks["deploy.yml"], *arguments).assert_ok()
    for host in (web1, web2, web3):
        assert run.result(SWITCH, host.name)["outcome"] == "committed", run
        assert host.current_system() == host.boot_default() == host.profile()
    assert web1.ask("cat /etc/fleet") == "nixops hello web1 database"
    assert web2.ask("cat /etc/fleet") == "morph web2.example.org 2"
    assert web3.ask("cat /etc/fleet") == "nixus web3 old1"
    assert web1.ask("cat /etc/ssh/authorized_keys.d/root") == "ssh-ed25519 CCCC root@web1"
    assert web1.ask("cat /etc/ssh/ssh_known_hosts") == "web1,192.0.2.1,localhost ssh-ed25519 AAAA root@web1"
    # The key of web1 that comes from a file, the secret of web2 whose path counts from the file that names it.
    assert web1.ask("stat -c %U:%G:%a /run/keys/tls; cat /run/keys/tls") == "root:adm:640\ncontents of a key"
    assert (
        web2.ask("stat -c %U:%a /var/secrets/token; cat /var/secrets/token")
        == "nobody:400\ncontents of a token"
    )
    checks = run.result(SWITCH, "web2")["health_checks"]
    assert [(check["kind"], check["healthy"]) for check in checks] == [("command", True), ("url", True)]
    before = [
        check for entry in run.find("nix_health_check", "web2") for check in entry.result["health_checks"]
    ]
    assert [(check["kind"], check["healthy"]) for check in before] == [("command", True), ("url", True)]
    again = project.run_playbook(blocks["deploy.yml"], *arguments).assert_ok()
    assert [again.changed(host.name) for host in (web1, web2, web3)] == [[], [], []]

    # A user is at work on web2: nothing is switched there, no secret is placed, and the others are deployed.
    for network in ("nixops/network.nix", "morph/network.nix"):
        path = project.directory / "fleets" / network
        path.write_text(re.sub(r'text = "(nixops|morph) ', r'text = "\1-2 ', path.read_text()))
    project.write("fleets/secrets/token", "another token\n")
    web2.execute("touch /run/maintenance")
    held = web2.snapshot()
    run = project.run_playbook(blocks["deploy.yml"], *inventories[:2], "--limit", "web1,web2")
    failures = [entry for entry in run.results if entry.status == "failed"]
    assert [entry.host for entry in failures] == ["web2"], run
    assert "web2: pre-deploy check failed: No work is under way: exit code 1" in failures[0].result["msg"]
    assert not run.find(SWITCH, "web2")
    assert web2.snapshot() == held
    assert web2.ask("cat /var/secrets/token") == "contents of a token"
    assert web1.ask("cat /etc/fleet") == "nixops-2 hello web1 database"


@pytest.mark.usefixtures("fleets")
def test_hives_and_flakes_are_deployed_and_a_wrong_host_fails_alone(
    web1: LabHost, web2: LabHost, web3: LabHost, project: Project
) -> None:
    text = (project.directory / "fleets/colmena/hive.nix").read_text()
    wrong = text.replace("  laptop =", '  broken.deployment.targetHots = "192.0.2.1";\n  laptop =')
    (project.directory / "fleets/colmena/hive.nix").write_text(wrong)
    inventories = (
        "--inventory=inventory.yml",
        inventory(project, "colmena", "colmena/hive.nix"),
        inventory(project, "nixos", ".#nixosConfigurations"),
        # What is read later wins: web2 is deployed as its node says.
        inventory(project, "deploy", ".#deploy"),
    )
    stock = web2.current_system()
    run = project.run_playbook(deploy_play(f"broken,{HOSTS}"), *inventories)
    assert run.return_code != 0
    failures = [entry for entry in run.results if entry.host == "broken" and entry.status == "failed"]
    assert "`deployment.targetHots' does not exist" in failures[0].result["msg"]
    assert "hive.nix" in failures[0].result["msg"]
    for host in (web1, web2, web3):
        assert run.result(SWITCH, host.name)["outcome"] == "committed", run
    assert web1.ask("cat /etc/fleet") == "colmena hello web1.example.org db1"
    assert (
        web1.ask("stat -c %U:%a /var/keys/token.key; cat /var/keys/token.key")
        == "root:600\ncontents of a token"
    )
    assert web2.ask("cat /etc/fleet") == "deploy-rs"
    assert web2.current_system() != stock
    assert web3.ask("cat /etc/fleet") == "flake"


@pytest.mark.usefixtures("fleets")
def test_a_profile_of_deploy_rs_beside_the_system_is_deployed_as_the_page_says(
    web2: LabHost, project: Project
) -> None:
    inventories = ("--inventory=inventory.yml", inventory(project, "deploy", ".#deploy"))
    run = project.run_playbook(page_blocks()["profiles.yml"], *inventories).assert_ok()
    assert "the role nixos does not deploy the profiles other than `system` (motd)" in run.stdout + run.stderr
    assert run.result(SWITCH, "web2")["outcome"] == "committed", run
    assert web2.ask("cat /run/motd") == "hello"
    assert web2.ask("cat /nix/var/nix/profiles/per-user/root/motd/motd") == "hello"
    again = project.run_playbook(page_blocks()["profiles.yml"], *inventories)
    assert again.assert_ok().changed("web2") == []


@pytest.mark.usefixtures("fleets")
def test_groups_variables_and_the_cache(project: Project) -> None:
    argument = inventory(
        project,
        "hive",
        "colmena/hive.nix",
        tag_prefix="tag_",
        compose={"shown": "fleet_tags | join('+')"},
        groups={"fat": "nixos_build_on | default('') == 'target'"},
        keyed_groups=[{"key": "fleet_format", "prefix": "from"}],
        strict=True,
        cache=True,
        cache_plugin="ansible.builtin.jsonfile",
        cache_connection=str(project.directory / "cache"),
    )
    found = described(project, argument)
    assert found["tag_web"]["hosts"] == found["tag_edge_1"]["hosts"] == ["web1"]
    assert found["fat"]["hosts"] == ["db1"]
    assert sorted(found["from_colmena"]["hosts"]) == sorted(found["nixos"]["hosts"]) == ["db1", "web1"]
    variables = found["_meta"]["hostvars"]
    assert variables["web1"]["shown"] == "web+edge-1"
    assert variables["web1"]["ansible_user"] == "deploy"
    assert variables["web1"]["ansible_become"] is True
    assert variables["db1"]["ansible_become_method"] == "community.general.doas"
    assert variables["db1"]["nixos_build_on"] == "target"
    assert "laptop" not in variables

    # What the page says, of this hive.
    project.write("fleets/colmena/web.fleet.yml", page_blocks()["web.fleet.yml"])
    page = described(project, "--inventory=fleets/colmena/web.fleet.yml")
    assert page["tag_web"]["hosts"] == ["web1"]
    described_access = re.sub(r'"{{.*?}}"', "ssh-ed25519 AAAA", page_blocks()["group_vars/nixos.yml"])
    literal = access_literal(yaml.safe_load(described_access)["nixos_ssh_access"])
    assert '"hasAccessTo" = { "web1" = { "root" = true; }; }' in literal

    hive = project.directory / "fleets/colmena/hive.nix"
    hostile = hive.read_text().replace('targetHost = "', 'targetHost = "-oProxyCommand=touch hacked;')
    project.write("fleets/colmena/hostile.nix", hostile)
    refused = described(project, inventory(project, "hostile", "colmena/hostile.nix"))
    assert "-oProxyCommand=touch hacked" in refused["stderr"]
    assert "is not valid" in refused["stderr"]
    assert refused["_meta"]["hostvars"] == {}

    # From the cache, since nobody could read the file any more.
    project.write("fleets/colmena/hive.nix", "no Nix at all {")
    cached = described(project, argument)
    assert cached["_meta"] == found["_meta"]


@pytest.mark.parametrize("controller", ["trixie", "forky"], ids=["nix-2.26", "nix-2.34"])
def test_later_nix_evaluates_every_format(lab: Lab, tmp_path: Path, controller: str) -> None:
    """test_fleet_files.py asks the same of this machine's Nix."""
    project = make_project(tmp_path / "project", lab, lab.controller(controller))
    lay_out(project.directory / "fleets")
    # Each host is in one fleet of a task: fewer tasks, as much evaluated.
    together = (
        {"web1": "nixops", "web2": "morph", "web3": "nixus"},
        {"web1": "colmena", "web2": "deploy-rs", "web3": "nixos"},
        {"web1": "colmenaHive", "db1": "nixops-files"},
        {"web1": "colmena-flake"},
        {"web1": "nixops-flake"},
    )
    assert {name for names in together for name in names.values()} == set(FLEETS)
    tasks = [
        {
            "nixferry.deploy.nix_build": {
                "sources": {
                    host: {"fleet": [f"fleets/{word}" for word in FLEETS[name]]}
                    for host, name in names.items()
                }
            },
            "check_mode": True,
        }
        for names in together
    ]
    play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]
    done = project.run_playbook(play, inventory(project, "nixus", "nixus"), inventory(project, "flake", "."))
    built = done.assert_ok().find(BUILD)
    assert "nable to parse" not in done.stdout + done.stderr, done
    assert [sorted(entry.result["hosts"]) for entry in built] == [sorted(names) for names in together]
    for entry in built:
        assert not entry.result["failed_hosts"], done
