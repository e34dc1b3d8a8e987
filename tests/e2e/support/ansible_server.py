# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A process that has imported Ansible and forks a child for each run: ansible_server.py LISTENER DIRECTORY

The importing is most of what a short run of ansible-playbook costs. A child has to be what a fresh process is: it
leads a session, it has the environment, directory and files of its run and no other, and Ansible reads its settings
anew. Some settings are used while Ansible is imported, however: where one of them differs from the server's, and where
the environment changes how Python itself starts, the child becomes a fresh process by executing the program.

`ansible_runs.py` is the client. A connection stands for a run: it carries the request with the files for standard
output and error, then the exit status. When the client closes its side first, the run's session is killed. The server
ends with its standard input, and removes the directory then, because a client that was killed cannot.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

REQUEST_LIMIT = 1 << 20  # bytes of a request
FILES = 2  # standard output and error

# What short runs import. The collection's modules come last: they need its finder.
MODULES = (
    "ansible.cli.playbook",
    "ansible.cli.inventory",
    "ansible.executor.task_queue_manager",
    "ansible.executor.process.worker",
    "ansible.executor.module_common",
    "ansible.plugins.strategy.linear",
    "ansible.plugins.connection.ssh",
    "ansible.plugins.connection.local",
    "ansible.plugins.become.sudo",
    "ansible.plugins.shell.sh",
    "ansible.plugins.callback.default",
    "ansible.plugins.cache.memory",
    "ansible.plugins.inventory.yaml",
    "ansible.plugins.inventory.host_list",
    "ansible.plugins.inventory.auto",
    "ansible.plugins.vars.host_group_vars",
    "ansible.plugins.action.normal",
    "ansible.plugins.action.assert",
    "ansible.plugins.action.debug",
    "ansible.plugins.action.include_vars",
    "ansible.plugins.action.set_fact",
    "ansible.plugins.action.validate_argument_spec",
    "ansible.plugins.filter.core",
    "ansible.plugins.filter.encryption",
    "ansible.plugins.filter.mathstuff",
    "ansible.plugins.filter.urls",
    "ansible.plugins.filter.urlsplit",
    "ansible.plugins.test.core",
    "ansible.plugins.test.files",
    "ansible.plugins.test.mathstuff",
    "ansible.plugins.test.uri",
)
COLLECTION = "ansible_collections.nixferry.deploy.plugins"
REPOSITORY = Path(__file__).resolve().parents[3]
# Modules that make something for one run when they are imported: an id, a memory. Their importers come with them.
OWN_TO_A_RUN = ("deploy_id", "shared_results")

# Python and the C library look at these when a process starts.
AT_START = ("PYTHON", "LC_", "LD_", "MALLOC_")
AT_START_NAMES = ("LANG", "LANGUAGE", "TZ", "COLUMNS", "TERM", "_ANSIBLE_SSH_ASKPASS_SHM")
# The collections that were imported lie there.
USED_AT_ONCE = {"COLLECTIONS_PATHS", "COLLECTIONS_SCAN_SYS_PATH"}


def settings_used_by_import(tree: ast.AST) -> set[str]:
    """Names of Ansible's settings that a module uses while it is imported, not only when its functions run.

    The methods of the class `Display` count: its only instance is made by the import.
    """
    found: set[str] = set()

    def visit(node: ast.AST, later: bool) -> None:
        if isinstance(node, ast.ClassDef) and node.name == "Display":
            found.update(_settings(node))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            now = [*node.args.defaults, *node.args.kw_defaults, *getattr(node, "decorator_list", [])]
            for each in now:
                if each is not None:
                    visit(each, later)
            for each in node.body if isinstance(node.body, list) else [node.body]:
                visit(each, True)
            return
        if not later:
            found.update(_settings(node, deep=False))
        for each in ast.iter_child_nodes(node):
            visit(each, later)

    visit(tree, False)
    return found


