# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Documentation of the settings of the report."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the callback, which the collection's own playbooks load under another name."""

    DOCUMENTATION = r"""
options:
  file:
    description:
      - Where to write the report of a run as JSON. It is replaced as a whole when the deploy begins and
        when the run ends.
      - The extra variable C(nixferry_report_file) has precedence, as in C(-e nixferry_report_file=report.json).
    type: path
    env:
      - name: NIXFERRY_REPORT_FILE
    ini:
      - section: nixferry_report
        key: file
  html:
    description:
      - Where to write the report of a run as one file of HTML, for a browser or a mail. It needs no other file, no
        network and no script, and is replaced when O(file) is.
      - The extra variable C(nixferry_report_html) has precedence.
    type: path
    env:
      - name: NIXFERRY_REPORT_HTML
    ini:
      - section: nixferry_report
        key: html
  junit:
    description:
      - Where to write the report of a run as JUnit XML, which CI systems show as test results. Each task on a host is a
        test case. It is replaced when O(file) is.
      - The extra variable C(nixferry_report_junit) has precedence.
    type: path
    env:
      - name: NIXFERRY_REPORT_JUNIT
    ini:
      - section: nixferry_report
        key: junit
  status_file:
    description:
      - Where to write the state of the fleet as JSON when M(nixferry.deploy.nix_generations) asks for it. V(-) prints
        it instead of the table.
      - The extra variable C(nixferry_status_file) has precedence.
    type: str
    env:
      - name: NIXFERRY_STATUS_FILE
    ini:
      - section: nixferry_report
        key: status_file
  status_html:
    description:
      - Where to write the state of the fleet as one file of HTML.
      - The extra variable C(nixferry_status_html) has precedence.
    type: path
    env:
      - name: NIXFERRY_STATUS_HTML
    ini:
      - section: nixferry_report
        key: status_html
  status_prometheus:
    description:
      - Where to write the state of the fleet as metrics in the text format of Prometheus. Its name has to end in
        C(.prom) for the textfile collector of the node exporter.
      - The extra variable C(nixferry_status_prometheus) has precedence.
    type: path
    env:
      - name: NIXFERRY_STATUS_PROMETHEUS
    ini:
      - section: nixferry_report
        key: status_prometheus
  summary:
    description: Whether to print the summary and the table.
    type: bool
    default: true
    env:
      - name: NIXFERRY_REPORT_SUMMARY
    ini:
      - section: nixferry_report
        key: summary
"""
