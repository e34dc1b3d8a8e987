# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands in for the script that ansible-test downloads to put pip into its own virtual environments.

ansible-test runs it, inside a fresh environment, with pip's options and requirements as arguments. Python brings
pip along, so nothing needs to be downloaded for that: ensurepip unpacks it, and it then installs the versions asked
for from wherever pip is configured to find packages.
"""

from __future__ import annotations

import subprocess
import sys

# Options of the original that say what not to install besides pip. ensurepip's choice does no harm.
OPTIONS_OF_THE_ORIGINAL = {"--no-setuptools", "--no-wheel"}


def main() -> int:
    """Install pip, then what the arguments name; return pip's exit status."""
    wanted = [argument for argument in sys.argv[1:] if argument not in OPTIONS_OF_THE_ORIGINAL]
    subprocess.run([sys.executable, "-m", "ensurepip", "--upgrade"], check=True, stdout=subprocess.DEVNULL)
    return subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", *wanted], check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
