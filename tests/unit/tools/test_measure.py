# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command leaves behind is accounted to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
# In a process of its own, since it adopts what its children leave behind. The daemon works for half a second, tells
# that it has, and stays.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from benchmarks.measure import Command, adopt_orphans, descendants, run

adopt_orphans()
daemon = (
    "import os, time, pathlib\\n"
    "while time.process_time() < 0.5: pass\\n"
    "pathlib.Path('worked').touch()\\n"
    "time.sleep(60)\\n"
)
script = "$1 -c \\"$2\\" & until [ -e worked ]; do sleep 0.1; done"
outcome = run(Command(["sh", "-c", script, "sh", sys.executable, daemon]), Path("log"))
for process in descendants(os.getpid()):
    os.kill(process, signal.SIGKILL)
print(outcome.return_code, outcome.cpu_seconds)
"""
DEADLINE = 60  # seconds for the program


def test_daemons_that_a_command_leaves_behind_count(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    code, used = done.stdout.split()
    assert code == "0"
    assert float(used) >= 0.4  # the kernel counts in hundredths
