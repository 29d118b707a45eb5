"""A page in Chromium without a window, driven through its own debugging pipe."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--mute-audio"),
    *("--disable-dev-shm-usage", "--disable-extensions", "--no-first-run", "--hide-scrollbars"),
)


class Page:
    """A page; its methods return when the browser has done what they ask for."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._number, self._rest = 0, b""
        self._session: dict[str, str] = {}
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        self.send("Page.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        """The result of a command of the DevTools protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._until(lambda answer: answer.get("id") == self._number)["result"]

    def save_to(self, folder: Path) -> None:
        """The folder of files that the page saves from now on."""
        self.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def open(self, path: Path, size: tuple[int, int] = (1100, 850)) -> None:
        """Open a file and wait until it is loaded."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=False,
        )
        self.send("Page.navigate", url=path.as_uri())
        self._until(lambda answer: answer.get("method") == "Page.loadEventFired")

    def reload(self) -> None:
        """Load the page again, in the same process: what it stored is known there at once."""
        self.send("Page.reload")
        self._until(lambda answer: answer.get("method") == "Page.loadEventFired")

    def run(self, script: str) -> Any:
        """The value of an expression; a promise is awaited."""
        found = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, modifiers: int = 0) -> None:
        """Press a key; modifiers are 2: Ctrl, 8: Shift."""
        text = {"text": key} if len(key) == 1 and not modifiers & 2 else {}
        for kind in ("keyDown", "keyUp"):
            down = text if kind == "keyDown" else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=key, modifiers=modifiers, **down)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at a point of the page and release it at another one."""
        for kind, (x, y) in (
            ("mousePressed", start),
            ("mouseMoved", end),
            ("mouseReleased", end),
        ):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose_file(self, selector: str, path: Path) -> None:
        """Give a file to an input element."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def click(self, selector: str) -> None:
        """Click on the middle of an element."""
        box = self.box(selector)
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.drag(middle, middle)

    def box(self, selector: str) -> dict[str, float]:
        """Position and size of an element."""
        found: dict[str, float] = self.run(
            f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()"
        )
        return found

    def _until(self, wanted: Any) -> Any:
        while True:
            while b"\0" not in self._rest:
                block = os.read(self._read, 1 << 20)
                assert block, "the browser ended"
                self._rest += block
            text, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(text)
            assert "error" not in answer, answer
            if wanted(answer):
                return answer


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A page of a browser whose settings are in a folder."""
    assert CHROMIUM is not None
    to_browser, from_browser = os.pipe(), os.pipe()
    options = [*_OPTIONS, f"--user-data-dir={folder / 'profile'}"]
    # The browser reads its descriptor 3 and writes 4.
    moved = f'exec "$0" "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
    process = subprocess.Popen(
        ["bash", "-c", moved, CHROMIUM, *options],
        pass_fds=(to_browser[0], from_browser[1]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
    )
    os.close(to_browser[0])
    os.close(from_browser[1])
    try:
        yield Page(to_browser[1], from_browser[0])
    finally:
        os.close(to_browser[1])
        os.close(from_browser[0])
        process.terminate()
        process.wait()
