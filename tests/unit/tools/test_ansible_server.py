# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run in a child of the server of Ansible is what a fresh process is."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ansible_runs
import ansible_server
import pytest
from ansible_runs import AnsibleServer

REPOSITORY = Path(__file__).resolve().parents[3]
PLAYBOOK = str(Path(sys.executable).with_name("ansible-playbook"))
INVENTORY = str(Path(sys.executable).with_name("ansible-inventory"))
SESSION = {
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_CALLBACK_PLUGINS": str(REPOSITORY / "tests/e2e/support/callback"),
    "ANSIBLE_CALLBACKS_ENABLED": "record",
    "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".build/collections"),
}
HERE = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
DEADLINE = 60
GONE_DEADLINE = 20

# What a play can see of the process that runs it, and of Ansible's settings.
LOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - debug:
        msg:
          forks: "{{ ansible_forks }}"
          config: "{{ ansible_config_file }}"
          directory: "{{ lookup('pipe', 'pwd') }}"
          environment: "{{ lookup('env', 'SEEN') }}"
          all_variables: "{{ lookup('pipe', 'env | cut -d = -f 1 | grep -v ^_ | sort') }}"
          temporary: "{{ lookup('config', 'DEFAULT_TIMEOUT') }}"
          session_of_its_own: "{{ lookup('pipe', 'ps -o sid= -p $PPID').strip() != '@outer@' }}"
          files: "{{ lookup('pipe', 'ls /proc/self/fd | tr \\"\\n\\" \\" \\"') }}"
    - nixferry.deploy.nix_build:
        store_path: not a store path
      ignore_errors: true
