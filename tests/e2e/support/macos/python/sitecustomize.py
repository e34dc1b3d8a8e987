# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python starts with this on the played Mac, and says from then on that it runs on Darwin."""

from __future__ import annotations

import os

_HERE = os.uname()


def _uname() -> os.uname_result:
    return os.uname_result(("Darwin", _HERE.nodename, "24.1.0", "Darwin Kernel Version 24.1.0", "arm64"))


os.uname = _uname
