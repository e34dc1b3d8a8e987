# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The execution environment of the examples is made by ansible-builder, and deploys to a host as a job of AWX would."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from bare import bare_image, network_files
from lab import REPOSITORY, LabHost, run
from project import Project

EXAMPLE = REPOSITORY / "examples/execution-environment"
DEFINITION = "execution-environment.yml"
IMAGE_DEADLINE = 600  # seconds to build the image, which installs packages of Debian and of Python
JOB_DEADLINE = 120  # seconds for a run of ansible-playbook in the container
# A user that the image does not know, with the group 0: so does AWX on OpenShift run a job.
USER = 65432
TOOLS = Path(sys.executable).parent


def create(directory: Path) -> Path:
    """Have ansible-builder make the build context of the definition in a directory; returns it."""
    context = directory / "context"
    run(
        [str(TOOLS / "ansible-builder"), "create", "--file", DEFINITION, "--context", str(context)],
        directory=directory,
    )
    return context


def test_a_build_context_is_made_from_the_example_as_it_is(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    context = create(tmp_path)
    steps = (context / "Containerfile").read_text()
    assert "FROM $EE_BASE_IMAGE AS base" in steps
    assert "COPY _build/configs/nix.conf /etc/nix/nix.conf" in steps
    assert (context / "_build/configs/nix.conf").read_text() == (EXAMPLE / "nix.conf").read_text()
    galaxy = yaml.safe_load((context / "_build/requirements.yml").read_text())
    assert galaxy == {"collections": [{"name": "nixferry.deploy"}]}


def test_the_collection_says_what_it_needs_in_an_execution_environment() -> None:
    argv = [str(TOOLS / "ansible-builder"), "introspect", str(REPOSITORY / ".build/collections")]
    told = yaml.safe_load(run(argv).stdout)
    needed = [line.split()[0] for line in told["system"] if "nixferry.deploy" in line or "nix-bin" in line]
    assert "nix-bin" in needed
    assert not any("nixferry" in line for line in told["python"])


@pytest.fixture
def image(tmp_path: Path) -> Iterator[str]:
    """The image of the example, with this collection, on a Debian that the lab has."""
    base, name = (f"nixferry-lab-ee-{os.getpid()}-{part}:latest" for part in ("base", "job"))
    directory = tmp_path / "image"
    shutil.copytree(EXAMPLE, directory)
    package = directory / "collection.tar.gz"
    argv = [str(TOOLS / "ansible-galaxy"), "collection", "build", "--output-path", str(tmp_path)]
    run([*argv, str(REPOSITORY)])
    [built] = tmp_path.glob("nixferry-deploy-*.tar.gz")
    built.rename(package)
    lines = [f"FROM {bare_image('trixie')}"]
    for number, (path, content) in enumerate(network_files().items()):
        (tmp_path / str(number)).write_text(content)
        lines.append(f"COPY {number} {path}")
    (tmp_path / "Dockerfile").write_text("\n".join(lines) + "\n")
    definition = yaml.safe_load((directory / DEFINITION).read_text())
    definition["images"]["base_image"]["name"] = base
    definition["dependencies"]["galaxy"] = {
        "collections": [{"name": f"/build/{package.name}", "type": "file"}]
    }
    definition["additional_build_files"].append({"src": package.name, "dest": "."})
    (directory / DEFINITION).write_text(yaml.safe_dump(definition))
    docker = ["docker", "build", "--quiet", "--network", "host", "--force-rm"]
    # The engine's own builder, which needs no plugin.
    environment = {"DOCKER_BUILDKIT": "0"}
    try:
        run([*docker, "--tag", base, str(tmp_path)], environment=environment)
        context = create(directory)
        argv = [*docker, "--tag", name, "--file", str(context / "Containerfile"), str(context)]
        run(argv, environment=environment, timeout=IMAGE_DEADLINE)
        yield name
    finally:
        run(["docker", "rmi", "--force", name, base], check=False)


def packed(project: Project) -> bytes:
    """The project and the lab's keys as an archive of the job's user."""
    lab, inside = str(project.lab.directory), "/runner/project/lab"
    inventory = project.directory / "inventory.yml"
    inventory.write_text(inventory.read_text().replace(lab, inside))
    shutil.copytree(lab, project.directory / "lab", ignore=shutil.ignore_patterns("*.sock", "cm-*"))

    def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid, entry.gid, entry.uname, entry.gname = USER, 0, "", ""
        return entry

    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        archive.add(project.directory, arcname="project", filter=owned)
    return written.getvalue()


@pytest.mark.takes_turns(4)
def test_a_job_in_the_execution_environment_deploys(web1: LabHost, project: Project, image: str) -> None:
    project.describe_hosts({"web1": {"version": "2"}})
    container = f"nixferry-lab-ee-{os.getpid()}"
    label = f"--label=nixferry.lab={os.environ.get('NIXFERRY_LAB_NAME', 'e2e')}"
    options = [
        "--name",
        container,
        label,
        "--network",
        "host",
        "--user",
        f"{USER}:0",
        "--env",
        "HOME=/runner",
    ]
    try:
        run(["docker", "run", "--detach", *options, image, "sleep", "600"])
        archive = project.directory.with_suffix(".tar")
        archive.write_bytes(packed(project))
        run(["sh", "-c", 'exec docker cp - "$1" <"$2"', "sh", f"{container}:/runner", str(archive)])
        play = [
            "ansible-playbook",
            "nixferry.deploy.deploy",
            "--limit",
            "web1",
            "-e",
            "nixos_flake=path:./systems",
        ]
        inside = ["docker", "exec", "--workdir", "/runner/project", container, "/opt/builder/bin/entrypoint"]
        done = run([*inside, *play], check=False, timeout=JOB_DEADLINE)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "committed (1)" in done.stdout
        assert web1.http("/version") == (200, "2")
    finally:
        run(["docker", "rm", "--force", "--volumes", container], check=False)
