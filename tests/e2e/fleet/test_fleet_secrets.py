# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets that a fleet file declares: placed by the deploy, and nowhere a trace of one."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fleets import fleet_in, lay_out, listing_of, nix
from lab import REPOSITORY, LabHost, run
from plays import SWITCH, deploy_play
from project import Project
from ways import CANARY, Lookout, files_with_passwords, traces_on

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.declared import parse_secrets
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.fleet import read_fleet_secrets

TEXT, FILE = f"{CANARY}of-the-fleet", f"{CANARY}in-a-file"
KEYS = REPOSITORY / "plugins/plugin_utils/nix/keys.nix"
SECRETS = "nix_secrets"


def new_store_paths(since: float) -> list[Path]:
    """What has come into the store of this machine: the time of a change of the inode is not set back."""
    return [path for path in Path("/nix/store").iterdir() if path.lstat().st_ctime >= since]


def test_a_network_deploys_its_keys(web1: LabHost, project: Project) -> None:
    """One from a file and one in the file itself, which a user reads that the system has, and Ansible's beside them."""
    began = time.time() - 1
    fleets = lay_out(project.directory / "fleets", {"web1": web1.ssh_port, "db1": 1})
    network = fleets / "nixops/network.nix"
    network.write_text(network.read_text().replace("contents of a secret", TEXT))
    (fleets / "secrets/tls.key").write_text(FILE)
    project.write("fleets/nixops/fleet.yml", "plugin: nixferry.deploy.fleet\nfleet: network.nix\n")
    login: Any = json.loads(
        run(
            [
                ".venv/bin/ansible-inventory",
                "-i",
                str(project.lab.directory / "inventory.yml"),
                "--host",
                "web1",
            ],
            directory=REPOSITORY,
        ).stdout
    )
    kept = ("ansible_ssh_private_key_file", "ansible_ssh_common_args")
    project.write("group_vars/all.yml", json.dumps({name: login[name] for name in kept}))
    play = deploy_play("web1", secrets={"own": {"text": "of Ansible"}})
    settings = {"ANSIBLE_LOG_PATH": str(project.directory / "ansible.log")}
    inventory = "--inventory=fleets/nixops/fleet.yml"

    told = project.run_playbook(play, inventory, "--check", "--diff", environment=settings).assert_ok()
    assert "app-env (/run/keys/app-env): daemon:root 440" in told.stdout
    assert web1.ask("ls /run/keys 2>/dev/null || :") == ""
    with Lookout() as lookout:
        first = project.run_playbook(play, inventory, "-vvvv", environment=settings).assert_ok()
        second = project.run_playbook(play, inventory, "--diff", environment=settings).assert_ok()
    assert first.result(SWITCH, "web1")["outcome"] == "committed"
    assert second.changed("web1") == []
    state = web1.ask("cd /run/keys; stat -c %n:%U:%G:%a *; for key in *; do cat $key; echo; done")
    assert state.splitlines() == [
        "app-env:daemon:root:440",
        "own:root:root:600",
        "tls:root:adm:640",
        TEXT,
        "of Ansible",
        FILE,
    ]
    # Elsewhere there is nothing of them.
    assert lookout.looks > 10
    assert lookout.seen == []
    for run_ in (told, first, second):
        assert CANARY not in f"{run_}{run_.results}"
    assert "Prepare the secrets" in (project.directory / "ansible.log").read_text()
    assert files_with_passwords(project.directory, but=("network.nix", "tls.key")) == []
    caches = ("~/.ansible", "~/.cache/nix", "/dev/shm")
    for place in (*(Path(name).expanduser() for name in caches), *new_store_paths(began)):
        assert files_with_passwords(place) == [], place
    assert [line for line in traces_on(web1).splitlines() if not line.startswith("/run/keys/")] == []
    assert web1.ask(f"grep -rlF {CANARY} /nix/store || :") == ""

    # After a reboot without a deploy, and where the fleet is to be left alone.
    web1.execute("rm /run/keys/*")
    project.run_named("nixferry.deploy.secrets", inventory, "--limit=web1").assert_ok()
    assert web1.ask("cat /run/keys/app-env; ls /run/keys") == f"{TEXT}app-env\ntls"
    without = project.run_playbook(
        deploy_play("web1", fleet_secrets=False, secrets_exclusive=True), inventory
    ).assert_ok()
    assert without.result(SECRETS, "web1")["removed"] == [
        "/run/keys/app-env",
        "/run/keys/own",
        "/run/keys/tls",
    ]