"""


@pytest.fixture(scope="module")
def server() -> Iterator[AnsibleServer]:
    made = AnsibleServer(SESSION)
    yield made
    made.stop()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "inventory.yml").write_text(json.dumps({"all": {"hosts": {"here": HERE}}}))
    write_settings(tmp_path)
    return tmp_path


def write_settings(project: Path, *lines: str) -> None:
    head = ("[defaults]", "inventory = inventory.yml", *lines)
    (project / "ansible.cfg").write_text("\n".join([*head, *ansible_runs.SETTINGS]) + "\n")


def environment_of(project: Path, **changed: str) -> dict[str, str]:
    own = {
        "ANSIBLE_CONFIG": str(project / "ansible.cfg"),
        "NIXFERRY_TEST_RECORD": str(project / "record.jsonl"),
        "XDG_CACHE_HOME": str(project / ".cache"),
    }
    return {**os.environ, **SESSION, **own, **changed}


def forked(
    server: AnsibleServer, project: Path, *arguments: str, timeout: float = DEADLINE, **environment: str
) -> subprocess.CompletedProcess[str]:
    return server.run(
        [PLAYBOOK, *arguments],
        environment=environment_of(project, **environment),
        directory=project,
        timeout=timeout,
    )


def started(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    return subprocess.run(
        [PLAYBOOK, *arguments],
        env=environment_of(project, **environment),
        cwd=project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        start_new_session=True,
    )


def play(*tasks: Any, **keywords: Any) -> str:
    return json.dumps([{"hosts": "all", "gather_facts": False, **keywords, "tasks": tasks}])


def both(server: AnsibleServer, project: Path, *arguments: str, **environment: str) -> str:
    """What a forked run prints and records with its exit status, which is what a started one does."""
    record = project / "record.jsonl"
    found = []
    for run_once in (started, partial(forked, server)):
        record.unlink(missing_ok=True)
        run = run_once(project, *arguments, **environment)
        recorded = record.read_text() if record.exists() else ""
        found.append((run.returncode, run.stdout, run.stderr, recorded))
    assert found[1] == found[0]
    return found[0][1] + found[0][2]


def test_a_run_sees_what_a_fresh_process_sees(server: AnsibleServer, project: Path) -> None:
    (project / "play.yml").write_text(LOOK.replace("@outer@", str(os.getsid(0))))
    write_settings(project, "forks = 7")
    text = both(server, project, "play.yml", SEEN="this run's")
    assert "this run's" in text
    assert '"forks": 7' in text or '"forks": "7"' in text
    assert str(project / "ansible.cfg") in text
    # The action of the collection ran.
    assert "is not a" in text or "not a store path" in text, text


@pytest.mark.parametrize(
    ("lines", "environment"),
    [
        pytest.param([], {}, id="nothing"),
        pytest.param(["stdout_callback = ansible.builtin.minimal"], {}, id="another callback"),
        pytest.param(["any_errors_fatal = True"], {}, id="a setting that the import uses"),
        pytest.param([], {"ANSIBLE_FORCE_COLOR": "1", "ANSIBLE_NOCOLOR": ""}, id="colours"),
        pytest.param([], {"ANSIBLE_LOG_PATH": "log"}, id="a log"),
        pytest.param([], {"ANSIBLE_COLLECTIONS_PATH": "/nonexistent"}, id="no collection"),
        pytest.param(["forks = none of the kind"], {}, id="a setting that is not valid"),
    ],
)
def test_settings_have_the_effect_that_they_always_have(
    server: AnsibleServer, project: Path, lines: list[str], environment: dict[str, str]
) -> None:
    write_settings(project, *lines)
    tasks = [
        {"name": "skipped", "debug": {"msg": "x"}, "when": False},
        {"name": "fails", "fail": {"msg": "on purpose"}, "when": "inventory_hostname == 'here'"},
    ]
    (project / "play.yml").write_text(play(*tasks))
    both(server, project, "play.yml", **environment)
    log = project / "log"
    assert log.exists() == ("ANSIBLE_LOG_PATH" in environment)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["play.yml", "-e", "fails=0"], 0),
        (["play.yml", "-e", "fails=1"], 2),
        (["play.yml", "--limit", "nothing"], 1),
        (["--no-such-option"], 2),
    ],
)
def test_exit_status_and_output(
    server: AnsibleServer, project: Path, arguments: list[str], code: int
) -> None:
    (project / "play.yml").write_text(play({"fail": {"msg": "it does"}, "when": "fails | int == 1"}))
    both(server, project, *arguments)
    assert forked(server, project, *arguments).returncode == code


def test_plugins_beside_the_playbook_are_those_of_this_run(server: AnsibleServer, project: Path) -> None:
    (project / "play.yml").write_text(play({"debug": {"msg": "{{ 1 | mine }}"}}))
    filters = project / "filter_plugins"
    filters.mkdir()
    code = "class FilterModule:\n    def filters(self):\n        return {'mine': lambda value: 'filtered'}\n"
    (filters / "mine.py").write_text(code)
    assert "filtered" in both(server, project, "play.yml")
    (filters / "mine.py").write_text(code.replace("'filtered'", "'otherwise'"))
    assert "otherwise" in both(server, project, "play.yml")


def test_a_collection_beside_the_playbook_is_used(server: AnsibleServer, project: Path) -> None:
    roles = project / "collections/ansible_collections/nixferry/deploy/roles/own/tasks"
    roles.mkdir(parents=True)
    (roles / "main.yml").write_text("- debug: {msg: the collection beside}\n")
    (roles.parents[2] / "galaxy.yml").write_text("namespace: nixferry\nname: deploy\nversion: 9.9.9\n")
    (project / "play.yml").write_text(play(roles=["nixferry.deploy.own"]))
    assert "the collection beside" in both(server, project, "play.yml")


def test_ansible_inventory(server: AnsibleServer, project: Path) -> None:
    run = server.run(
        [INVENTORY, "--list"], environment=environment_of(project), directory=project, timeout=DEADLINE
    )
    assert json.loads(run.stdout)["_meta"]["hostvars"] == {"here": HERE}


def test_a_run_reads_an_end_of_its_input(server: AnsibleServer, project: Path) -> None:
    (project / "play.yml").write_text(play({"pause": {"prompt": "Go on?"}}))
    assert forked(server, project, "play.yml").returncode == started(project, "play.yml").returncode == 0


@pytest.mark.parametrize("environment", [{}, {"ANSIBLE_FORCE_COLOR": "1"}], ids=["forked", "started afresh"])
def test_a_run_removes_its_temporary_directory(
    server: AnsibleServer, project: Path, environment: dict[str, str]
) -> None:
    temporary = project / "tmp"
    (project / "play.yml").write_text(play({"debug": {"msg": "{{ lookup('pipe', 'ls tmp') }}"}}))
    run = forked(server, project, "play.yml", ANSIBLE_LOCAL_TEMP=str(temporary), **environment)
    assert "ansible-local-" in run.stdout
    assert list(temporary.iterdir()) == []
    # The server's own is still there for nothing but the server.
    assert forked(server, project, "play.yml").returncode == 0


def test_at_the_end_of_its_time_nothing_of_a_run_is_left(server: AnsibleServer, project: Path) -> None:
    mark = project / "started"
    # In a worker's session, and in a session of its own that has lost its parent.
    script = f"setsid sh -c 'echo $$ >{mark}; exec sleep 1000' & sleep 1000"
    (project / "play.yml").write_text(play({"shell": script}, {"pause": {"seconds": 900}}))
    # On a busy machine it takes a while to get there.
    for seconds in (5, 15, 45):
        with pytest.raises(subprocess.TimeoutExpired):
            forked(server, project, "play.yml", timeout=seconds)
        if mark.exists():
            break
    process = Path("/proc", mark.read_text().strip())
    end = time.monotonic() + GONE_DEADLINE
    while process.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not process.exists()
    # The next run is not disturbed.
    (project / "play.yml").write_text(play({"debug": {"msg": "on and on"}}))
    assert forked(server, project, "play.yml").returncode == 0


def test_a_killed_run_ends_with_the_signal(server: AnsibleServer, project: Path) -> None:
    # The parent of the shell is the worker of the host, and its parent the run.
    (project / "kill.yml").write_text(
        play({"debug": {"msg": "{{ lookup('pipe', 'kill -9 $(ps -o ppid= -p $PPID)') }}"}})
    )
    assert forked(server, project, "kill.yml").returncode == -9


def test_what_runs_in_a_child_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ansible_runs.REAL_PROCESS, raising=False)
    monkeypatch.setenv(ansible_runs.choose.PART, "")
    assert ansible_runs.served([PLAYBOOK, "play.yml"])
    assert not ansible_runs.served(["docker", "exec", "x", "ansible-playbook", "play.yml"])
    assert not ansible_runs.served(["/elsewhere/bin/ansible-playbook", "play.yml"])
    # In a part of the matrix some tests start the programs themselves.
    monkeypatch.setenv(ansible_runs.choose.PART, "1")
    turns = []
    for number in range(200):
        monkeypatch.setenv("PYTEST_CURRENT_TEST", f"tests/test_x.py::test_{number} (call)")
        turns.append(ansible_runs.served([PLAYBOOK, "play.yml"]))
    assert 2 <= turns.count(False) <= 60
    monkeypatch.setenv(ansible_runs.REAL_PROCESS, "1")
    assert not any(ansible_runs.served([PLAYBOOK, "play.yml"]) for _number in turns)


def test_the_server_ends_with_what_it_runs(project: Path) -> None:
    own = AnsibleServer(SESSION)
    (project / "play.yml").write_text(play({"debug": {"msg": "x"}}))
    assert forked(own, project, "play.yml").returncode == 0
    own.stop()
    with pytest.raises(OSError, match="refused"):
        forked(own, project, "play.yml")


KILLED = """
import os, signal, sys
import ansible_runs
server = ansible_runs.AnsibleServer({})
print(server._process.pid, server._directory.name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_client_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    path = os.pathsep.join(
        str(Path(str(module.__file__)).parent) for module in (ansible_runs, ansible_runs.choose)
    )
    environment = {**os.environ, **SESSION, "PYTHONPATH": path, "TMPDIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", KILLED], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == -9, run.stderr
    process, directory = run.stdout.split()
    end = time.monotonic() + DEADLINE
    while (Path("/proc", process).exists() or Path(directory).exists()) and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(directory).exists()
    assert not Path("/proc", process).exists()


SAY_STATE = """
import json, sys
sys.argv = ["x"]
import ansible_server
ansible_server.import_collection() if ansible_server.Baseline() else None
found = {}
for name, module in sorted(sys.modules.items()):
    if name.startswith("ansible_collections.nixferry."):
        for key, value in vars(module).items():
            if isinstance(value, (str, bytes, int, float)) and not key.startswith("__"):
                found[name + "." + key] = repr(value)
print(json.dumps(found))
"""


def test_nothing_is_imported_before_the_run_that_differs_from_run_to_run() -> None:
    """An id or a time that a module makes while it is imported would be the same for all runs: see OWN_TO_A_RUN."""
    path = os.pathsep.join(str(Path(module.__file__ or "").parent) for module in (ansible_server,))
    environment = {**os.environ, **SESSION, "PYTHONPATH": path}
    command = [sys.executable, "-c", SAY_STATE]
    first, second = (
        json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
        for _time in range(2)
    )
    assert len(first) > 100
    assert second == first


def test_settings_that_a_module_uses_while_it_is_imported() -> None:
    source = """
A = C.AT_ONCE
def function(default=C.AS_A_DEFAULT):
    return C.LATER
class Thing:
    field = C.IN_A_CLASS
    def method(self):
        return C.LATER
class Display:
    def __init__(self):
        self.x = C.OF_THE_DISPLAY
B = C.config.get_config_value("ASKED_FOR")
"""
    assert ansible_server.settings_used_by_import(ast.parse(source)) == {
        "AT_ONCE",
        "AS_A_DEFAULT",
        "IN_A_CLASS",
        "OF_THE_DISPLAY",
        "ASKED_FOR",
        "config",
    }
