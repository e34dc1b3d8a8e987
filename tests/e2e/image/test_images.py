# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images of mini NixOS systems, made with the programs of this machine. tests/vm boots one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from cache_server import serving
from processes import nix_environment, run, wait_until
from project import Project

from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.disk import settle_inodes
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.tools import Tools

MIB = 1024 * 1024
ESP_MIB = 64
SMALL = {"esp_size": ESP_MIB, "free_space": 0, "boot_loader": "systemd-boot"}
CANARY = "canary-5e1f0c93-of-a-secret"
KILL_DEADLINE = 120  # seconds until the image is being written


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(directory=tmp_path / "project", lab=cast(Any, None))
    loader = made.systems / "boot/systemd/lib/systemd/boot/efi/systemd-bootx64.efi"
    loader.parent.mkdir(parents=True)
    loader.write_text("stands for systemd-boot\n")
    made.describe_hosts({})
    made.write("inventory.yml", json.dumps({"all": {"hosts": {"web1": {"ansible_host": "192.0.2.1"}}}}))
    made.write("ansible.cfg", "[defaults]\ninventory = inventory.yml\n")
    return made


def system(project: Project, **options: Any) -> str:
    return project.build("web1", {"bootFiles": {"systemd": "boot/systemd"}, **options})


def images(*tasks: Mapping[str, Any]) -> list[Any]:
    """A play with one image a task."""
    return [
        {
            "hosts": "all",
            "gather_facts": False,
            "tasks": [
                {
                    "name": f"image {number}",
                    "nixferry.deploy.nix_image": {"directory": "images", **SMALL, **task},
                }
                for number, task in enumerate(tasks)
            ],
        }
    ]


def read_image(image: Path, directory: Path) -> Path:
    """Read the root of an image into a directory, after a check of its file system; return the directory."""
    root = directory / "root.ext4"
    run(["dd", f"if={image}", f"of={root}", "bs=1M", f"skip={1 + ESP_MIB}", "conv=sparse", "status=none"])
    size = image.stat().st_size - (2 + ESP_MIB) * MIB
    os.truncate(root, size)
    environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    run(["e2fsck", "-f", "-n", str(root)], environment=environment)
    tree = directory / "tree"
    tree.mkdir()
    run(["debugfs", "-R", f"rdump / {tree}", str(root)], environment=environment)
    return tree


def test_an_image_has_the_closure_and_nothing_of_a_host(project: Project, tmp_path: Path) -> None:
    toplevel = system(project, specialisation={"debug": {"kernelParams": "debug"}}, payload={"paths": 3})
    other = {"toplevel": toplevel, "directory": "others"}
    compressed = {"toplevel": toplevel, "format": "qcow2", "directory": "compressed"}
    play = images({"toplevel": toplevel}, other, {"toplevel": toplevel}, compressed)
    done = project.run_playbook(play).assert_ok()
    made, again, third, fourth = (done.result(f"image {number}") for number in range(4))
    assert made["changed"]
    assert again["sha256"] == made["sha256"], "equal wishes make equal images"
    assert not third["changed"]
    assert fourth["virtual_size"] == made["size"] > fourth["size"]
    run(["qemu-img", "compare", made["image"], fourth["image"]])
    image = Path(made["image"])
    assert image.name == f"web1-{made['sha256'][:16]}.raw"
    assert run(["sha256sum", "--check", f"{image.name}.sha256"], directory=image.parent).stdout.endswith(
        "OK\n"
    )

    tree = read_image(image, tmp_path)
    for place, profile in (("system", "system-1-link"), ("system-1-link", toplevel)):
        assert str((tree / "nix/var/nix/profiles" / place).readlink()) == profile
    assert (tree / "etc/machine-id").read_bytes() == b""
    assert sorted(path.name for path in (tree / "etc").iterdir()) == ["NIXOS", "machine-id"]
    assert str((tree / "nix/var/nix/gcroots/profiles").readlink()) == "/nix/var/nix/profiles"
    verify = ["nix-store", "--store", f"local?root={tree}", "--verify", "--check-contents"]
    run(verify, environment=nix_environment())
    requisites = ["nix-store", "--store", f"local?root={tree}", "--query", "--requisites", toplevel]
    closure = run(requisites, environment=nix_environment()).stdout.split()
    stored = [path for path in (tree / "nix/store").iterdir() if path.name != ".links"]
    assert len(closure) == made["closure_paths"] == len(stored)
    # Nothing of the controller is in it.
    assert not subprocess.run(
        ["grep", "-rlF", str(tmp_path), str(tree / "nix/var")], check=False, capture_output=True
    ).stdout

    esp = f"{image}@@1M"
    entries = run(["mdir", "-i", esp, "-b", "::/loader/entries"]).stdout.split()
    assert sorted((Path(entry).stem for entry in entries), key=len) == [
        "nixos-generation-1",
        "nixos-generation-1-specialisation-debug",
    ]
    entry = run(["mtype", "-i", esp, "::/loader/entries/nixos-generation-1.conf"]).stdout
    kernel = re.search(r"^linux (.*)$", entry, re.M)
    assert kernel is not None
    assert run(["mtype", "-i", esp, f"::{kernel[1]}"]).stdout == "kernel\n"
    assert run(["mdir", "-i", esp, "-b", "::/loader"]).stdout.count("random-seed") == 0