# A host with the options of a fleet and the module of this collection, which declare the same option.
BOTH = """
{ network.nixpkgs = import ./nixpkgs { };
  web1 = {
    imports = [ @keys@ ];
    deployment.keys = {
      path = { keyFile = ./key; storage = "persistent"; restartUnits = [ "app.service" ]; };
      string.keyFile = "/elsewhere/key";
      relative.keyFile = "key";
      plain = "contents of a string";
      directory = { text = "x"; destDir = /var/keys; };
    };
  };
}
"""


def test_a_host_of_a_fleet_may_have_the_module_for_keys(tmp_path: Path) -> None:
    lay_out(tmp_path)
    (tmp_path / "network.nix").write_text(BOTH.replace("@keys@", str(KEYS)))
    (tmp_path / "key").write_text("contents of a key")
    began = time.time() - 1
    fleet = fleet_in(tmp_path, "network.nix")
    listing = listing_of(fleet)
    assert not listing.errors, listing.errors
    entries = read_fleet_secrets(fleet, "web1", directory="/", nix=nix()).entries
    assert {name: entry.get("file", entry.get("text")) for name, entry in entries.items()} == {
        "path": f"{tmp_path}/key",
        "string": "/elsewhere/key",
        "relative": f"{tmp_path}/key",
        "plain": "contents of a string",
        "directory": "x",
    }
    assert entries["path"]["path"] == "/var/lib/nixferry-keys/path"
    assert entries["path"]["restart_units"] == ["app.service"]
    assert (entries["directory"]["path"], entries["directory"]["storage"]) == (
        "/var/keys/directory",
        "persistent",
    )
    assert [path.name for path in new_store_paths(began) if path.name.endswith("-key")] == []


@pytest.mark.parametrize("wrong", ["text = 5;", 'text = throw "@word@";', 'text = [ "@word@" ];'])
def test_no_error_quotes_a_content(tmp_path: Path, wrong: str) -> None:
    """The module system itself would: a definition of the wrong type is shown."""
    lay_out(tmp_path)
    key = wrong.replace("@word@", TEXT)
    (tmp_path / "network.nix").write_text(
        f"{{ network.nixpkgs = import ./nixpkgs {{ }}; web1.deployment.keys.app = {{ {key} }}; }}"
    )
    with pytest.raises(NixferryError, match=r"cannot be evaluated \(app\)") as caught:
        read_fleet_secrets(fleet_in(tmp_path, "network.nix"), "web1", directory="/", nix=nix())
    assert CANARY not in str(caught.value.result("web1"))


# What nixus returns, as far as its secrets go: `file` is a derivation that has the path as an attribute.
NIXUS = """
{ config.nodes.web1 = {
    host = "192.0.2.1";
    configuration.secrets = {
      baseDirectory = "/var/lib/nixus-secrets";
      files.mail = { user = "mail"; group = null; file = { outPath = throw "built"; file = toString ./mail; }; };
      files.web = { user = null; group = "web"; file = { outPath = throw "built"; file = "/elsewhere/web"; }; };
    };
  };
}
"""


def test_secrets_of_nixus_are_where_its_systems_look(tmp_path: Path) -> None:
    (tmp_path / "deploy.nix").write_text(NIXUS)
    fleet = fleet_in(tmp_path, "deploy.nix")
    assert listing_of(fleet).hosts["web1"]["keys"].keys() == {"mail", "web"}
    entries = read_fleet_secrets(fleet, "web1", directory="/", nix=nix()).entries
    secrets = {secret.name: secret for secret in parse_secrets(entries)}
    assert {name: (each.path, each.owner, each.mode, each.value) for name, each in secrets.items()} == {
        "mail": ("/var/lib/nixus-secrets/active/per-user/mail/mail", "mail:root", "400", f"{tmp_path}/mail"),
        "web": ("/var/lib/nixus-secrets/active/per-group/web/web", "root:web", "40", "/elsewhere/web"),
    }
    assert {secret.storage for secret in secrets.values()} == {"persistent"}
