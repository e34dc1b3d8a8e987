# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tasks of the page about images that send images and import them, run with stand-ins for clouds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

PAGE = Path(__file__).parents[3] / "docs/docsite/rst/images.rst"
SHA = "2f1c0a7be2d93c41" * 4
IMAGE = f"/srv/images/web1-{SHA[:16]}.vhd"
NAME = Path(IMAGE).name
# What the role registers, as far as tasks use it.
RESULT = {"changed": True, "failed": False, "image": IMAGE, "manifest": f"{IMAGE}.json", "sha256": SHA}
MODULE = """
import json, os
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        with open(os.environ["RECORD"], "a") as record:
            record.write(json.dumps([self._task.action, dict(self._task.args)]) + "\\n")
        return {"changed": True}
"""
PROGRAM = """#!/bin/sh
python3 -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "${0##*/}" "$@" >>"$RECORD"
case $2 in
    import-snapshot) echo '{"ImportTaskId": "import-snap-1"}' ;;
    describe-import-snapshot-tasks)
        if [ -e "$RECORD.asked" ]; then status=completed; else status=active; fi
        touch "$RECORD.asked"
        echo '{"ImportSnapshotTasks": [{"SnapshotTaskDetail": {"Status": "'"$status"'", "SnapshotId": "snap-7"}}]}'
        ;;
esac
"""


def tasks_of(*titles: str) -> list[dict[str, Any]]:
    """The tasks in the sections with these titles; the page itself waits longer between questions."""
    found = []
    sections = re.split(r"^(.+)\n-{5,}$", PAGE.read_text(), flags=re.M)
    for title, section in zip(sections[1::2], sections[2::2], strict=True):
        if title in titles:
            for block in re.findall(r"^\.\. code-block:: yaml\n\n((?:   .*\n|\n)+)", section, re.M):
                tasks = yaml.safe_load(textwrap.dedent(block))
                found += tasks if isinstance(tasks, list) else []
    return [{**task, **({"delay": 0} if "delay" in task else {})} for task in found]


@pytest.mark.parametrize("changed", [True, False])
def test_an_image_is_imported_once(tmp_path: Path, changed: bool) -> None:
    for name in ("amazon.aws.s3_object", "amazon.aws.ec2_ami", "openstack.cloud.image"):
        namespace, collection, module = name.split(".")
        file = tmp_path / f"ansible_collections/{namespace}/{collection}/plugins/action/{module}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(MODULE)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("aws", "gcloud"):
        (programs / name).write_text(PROGRAM)
        (programs / name).chmod(0o755)
    record = tmp_path / "record"
    record.touch()
    tasks = tasks_of("Send it", "Import it into a cloud")
    variables = {"image_result": {**RESULT, "changed": changed}, "ansible_python_interpreter": sys.executable}
    play = {"hosts": "web1", "gather_facts": False, "vars": variables, "tasks": tasks}
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(json.dumps([play]))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "--inventory", "web1,", playbook],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_COLLECTIONS_PATH": str(tmp_path),
            "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp"),
            "ANSIBLE_NOCOLOR": "1",
            "PATH": f"{programs}:{os.environ['PATH']}",
            "RECORD": str(record),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    called = [json.loads(line) for line in record.read_text().splitlines()]
    words = [" ".join(map(str, call[:3] if isinstance(call[1], str) else call[:1])) for call in called]
    files = ["amazon.aws.s3_object"] * 2
    imports = [
        "aws ec2 import-snapshot",
        *["aws ec2 describe-import-snapshot-tasks"] * 2,
        "amazon.aws.ec2_ami",
    ]
    once = [*imports, "gcloud compute images"] if changed else []
    assert words == [*files, *once, "openstack.cloud.image"]
    assert called[0][1]["object"] == NAME
    assert called[-1][1]["filename"] == IMAGE
    if changed:
        assert called[2][-1] == f"Format=VHD,UserBucket={{S3Bucket=images,S3Key={NAME}}}"
        assert called[3][-1] == "import-snap-1"
        assert called[5][1]["device_mapping"][0]["snapshot_id"] == "snap-7"
        assert called[6][4:] == [f"web1-{SHA[:16]}", "--source-uri", f"gs://images/{NAME}"]