def test_a_declared_secret_in_the_system_is_refused(project: Project) -> None:
    toplevel = system(project, etc={"app/token": f"token = {CANARY}\n"})
    secret = {"token": {"text": f"{CANARY}\n"}, "other": {"text": "another-secret"}}
    done = project.run_playbook(images({"toplevel": toplevel, "secrets": secret}), "-vvv")
    failure = done.result("image 0")
    assert done.return_code == 2, str(done)
    assert "cause" in failure, str(done)
    assert "the secret token is in the system: /nix/store/" in failure["cause"]
    assert CANARY not in str(done)
    assert not [path for path in (project.directory / "images").iterdir() if not path.name.endswith(".lock")]
    del secret["token"]
    project.run_playbook(images({"toplevel": toplevel, "secrets": secret})).assert_ok()


def test_a_signature_says_who_made_the_image(project: Project) -> None:
    toplevel = system(project)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(project.directory / "key")])
    signed = images({"toplevel": toplevel, "sign_key": "key"})
    project.run_playbook(images({"toplevel": toplevel})).assert_ok()
    made = project.run_playbook(signed).assert_ok().result("image 0")
    assert made["changed"]
    assert made["image"] == made["previous_image"], "only the signature is new"
    manifest = Path(made["manifest"])
    public = (project.directory / "key.pub").read_text()
    signers = project.write("signers", f'publisher namespaces="nixferry-image@v1" {public}')
    verify = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", "publisher", "-n", "nixferry-image@v1"]
    run([*verify, "-s", f"{manifest}.sig"], input=manifest.read_text())
    assert not project.run_playbook(signed).assert_ok().result("image 0")["changed"]
    # A changed manifest is not an image's any more: what it says is not believed.
    manifest.write_text(manifest.read_text().replace('"size"', '"sizes"', 1))
    assert project.run_playbook(signed).assert_ok().result("image 0")["changed"]
    run([*verify, "-s", f"{manifest}.sig"], input=manifest.read_text())


def test_images_are_sent_and_the_present_one_is_named_last(project: Project, tmp_path: Path) -> None:
    toplevel = system(project)
    elsewhere = tmp_path / "elsewhere"
    with serving(tmp_path / "served") as server:
        server.login = "ferry:secret-password"
        netrc = project.write("netrc", "machine 127.0.0.1 login ferry password secret-password\n")
        address = f"{server.url}/images"
        sent = {"toplevel": toplevel, "to": [str(elsewhere), address], "netrc_file": str(netrc)}
        checked = project.run_playbook(images(sent), "--check", "--diff").assert_ok().result("image 0")
        assert checked["changed"]
        assert checked["image"] is None
        assert not (project.directory / "images").exists()
        done = project.run_playbook(images(sent, sent)).assert_ok()
        made = done.result("image 0")
        assert made["sent"] == [str(elsewhere), address]
        assert not done.result("image 1")["changed"]
        name = Path(made["image"]).name
        puts = [line for line in server.requests if "PUT" in line]
        assert [line.rpartition("/")[2] for line in puts] == [
            name,
            f"{name}.sha256",
            f"{name}.json",
            "web1.json",
        ], server.requests
        for place in (elsewhere, server.directory / "images"):
            assert (place / name).read_bytes() == Path(made["image"]).read_bytes()
            assert json.loads((place / "web1.json").read_text())["image"]["sha256"] == made["sha256"]
        # The holes of the file are not filled.
        assert (elsewhere / name).stat().st_blocks * 512 < made["size"] // 2
        server.login = "ferry:another"
        refused = project.run_playbook(images(sent)).result("image 0")
        assert "HTTP status 401" in refused["cause"]
        assert "secret-password" not in json.dumps(refused)


