# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Format the summary at the end of a run."""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_record import DIRTY, base_revision
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.text import names_text

from .facts import OUTCOMES

WIDTH = 100
GOOD, CHANGED, BAD, WARN = "good", "changed", "bad", "warn"
_LABEL = 22
_TONES = {
    "unknown": BAD,
    "failed": BAD,
    "rolled-back": BAD,
    "awaiting-confirmation": WARN,
    "unreachable": BAD,
    "not-attempted": WARN,
    "tested": CHANGED,
    "committed": CHANGED,
}
_WOULD = {
    "awaiting-confirmation": "would be committed",
    "committed": "would be committed",
    "tested": "would be tested",
    "dry-activated": "would be dry-activated",
    "rolled-back": "would be rolled back",
    "copied": "would be copied",
    "built": "evaluated",
}
_MANY = re.compile(r"\d+ hosts \(")


@dataclass(frozen=True)
class Line:
    """A line of text and its tone: ``good``, ``changed``, ``bad`` or ``warn``."""

    text: str
    tone: str = GOOD


def summary_lines(report: Mapping[str, Any], width: int = WIDTH) -> list[Line]:
    """Return the hosts of a run by outcome, the worst last, where users look first."""
    hosts: Mapping[str, Mapping[str, Any]] = report["hosts"]
    head = f"{_count(len(hosts), 'host')} in {duration(report['seconds'] or 0)}: {report['result']}"
    if report["check_mode"]:
        head += " (check mode, nothing was changed)"
    lines = [Line(head, GOOD if report["result"] == "ok" else BAD)]
    for outcome in reversed(OUTCOMES):
        names = [name for name, host in hosts.items() if host["outcome"] == outcome]
        if not names:
            continue
        label = outcome_text(outcome, check_mode=report["check_mode"])
        tone = _TONES.get(outcome, GOOD)
        lines += _labelled(
            f"{label} ({len(names)})",
            [_told(name, hosts[name], sure=not report["check_mode"]) for name in names],
            tone,
            width,
        )
        said: dict[str, list[str]] = {}
        for name in names:
            if hosts[name]["message"]:
                said.setdefault(cause(name, hosts[name]["message"]), []).append(name)
        for message, together in said.items():
            told = f"{names_text(together)}: {message}"
            lines += [Line(text, tone) for text in _told_cause(told, width)]
    due = [_with(name, host["reboot_reasons"]) for name, host in hosts.items() if host["reboot_required"]]
    if due:
        lines += _labelled(f"reboot required ({len(due)})", due, WARN, width)
    rebooted = [name for name, host in hosts.items() if host["rebooted"]]
    if rebooted:
        would = "would be rebooted" if report["check_mode"] else "rebooted"
        lines += _labelled(f"{would} ({len(rebooted)})", rebooted, CHANGED, width)
    units = [_with(name, host["failed_units"]) for name, host in hosts.items() if host["failed_units"]]
    if units:
        lines += _labelled(f"failed units ({len(units)})", units, WARN, width)
    for name, host in hosts.items():
        if host["failed_task"]:
            how = "lost the host" if host["failed_task"]["unreachable"] else "failed"
            was = outcome_text(host["outcome"], check_mode=report["check_mode"], past="was ")
            text = f"{name}: {was}, but then the task {host['failed_task']['task']!r} {how}"
            if host["failed_task"]["message"]:
                text += f": {cause(name, host['failed_task']['message'])}"
            lines += [Line(each, BAD) for each in _told_cause(text, width)]
    return lines


def json_text(report: Mapping[str, Any]) -> str:
    """Return a report as the text of a JSON file."""
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def write_whole(path: Path, text: str) -> None:
    """Replace a file as a whole, and make its directory. Raises ``OSError``.

    The mode of the file is that of any new file. What is not a regular file, such as a pipe, is written to as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _told(name: str, host: Mapping[str, Any], *, sure: bool) -> str:
    """Return a host with its new generation, if any."""
    committed = sure and host["outcome"] == "committed" and host["generation"]
    return _with(name, [f"generation {host['generation']}"] if committed else [])


def _told_cause(text: str, width: int) -> list[str]:
    """Return a sentence or two for the summary; the failed task has the whole message."""
    # A path or an address is to be copied: it stays in one piece unless it is longer than a line.
    lines = textwrap.wrap(text, width - 6, max_lines=3, placeholder=" ..", break_on_hyphens=False)
    return [f"{'    ' if line is lines[0] else '      '}{line}" for line in lines]


def _with(name: str, words: Sequence[str]) -> str:
    return f"{name} ({', '.join(words)})" if words else name


def outcome_text(outcome: str, *, check_mode: bool, past: str = "") -> str:
    """Return an outcome in words; in check mode nothing has become of a host."""
    if check_mode:
        return _WOULD.get(outcome, outcome)
    return f"{past}{outcome}"


def cause(name: str, message: str) -> str:
    """Return the first line of a message, without the name or names that already precede it."""
    first = message.partition("\n")[0]
    head, _colon, rest = first.partition(": ")
    # A failure of all hosts names them all, or their number if they are many.
    return rest if name in head.split(", ") or _MANY.match(head) else first


def _labelled(label: str, items: Sequence[str], tone: str, width: int) -> list[Line]:
    """Return ``label   item, item, ...``, over several lines if needed."""
    joined = ", ".join(item.replace(" ", "\0") for item in items)
    first = f"  {label}".ljust(_LABEL + 6)
    lines = textwrap.wrap(joined, max(20, width - len(first)), break_long_words=False, break_on_hyphens=False)
    heads = [first, *[" " * len(first)] * (len(lines) - 1)]
    return [Line((head + line).replace("\0", " "), tone) for head, line in zip(heads, lines, strict=True)]


def duration(seconds: float) -> str:
    """Format seconds as ``12s``, ``5m``, ``3h`` or ``12d``."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"


def short_path(path: str) -> str:
    """Return the beginning of a store path's hash; ``-`` for none."""
    return path.rpartition("/")[2][:8] or "-"


def short_revision(revision: str) -> str:
    """Return eight characters of a commit, with ``*`` for a modified working tree."""
    return base_revision(revision)[:8] + ("*" if revision.endswith(DIRTY) else "")


def cut(text: str, width: int) -> str:
    """Return the text in at most ``width`` characters, with two dots for omitted ones."""
    return text if len(text) <= width else text[: max(0, width - 2)] + ".."


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
