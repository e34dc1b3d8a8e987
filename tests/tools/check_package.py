# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prove that the built package works by itself: check_package.py TARBALL

Run by the interpreter of an environment with ansible-core. The tarball must hold every file of meta, plugins, roles
and playbooks that git knows, and nothing that git does not know. It is installed into an empty path and everything
outside those four directories is deleted, since a collection may rely on nothing else. Then every plugin and role
must show its documentation, every Python file must import, and every playbook must pass the syntax check. At last
Galaxy's own importer must take it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
WORK = REPOSITORY / ".build" / "install-check"
COLLECTION = "nixferry.deploy"
ESSENTIAL = ("meta", "plugins", "roles", "playbooks")
# What ansible-galaxy itself writes into a package.
MANIFESTS = {"MANIFEST.json", "FILES.json"}
DOCUMENTED_KINDS = ("module", "inventory", "lookup", "filter", "test", "callback", "connection", "vars")

# Run inside the installed tree: imports what Ansible would import, the way Ansible imports it.
IMPORT_ALL = """
import importlib, pathlib, sys
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader([sys.argv[1]])
root = pathlib.Path(sys.argv[1]) / "ansible_collections"
files = sorted((root / "nixferry" / "deploy" / "plugins").rglob("*.py"))
for file in files:
    module = importlib.import_module(".".join(("ansible_collections", *file.relative_to(root).with_suffix("").parts)))
    assert pathlib.Path(module.__file__).is_relative_to(root), module.__file__
print(len(files), "Python files import")
"""


class CheckFailure(Exception):
    """The package is not as it should be; the text says how."""


def run(*command: str, **settings: str) -> str:
    """Run a command of this environment in an empty directory, with the installed collection and no other.

    ``settings`` are environment variables. Returns its standard output. Raises CheckFailure, with everything that it
    printed, when it fails.
    """
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(WORK / "collections"),
        "ANSIBLE_HOME": str(WORK / "home"),
        "ANSIBLE_NOCOLOR": "1",
        # Programs that start ansible-doc and the like find that of this environment.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **settings,
    }
    program = Path(sys.executable).parent / command[0]
    result = subprocess.run(
        [str(program), *command[1:]],
        cwd=WORK / "empty",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise CheckFailure(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")
    return result.stdout


def check_content(tarball: Path) -> None:
    """Compare the list of packed files with what git knows."""
    with tarfile.open(tarball) as archive:
        packed = {member.name for member in archive.getmembers() if not member.isdir()} - MANIFESTS
    listing = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    # A file that was deleted and not committed yet is still listed by git.
    known = {name for name in listing.split("\0") if name and os.path.lexists(REPOSITORY / name)}
    if foreign := sorted(packed - known):
        raise CheckFailure(
            f"packed, but unknown to git (extend build_ignore in galaxy.yml): {', '.join(foreign)}"
        )
    needed = {name for name in known if name.startswith(tuple(f"{directory}/" for directory in ESSENTIAL))}
    if missing := sorted(needed - packed):
        raise CheckFailure(f"not packed (correct build_ignore in galaxy.yml): {', '.join(missing)}")
    print(f"{tarball.name}: {len(packed)} files, {tarball.stat().st_size // 1024} KiB")


def install(tarball: Path) -> Path:
    """Install the package offline into an empty path, keep only the essential directories; return where it lies."""
    run("ansible-galaxy", "collection", "install", "--offline", "-p", str(WORK / "collections"), str(tarball))
    installed = WORK / "collections" / "ansible_collections" / "nixferry" / "deploy"
    for entry in installed.iterdir():
        if entry.name not in ESSENTIAL:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    return installed


def check_documentation(installed: Path) -> None:
    """Ask ansible-doc for every plugin and role."""
    shown = 0
    for kind in DOCUMENTED_KINDS:
        for name in json.loads(run("ansible-doc", "--type", kind, "--list", "--json", COLLECTION)):
            page = json.loads(run("ansible-doc", "--type", kind, "--json", name))[name]
            if not page["doc"].get("description") or not page.get("examples"):
                raise CheckFailure(f"{kind} {name} is documented without a description or without examples")
            if not Path(page["doc"]["filename"]).is_relative_to(installed):
                raise CheckFailure(f"{kind} {name} was found outside the installed package")
            shown += 1
    if not shown:
        raise CheckFailure("ansible-doc lists no plugin")
    roles = json.loads(run("ansible-doc", "--type", "role", "--list", "--json", COLLECTION))
    directories = {path.name for path in (installed / "roles").iterdir() if path.is_dir()}
    if undocumented := sorted(directories - {name.rpartition(".")[2] for name in roles}):
        raise CheckFailure(f"roles without meta/argument_specs.yml: {', '.join(undocumented)}")
    for name in roles:
        run("ansible-doc", "--type", "role", name)
    print(f"{shown} plugins and {len(roles)} roles show their documentation")


def check_playbooks(installed: Path) -> None:
    """Run the syntax check on every playbook, by the name that a user of the package types."""
    playbooks = sorted((installed / "playbooks").glob("*.yml"))
    for playbook in playbooks:
        run("ansible-playbook", "--syntax-check", "-i", "localhost,", f"{COLLECTION}.{playbook.stem}")
    if not playbooks:
        raise CheckFailure("the package has no playbook")
    print(f"{len(playbooks)} playbooks pass the syntax check")


def check_import(tarball: Path) -> None:
    """Import the package as Galaxy does, with the importer that Galaxy runs."""
    # Linters and sanity tests run in steps of their own. Galaxy's tags say what a collection is about.
    settings = (
        "RUN_ANSIBLE_TEST=False",
        "RUN_ANSIBLE_LINT=False",
        "RUN_FLAKE8=False",
        "CHECK_REQUIRED_TAGS=True",
    )
    config = WORK / "importer.cfg"
    config.write_text("\n".join(("[galaxy-importer]", *settings, "")))
    log = run("python", "-m", "galaxy_importer.main", str(tarball), GALAXY_IMPORTER_CONFIG=str(config))
    if warnings := [line for line in log.splitlines() if line.startswith(("WARNING", "ERROR"))]:
        raise CheckFailure("galaxy-importer:\n" + "\n".join(warnings))
    print("galaxy-importer takes the package")


def main(tarball: Path) -> None:
    """Run all checks; raises CheckFailure at the first that fails."""
    shutil.rmtree(WORK, ignore_errors=True)
    (WORK / "empty").mkdir(parents=True)
    check_content(tarball)
    installed = install(tarball)
    check_documentation(installed)
    print(run("python", "-c", IMPORT_ALL, str(WORK / "collections")).strip())
    check_playbooks(installed)
    check_import(tarball)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: check_package.py TARBALL")
    try:
        main(Path(sys.argv[1]).resolve())
    except CheckFailure as failure:
        sys.exit(f"check_package: {failure}")