def test_a_killed_run_leaves_the_image_before(project: Project) -> None:
    before = project.run_playbook(images({"toplevel": system(project)})).assert_ok().result("image 0")
    toplevel = system(project, version="2", payload={"paths": 1, "kibibytes": 150_000})
    play = images({"toplevel": toplevel})
    argv, settings = project.prepare(play)
    directory = project.directory / "images"
    with subprocess.Popen(
        argv,
        cwd=project.directory,
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as running:
        wait_until(
            lambda: bool(list(directory.glob(".web1.work-*/disk.raw"))),
            deadline=KILL_DEADLINE,
            what="an image that is being written",
        )
        os.killpg(running.pid, signal.SIGKILL)
    manifest = json.loads((directory / "web1.json").read_text())
    assert manifest["toplevel"] == before["toplevel"]
    after = project.run_playbook(play).assert_ok().result("image 0")
    assert after["previous_toplevel"] == before["toplevel"]
    assert not list(directory.glob(".web1.work-*")), "what the killed run has left is gone"
    run(["sha256sum", "--check", f"{Path(after['image']).name}.sha256"], directory=directory)


def test_a_variant_is_taken_as_nix_has_built_it(project: Project) -> None:
    project.write(
        "flake/flake.nix",
        """
        {
          outputs = _: {
            nixosConfigurations.web1.config.system.build.images.qemu = derivation {
              name = "nixos-image";
              system = "x86_64-linux";
              builder = "/bin/sh";
              args = [ "-c" ''
                /bin/mkdir -p $out/nix-support
                echo image >$out/nixos-25.05.qcow2
                echo file qcow2 $out/nixos-25.05.qcow2 >$out/nix-support/hydra-build-products
              '' ];
            };
          };
        }
        """,
    )
    variables = {"nixos_flake": f"path:{project.directory}/flake", "image_variant": "qemu"}
    play = [
        {
            "hosts": "all",
            "gather_facts": False,
            "roles": [{"role": "nixferry.deploy.image", "vars": variables}],
        }
    ]
    made = project.run_playbook(play).assert_ok().result("nix_image")
    assert made["image"].endswith(".qcow2")
    assert Path(made["image"]).read_text() == "image\n"
    manifest = json.loads(Path(made["manifest"]).read_text())
    assert manifest["variant"] == "qemu"
    assert manifest["toplevel"] is None
    assert not project.run_playbook(play).assert_ok().result("nix_image")["changed"]
    variables["image_variant"] = "amazon"
    assert "images.amazon' not found: it has qemu" in str(project.run_playbook(play))


def test_all_files_of_an_image_belong_to_root(tmp_path: Path) -> None:
    """The user who makes an image owns what mke2fs copies."""
    tree = tmp_path / "tree"
    (tree / "directory").mkdir(parents=True)
    (tree / "directory/a file").write_text("content")
    (tree / "link").symlink_to("directory")
    for place in (tree, tree / "directory", tree / "directory/a file", tree / "link"):
        if os.geteuid() == 0:
            os.chown(place, 1234, 2345, follow_symlinks=False)
    image = tmp_path / "image"
    tools = Tools(["mke2fs", "dumpe2fs", "debugfs"])
    tools.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(image), "8M"], doing="a file system")
    settle_inodes(tools, str(image), tmp_path / "commands")
    for path in ("/", "/directory", '"/directory/a file"', "/link", "/lost+found"):
        told = tools.run(["debugfs", "-R", f"stat {path}", str(image)], doing="a look").text
        owner = re.search(r"User: +(\d+) +Group: +(\d+)", told)
        assert owner is not None
        assert owner.groups() == ("0", "0"), path
        assert set(re.findall(r"[acm]?r?time: 0x([0-9a-f]{8})", told)) == {"00000001"}, told
    run(["e2fsck", "-f", "-n", str(image)], environment={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"})
