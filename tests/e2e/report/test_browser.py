# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a browser makes of the pages: on a phone and on a wide screen, in light and dark, with everything unfolded."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from lab import PATIENCE
from sample_reports import a_plan, a_status, path, run_report

from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.fleet_page import fleet_page
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plan_page import plan_page
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.run_page import run_page

BROWSER_DEADLINE = 60  # seconds for one run of the browser
WIDTHS = (400, 1400)
# The hostile words end in one that a line break would have to cut.
HOSTILE = "<script>parent.hacked=1</script><img src=x onerror='parent.hacked=1'>" + "w" * 200
PAGES = {
    "run": run_page(run_report()),
    "fleet": fleet_page(a_status()),
    "plan": plan_page(a_plan()),
    "hostile-run": run_page(run_report(HOSTILE)),
    "hostile-fleet": fleet_page(a_status(HOSTILE)),
    "hostile-plan": plan_page(a_plan(HOSTILE)),
}
# Frames as wide as the screens; the script looks at each, folded and unfolded, and leaves what it found as text.
DRIVER = """<!doctype html><meta charset="utf-8"><body><pre id="found"></pre><script>
const found = {};
const look = (frame) => {
  const page = frame.contentDocument, root = page.documentElement, width = root.clientWidth;
  const beyond = [...page.querySelectorAll("body *")].filter((each) => {
    const box = each.getBoundingClientRect();
    return box.width && box.right > width + 1 && !each.closest("svg");
  });
  return {
    width: width, scrolls: root.scrollWidth, text: page.body.innerText,
    beyond: beyond.slice(0, 3).map((each) => each.outerHTML.slice(0, 200)),
  };
};
const visit = (name, width) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 900;
  frame.onload = () => {
    const folded = look(frame);
    frame.contentDocument.querySelectorAll("details").forEach((each) => { each.open = true; });
    const style = frame.contentWindow.getComputedStyle(frame.contentDocument.body);
    found[`${name} ${width}`] = {
      folded: folded, unfolded: look(frame), ground: style.backgroundColor, ink: style.color, font: style.fontSize,
    };
    frame.remove();
    done();
  };
  frame.src = `${name}.html`;
  document.body.append(frame);
});
(async () => {
  for (const name of NAMES) for (const width of WIDTHS) await visit(name, width);
  document.getElementById("found").textContent = JSON.stringify({ pages: found, hacked: window.hacked ?? null });
})();
</script>"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a web server on this machine that has the pages, and one that looks at them."""
    directory = tmp_path_factory.mktemp("pages")
    for name, text in PAGES.items():
        (directory / f"{name}.html").write_text(text, encoding="utf-8")
    driver = DRIVER.replace("NAMES", json.dumps(list(PAGES))).replace("WIDTHS", json.dumps(WIDTHS))
    (directory / "driver.html").write_text(driver, encoding="utf-8")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    handler = functools.partial(Handler, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def browse(address: str, scheme: int, profile: Path) -> dict[str, Any]:
    """What the script of the driver found. ``scheme`` is 0 for dark and 1 for light."""
    done = subprocess.run(
        [
            *("chromium", "--headless", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"),
            # As root, in a container, the browser's own sandbox is not to be had. It reads our own pages only.
            "--no-sandbox",
            # No look-ups of its own.
            *("--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
            *(f"--user-data-dir={profile}", f"--blink-settings=preferredColorScheme={scheme}"),
            *("--window-size=1500,1000", "--virtual-time-budget=20000", "--dump-dom"),
            f"{address}/driver.html",
        ],
        capture_output=True,
        check=False,
        text=True,
        timeout=BROWSER_DEADLINE * PATIENCE,
    )
    match = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.S)
    assert match, done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(unescape(match[1]))
    return found


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_pages_in_a_browser(address: str, tmp_path: Path) -> None:
    grounds = []
    for scheme in (1, 0):
        found = browse(address, scheme, tmp_path / str(scheme))
        assert found["hacked"] is None
        pages = found["pages"]
        assert set(pages) == {f"{name} {width}" for name in PAGES for width in WIDTHS}
        for name, page in pages.items():
            for looked in (page["folded"], page["unfolded"]):
                # Nothing has to be scrolled to the side, and nothing is cut off.
                assert looked["scrolls"] <= looked["width"], name
                assert looked["beyond"] == [], name
            assert len(page["unfolded"]["text"]) > len(page["folded"]["text"]), name
            # The style sheet is the page's own: the policy lets it in.
            assert page["font"] == "16px", name
        for width in WIDTHS:
            run = pages[f"run {width}"]
            assert "Deploy failed" in run["folded"]["text"]
            assert "warning: postfix.service failed" not in run["folded"]["text"]
            assert "warning: postfix.service failed" in run["unfolded"]["text"]
            assert path("b", "web2") in run["unfolded"]["text"]
            assert "4 of 5 hosts need attention" in pages[f"fleet {width}"]["folded"]["text"]
            assert "2 of 4 hosts would change" in pages[f"plan {width}"]["folded"]["text"]
            for name in ("run", "fleet", "plan"):
                assert HOSTILE in pages[f"hostile-{name} {width}"]["folded"]["text"]
        grounds.append(pages["run 400"]["ground"])
        assert {page["ground"] for page in pages.values()} == {grounds[-1]}
        assert {page["ink"] for page in pages.values()} != {grounds[-1]}
    # Light and dark.
    assert [int(re.findall(r"\d+", ground)[0]) > 128 for ground in grounds] == [True, False]