def _settings(tree: ast.AST, *, deep: bool = True) -> set[str]:
    """Names of settings in an expression: `C.NAME`, and those that are asked for by a text."""
    found = set()
    for node in ast.walk(tree) if deep else [tree]:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "C":
            found.add(node.attr)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "get_config_value":
            found.update(each.value for each in node.args if isinstance(each, ast.Constant))
    return found


def used_by_import() -> set[str]:
    """Names of the settings that the imported modules of Ansible and of the collection have used."""
    found = set(USED_AT_ONCE)
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path and Path(path).is_file() and name.partition(".")[0] in ("ansible", "ansible_collections"):
            found |= settings_used_by_import(ast.parse(Path(path).read_text(encoding="utf-8")))
    # The object that holds the settings is replaced wherever it is.
    return found - {"config"}


def import_collection() -> None:
    """Import what is the same for all runs of the collection's plugins."""
    plugins = REPOSITORY / "plugins"
    names = {
        path: f"{COLLECTION}.{'.'.join(path.relative_to(plugins).with_suffix('').parts)}"
        for directory in ("plugin_utils", "module_utils", "action")
        for path in sorted((plugins / directory).rglob("*.py"))
    }
    own = {name for path, name in names.items() if path.stem in OWN_TO_A_RUN}
    # An import of these fails now, and with it that of every module that wants one.
    sys.modules.update(dict.fromkeys(own))  # type: ignore[arg-type]
    for name in names.values():
        # What nothing can import here, such as an action of an optional library, is left to the run as well.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name in own:
        del sys.modules[name]


def at_start(environment: dict[str, str]) -> dict[str, str]:
    """The variables that count when a process starts."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(AT_START) or name in AT_START_NAMES
    }


class Baseline:
    """Ansible, imported with the server's settings."""

    def __init__(self) -> None:
        # Nothing is printed while it is imported: a child would print it again.
        for name in MODULES:
            importlib.import_module(name)
        loader = importlib.import_module("ansible.plugins.loader")
        loader.init_plugin_loader([])
        import_collection()
        # Standard input, output and error, the listener, and the listing itself.
        files = list(Path("/proc/self/fd").iterdir())
        assert len(files) <= FILES + 3, f"a module has opened a file, which the runs would share: {files}"
        self._constants: Any = sys.modules["ansible.constants"]
        self._used = used_by_import()
        self._values = self._settings()
        self._environment = at_start(dict(os.environ))
        assert threading.active_count() == 1, "a thread would be lost in the children"
        # The pages of what lives as long as the server stay shared.
        gc.collect()
        gc.freeze()

    def _settings(self) -> dict[str, Any]:
        return {name: vars(self._constants).get(name) for name in self._used}

    def differs(self, environment: dict[str, str]) -> bool:
        """Whether a process that starts with this environment is another from its first moment on."""
        return at_start(environment) != self._environment

    def renew(self) -> bool:
        """Read the settings as a fresh process does; whether the import would have been the same."""
        # Each process removes its own temporary directory, not the server's.
        manager = importlib.import_module("ansible.config.manager")
        atexit.unregister(manager.cleanup_tmp_file)
        before = self._constants.config
        try:
            importlib.reload(self._constants)
        except Exception:
            # A fresh process says what is wrong with the settings.
            return False
        if self._settings() != self._values:
            # Its exit handlers would have done it.
            shutil.rmtree(self._constants.DEFAULT_LOCAL_TMP, ignore_errors=True)
            return False
        for module in list(sys.modules.values()):
            for name, value in list(getattr(module, "__dict__", {}).items()):
                if value is before:
                    setattr(module, name, self._constants.config)
        _keep_finder()
        return True


def _keep_finder() -> None:
    """The finder of collections is there already: it has imported them from the same paths."""
    cli: ModuleType = sys.modules["ansible.cli"]
    loader: Any = sys.modules["ansible.plugins.loader"]
    initialise = loader.init_plugin_loader

    def init_plugin_loader(prefix_collections_path: list[str] | None = None) -> None:
        if prefix_collections_path:
            initialise(prefix_collections_path)
        else:
            loader._load_plugin_filter()

    cli.init_plugin_loader = init_plugin_loader  # type: ignore[attr-defined]


