"""`crdbmesh report`, looked at in a real browser: what a person sees on a screen, on a phone, in the dark and in print.

The browser is Chromium, without a display, driven by its DevTools protocol over loopback.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket
from tests.referees.conftest import NAME, REGIONS, BuiltMesh, World, program

pytestmark = pytest.mark.referee
_READY_S = 30
_BOXES = """JSON.stringify([...document.querySelectorAll('svg text, h1, h2, dd, td, .bar')].map(one => {
  const box = one.getBoundingClientRect(), frame = one.closest('svg, section, body').getBoundingClientRect();
  return {text: one.textContent, seen: box.width > 0 && box.height > 0,
    inside: box.left >= frame.left - 3 && (box.right <= frame.right + 3 || one.closest('table') !== null)}; }))"""


class Browser:
    """A page in a headless Chromium."""

    def __init__(self, url: str) -> None:
        self._socket = websocket.create_connection(url, timeout=_READY_S, suppress_origin=True)
        self._numbers = itertools.count(1)
        self.fetched: list[str] = []

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": given}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("method") == "Network.requestWillBeSent":
                self.fetched.append(message["params"]["request"]["url"])
            if message.get("id") == number:
                assert "error" not in message, message
                return dict(message["result"])

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def ask(self, expression: str) -> Any:
        """Evaluate JavaScript in the page."""
        return self.call("Runtime.evaluate", expression=expression)["result"].get("value")

    def show(self, path: Path, *, width: int, scheme: str = "light") -> None:
        """Load a page in a window of that width."""
        self.call("Network.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=path.as_uri())
        ends = time.monotonic() + _READY_S
        while self.ask("location.protocol + document.readyState") != "file:complete":
            assert time.monotonic() < ends, "the page does not load"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium, folder = program("chromium"), tmp_path_factory.mktemp("chromium")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    command = [chromium, *options, f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            port, ends = folder / "DevToolsActivePort", time.monotonic() + _READY_S
            while not (port.exists() and port.read_text().count("\n")):
                assert time.monotonic() < ends, "Chromium does not start"
                time.sleep(0.1)
            number, at = port.read_text().split()
            with contextlib.closing(Browser(f"ws://127.0.0.1:{number}{at}")) as whole:
                target = whole.call("Target.createTarget", url="about:blank")["targetId"]
                with contextlib.closing(Browser(f"ws://127.0.0.1:{number}/devtools/page/{target}")) as page:
                    yield page
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


@pytest.fixture(scope="module")
def page(mesh: BuiltMesh, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    environment = {**os.environ, "CRDBMESH_HOME": str(mesh.home), "CRDBMESH_CLOUD": world.coordinates["cloud_file"]}
    command = [sys.executable, "-m", "crdbmesh", "report", NAME, "--file", str(path)]
    subprocess.run(command, check=True, env=environment, timeout=120)
    return path


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_a_person_sees_the_whole_report(browser: Browser, page: Path, width: int, scheme: str) -> None:
    browser.show(page, width=width, scheme=scheme)
    text = browser.ask("document.body.innerText")
    assert text.startswith(NAME)
    for shown in ("Healthy", *REGIONS, "Health of every layer", "On the critical path", "CockroachDB nodes live"):
        assert shown in text
    assert browser.ask("document.documentElement.scrollWidth") <= width, "the page itself scrolls sideways"
    boxes = json.loads(browser.ask(_BOXES))
    assert {box["text"] for box in boxes} >= set(REGIONS)
    assert len([box for box in boxes if not box["text"]]) > 20, "the timeline has no bars"
    assert not [box for box in boxes if not (box["seen"] and box["inside"])]
    light = [
        sum(map(int, re.findall(r"\d+", browser.ask(f"getComputedStyle(document.body).{name}"))[:3]))
        for name in ("backgroundColor", "color")
    ]
    assert abs(light[0] - light[1]) > 400, "the text can hardly be read"
    assert (light[0] < light[1]) is (scheme == "dark")
    assert [url for url in browser.fetched if not url.startswith("file:")] == []


def test_it_prints_on_a_few_pages(browser: Browser, page: Path) -> None:
    browser.show(page, width=1280)
    printed = base64.b64decode(browser.call("Page.printToPDF", printBackground=True)["data"])
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b(?!s)", printed)) <= 5
