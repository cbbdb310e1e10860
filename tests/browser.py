"""Headless Chromium for tests of pages, driven through its debugging pipe: real keys and a real pointer, at any size, light and dark."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--remote-debugging-pipe",
]


class Browser:
    """One page of a browser. Messages are JSON objects, each ended by a zero byte."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests, self._answers = requests, answers
        self._number, self._rest, self._session = 0, b"", None
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._answers, 65536)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        os.write(self._requests, json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._number:
            pass
        assert "error" not in answer, (method, answer["error"])
        return dict(answer["result"])

    def open(self, page: Path, *, width: int, scheme: str = "light", height: int = 900, media: str = "screen") -> None:
        """Show a page, on the screen or as it prints, and wait until it and its pictures are loaded."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._ask("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])
        address = page.resolve().as_uri()
        self._ask("Page.navigate", url=address)
        self.until(f"document.readyState==='complete'&&location.href==={json.dumps(address)}")

    def run(self, script: str) -> Any:
        """Return the value of an expression on the page."""
        found = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression on the page is true; fail after ten seconds."""
        end = time.monotonic() + 10
        while self.run(condition) is not True:
            assert time.monotonic() < end, condition
            time.sleep(0.02)

    def press(self, key: str, *, text: str = "", code: int = 0) -> None:
        """Press and release a key; ``text`` is what it types, ``code`` its virtual key code, which editing and Enter need."""
        for event in ("keyDown", "keyUp"):
            typed = {"text": text} if event == "keyDown" and text else {}
            self._ask("Input.dispatchKeyEvent", type=event, key=key, windowsVirtualKeyCode=code, **typed)

    def type(self, text: str) -> None:
        """Type a text into the element that has the focus."""
        for letter in text:
            self.press(letter, text=letter)

    def move(self, x: float, y: float) -> None:
        """Move the pointer to a place in the window."""
        self._ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        """Click at a place in the window."""
        for event in ("mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=event, x=x, y=y, button="left", clickCount=1)

    def centre(self, selector: str) -> tuple[float, float]:
        """Scroll to the first element of a CSS selector and return the place of its centre in the window."""
        x, y = self.run(
            f"(()=>{{const e=document.querySelector({json.dumps(selector)});e.scrollIntoView({{block:'center'}});"
            "const b=e.getBoundingClientRect();return [b.x+b.width/2,b.y+b.height/2]})()"
        )
        return x, y

    def screenshot(self, file: Path) -> None:
        """Write the whole page as a PNG, for a look at it."""
        import base64

        self.run("document.querySelectorAll('img').forEach(i=>i.loading='eager');Promise.all([...document.images].map(i=>i.decode()))")
        file.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Start a browser with its profile in a folder and end it; without one, skip the test."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs a browser: no chromium or google-chrome on the path")
    (reads, requests), (answers, writes) = os.pipe(), os.pipe()
    process = subprocess.Popen(
        ["bash", "-c", f'exec "$@" 3<&{reads} 4>&{writes}', "bash", program, f"--user-data-dir={profile}", *QUIET],
        pass_fds=(reads, writes),
        stderr=subprocess.DEVNULL,
    )
    os.close(reads)
    os.close(writes)
    try:
        yield Browser(requests, answers)
    finally:
        os.close(requests)
        process.terminate()
        process.wait(timeout=20)
        os.close(answers)