def become(baseline: Baseline, request: dict[str, Any], files: list[int]) -> str:
    """Turn this child into the process of a run; returns the program that Python has to run now."""
    os.setsid()
    environment: dict[str, str] = request["environment"]
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(request["directory"])
    for number, file in enumerate([os.open(os.devnull, os.O_RDONLY), *files]):
        os.dup2(file, number)
    os.closerange(FILES + 1, 65536)
    argv: list[str] = request["argv"]
    sys.argv[:] = argv
    # Collections beside a playbook come before those that were imported.
    if baseline.differs(environment) or Path("collections").exists() or not baseline.renew():
        os.execve(argv[0], argv, environment)  # noqa: S606 - there is no shell to start
    return argv[0]


class Server:
    """Accepts runs, and tells how they ended."""

    def __init__(self, listener: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(fileno=listener)
        self._runs: dict[int, tuple[int, socket.socket]] = {}
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(0, selectors.EVENT_READ)

    def next_child(self) -> tuple[dict[str, Any], list[int]] | None:
        """Serve; returns in each child with its request, and in the server with nothing at the end."""
        while True:
            for key, _events in self._selector.select():
                if key.data is None:
                    for pid, _connection in self._runs.values():
                        kill_run(pid)
                    return None
                request = key.data(key.fileobj)
                if request is not None:
                    return request  # type: ignore[no-any-return]

    def _accept(self, listener: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
        connection, _address = listener.accept()
        message, files, _flags, _sender = socket.recv_fds(connection, REQUEST_LIMIT, FILES)
        while message and not message.endswith(b"\n"):
            message += connection.recv(REQUEST_LIMIT)
        pid = os.fork() if message else -1
        if pid == 0:
            # An object that is forgotten later would close a file of the run that has the same number.
            self._selector.close()
            for each in (listener, connection, *(other for _pid, other in self._runs.values())):
                each.close()
            return json.loads(message), files
        for file in files:
            os.close(file)
        if pid == -1:
            connection.close()
            return None
        pidfd = os.pidfd_open(pid)
        self._runs[pidfd] = (pid, connection)
        self._selector.register(pidfd, selectors.EVENT_READ, self._run_ended)
        self._selector.register(connection, selectors.EVENT_READ, self._client_left)
        return None

    def _client_left(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        for pid, each in self._runs.values():
            if each is connection:
                kill_run(pid)

    def _run_ended(self, pidfd: int) -> None:
        pid, connection = self._runs.pop(pidfd)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(OSError):
            connection.sendall(f"{code}\n".encode())
        with contextlib.suppress(KeyError):
            self._selector.unregister(connection)
        connection.close()


def kill_run(leader: int) -> None:
    """Kill a process with its session and all its descendants, whatever sessions these have made."""
    # The leader lies dead until it is waited for, so its number is not used again meanwhile.
    known = {leader}
    while found := _alive_relatives(known):
        known |= found
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _alive_relatives(known: set[int]) -> set[int]:
    """Processes that are not dead and are known, descend from known ones, or are in a session of theirs."""
    found: set[int] = set()
    table = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent, _group, session = (path / "stat").read_text().rpartition(") ")[2].split()[:4]
                table[int(path.name)] = (state, int(parent), int(session))
    grew = True
    while grew:
        more = {
            pid
            for pid, (state, parent, session) in table.items()
            if state != "Z" and (pid in known or parent in known | found or session in known | found)
        }
        grew = not more <= found
        found |= more
    return found


if __name__ == "__main__":
    # As for the programs of the run: nothing that lies beside this file can be imported.
    sys.path[0] = str(Path(sys.executable).parent)
    _baseline = Baseline()
    _child = Server(int(sys.argv[1])).next_child()
    if _child is None:
        shutil.rmtree(sys.argv[2], ignore_errors=True)
    else:
        # The last thing that this program does: the child ends as a fresh process does, with its exit handlers.
        runpy.run_path(become(_baseline, *_child), run_name="__main__")
