# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Draw the diagrams of the documentation from their text: diagrams.py [--check]

Each docs/docsite/diagrams/NAME.dot becomes docs/docsite/rst/images/NAME.svg. Graphviz (``dot``) does the layout. Both
files are committed, so that a page shows its pictures wherever it is read. The SVG holds a digest of its source and of
this tool. With --check, which needs no Graphviz, nothing is written: it names the pictures that are not made from the
present source, and exits with 1 if there are any.

A comment ``// title:`` names the picture, comments ``// about:`` describe it for a reader who cannot see it.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from html import escape
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = REPOSITORY / "docs/docsite/diagrams"
PICTURES = REPOSITORY / "docs/docsite/rst/images"
TIMEOUT_OF_DOT = 60
"""Seconds that a layout may take."""

# The picture brings its own background: a page may stay light where the system of its reader is dark.
STYLE = """
text { font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1d2733; }
.paper { fill: #ffffff; }
.node path, .node polygon { fill: #e8f0fb; stroke: #3667a6; }
.node.data path, .node.data polygon { fill: #f4f1e6; stroke: #8a7a3c; }
.node.good path, .node.good polygon { fill: #e3f4e6; stroke: #2f7d43; stroke-width: 2; }
.node.bad path, .node.bad polygon { fill: #fbe9e4; stroke: #a8482f; stroke-width: 2; stroke-dasharray: 6 2; }
.cluster path, .cluster polygon { fill: #f7f9fb; stroke: #b8c4d1; }
.cluster text { fill: #4d5b6a; }
.edge path { fill: none; stroke: #4d5b6a; }
.edge polygon { fill: #4d5b6a; stroke: #4d5b6a; }
.edge text { fill: #33404d; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf4; }
  .paper { fill: #14191f; }
  .node path, .node polygon { fill: #1d3350; stroke: #7fb0ee; }
  .node.data path, .node.data polygon { fill: #37321c; stroke: #d3c27a; }
  .node.good path, .node.good polygon { fill: #173a22; stroke: #7fd196; }
  .node.bad path, .node.bad polygon { fill: #45221a; stroke: #f0a58f; }
  .cluster path, .cluster polygon { fill: #1b222a; stroke: #465361; }
  .cluster text { fill: #b4c0cc; }
  .edge path { stroke: #b4c0cc; }
  .edge polygon { fill: #b4c0cc; stroke: #b4c0cc; }
  .edge text { fill: #d3dce5; }
}
"""
LAYOUT = (
    "-Gfontname=DejaVu Sans",
    "-Nfontname=DejaVu Sans",
    "-Efontname=DejaVu Sans",
    "-Gfontsize=13",
    "-Nfontsize=12",
    "-Efontsize=10.5",
    "-Nshape=box",
    "-Nstyle=rounded",
    "-Nmargin=0.16,0.09",
    "-Gpad=0.15",
    "-Gbgcolor=transparent",
    "-Gstyle=rounded",
)
SIZE = re.compile(
    r'<svg width="[^"]*" height="[^"]*"\s+viewBox="(?P<box>(?P<x>\S+) (?P<y>\S+) (?P<w>\S+) (?P<h>\S+))"'
)
BODY = re.compile(r"(<g id=\"graph0\".*)</svg>", re.DOTALL)
# Hints on hover and comments repeat what is written, and colours come from the style.
NEEDLESS = re.compile(
    r'<title>.*?</title>\n|<!--.*?-->\n| fill="(?:black|none|transparent)"| stroke="black"', re.DOTALL
)
DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<!--
  Copyright: (c) 2026, nixferry contributors
  GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
  SPDX-License-Identifier: GPL-3.0-or-later
  Drawn by tests/tools/diagrams.py from docs/docsite/diagrams/{name}.dot: change that, then run make diagrams.
  sha256:{digest}
-->
<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" role="img" aria-labelledby="title about">
<title id="title">{title}</title>
<desc id="about">{about}</desc>
<style>{style}</style>
<rect class="paper" x="{x}" y="{y}" width="{w}" height="{h}" rx="8"/>
{body}</svg>
"""


class DiagramError(Exception):
    """A diagram cannot be drawn; the text says why."""


def digest(source: Path) -> str:
    """Return the SHA-256 of the source and of this tool, in hexadecimal."""
    return hashlib.sha256(source.read_bytes() + Path(__file__).read_bytes()).hexdigest()


def comments(text: str, word: str) -> str:
    """Return what the comments ``// WORD:`` say, joined."""
    return " ".join(re.findall(rf"^// {word}: *(.*\S)", text, re.MULTILINE))


def picture(source: Path) -> str:
    """Return the SVG of a diagram. Raises ``DiagramError`` if Graphviz cannot draw it."""
    text = source.read_text(encoding="utf-8")
    title, about = comments(text, "title"), comments(text, "about")
    if not title or not about:
        raise DiagramError(f"{source.name} needs comments `// title:` and `// about:`")
    drawn = subprocess.run(
        ["dot", "-Tsvg", *LAYOUT, str(source)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_OF_DOT,
        check=False,
    )
    size, body = SIZE.search(drawn.stdout), BODY.search(drawn.stdout)
    if drawn.returncode or size is None or body is None:
        raise DiagramError(f"{source.name}: {drawn.stderr.strip() or 'dot wrote another SVG than expected'}")
    return PAGE.format(
        name=source.stem,
        digest=digest(source),
        title=escape(title),
        about=escape(about),
        style=STYLE,
        body=NEEDLESS.sub("", body[1]),
        **size.groupdict(),
    )


def stale() -> list[Path]:
    """Return the sources whose picture is missing or made from something else."""
    found = []
    for source in sorted(SOURCES.glob("*.dot")):
        file = PICTURES / f"{source.stem}.svg"
        made = DIGEST.search(file.read_text(encoding="utf-8")) if file.exists() else None
        if made is None or made[1] != digest(source):
            found.append(source)
    return found


def main(arguments: list[str]) -> int:
    """Draw or check all diagrams; returns the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: diagrams.py [--check]", file=sys.stderr)
        return 2
    if arguments:
        names = ", ".join(source.name for source in stale())
        if names:
            print(f"Changed since the picture was drawn: {names}. Run `make diagrams`.", file=sys.stderr)
        return 1 if names else 0
    PICTURES.mkdir(exist_ok=True)
    for source in stale():
        try:
            (PICTURES / f"{source.stem}.svg").write_text(picture(source), encoding="utf-8")
        except (DiagramError, OSError, subprocess.TimeoutExpired) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
