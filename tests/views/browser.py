"""A headless Chromium, driven through the DevTools protocol over a pipe: nothing to install for it.

https://chromedevtools.github.io/devtools-protocol/ ; with ``--remote-debugging-pipe`` Chromium
reads messages from descriptor 3 and writes them to 4, each ended by a zero byte.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

PATIENCE_S = 30
"""For any one answer; what waits longer is broken."""


def find() -> str | None:
    """The path of a Chromium, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path is not None), None)


def _far_pipe() -> tuple[int, int]:
    """A pipe whose descriptors are none of those that the browser takes."""
    near = os.pipe()
    reading, writing = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in near)
    for end in near:
        os.close(end)
    return reading, writing


class Browser:
    """One tab. What the page logs as an error is in ``errors``."""

    def __init__(self, program: str, profile: Path) -> None:
        theirs = _far_pipe()
        ours = _far_pipe()

        def hand_over() -> None:
            os.dup2(theirs[0], 3)
            os.dup2(ours[1], 4)

        self._requests, self._answers = theirs[1], ours[0]
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        flags += ["--no-first-run", "--hide-scrollbars", "--remote-debugging-pipe"]
        flags += ["--disable-background-networking", "--disable-component-update"]
        self._process = subprocess.Popen(
            [program, *flags, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=hand_over,
        )
        os.close(theirs[0])
        os.close(ours[1])
        self._last = 0
        self._unread = b""
        self._session: str | None = None
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its result.

        Raises:
            AssertionError: the browser refuses, or says nothing for PATIENCE_S.
        """
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._requests, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._answers], [], [], PATIENCE_S)
            assert ready, f"Chromium was silent for {PATIENCE_S} s"
            part = os.read(self._answers, 1 << 20)
            assert part, f"Chromium ended with {self._process.wait()}"
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(json.dumps(params["args"]))
        elif method == "Page.javascriptDialogOpening":
            self.errors.append(f"a dialog opened: {params['message']}")

    def open(self, url: str) -> None:
        """Go to a page of the server and wait until it shows what the server said."""
        self.call("Page.navigate", url="about:blank")  # Or another fragment is the same page.
        self.errors.clear()
        self.call("Page.navigate", url=url)
        self.wait("['live', 'lost'].includes(document.body?.dataset.state)")

    def run(self, script: str) -> Any:
        """The value of an expression, a promise awaited."""
        told = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in told, json.dumps(told["exceptionDetails"])
        return told["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true; looks every 50 ms.

        Raises:
            AssertionError: it did not become so in PATIENCE_S.
        """
        script = f"""(async () => {{
            const end = Date.now() + {PATIENCE_S * 1000 - 5000};
            while (Date.now() < end) {{
                if ({condition}) return true;
                await new Promise((go) => setTimeout(go, 50));
            }}
            return false;
        }})()"""
        assert self.run(script), f"never true: {condition}\nerrors: {self.errors}"

    def text(self, selector: str) -> str:
        """What an element shows, blanks of any kind as one space."""
        told: str = self.run(f"document.querySelector({json.dumps(selector)}).innerText")
        return " ".join(told.split())

    def texts(self, selector: str) -> list[str]:
        """The same for all that match."""
        script = f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.innerText)"
        return [" ".join(each.split()) for each in self.run(script)]

    def key(self, key: str) -> None:
        """Press and release: ``"Tab"``, ``"ArrowLeft"``, ``"Enter"``, ``" "``."""
        codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowRight": 39}
        about: dict[str, Any] = {"key": key, "code": "Space" if key == " " else key}
        about["windowsVirtualKeyCode"] = codes[key]
        text = {"Enter": "\r", " ": " "}.get(key)
        typed = {"text": text} if text is not None else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **about, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def layout(self, width: int, height: int, scheme: str = "light") -> None:
        """A window of that many CSS pixels, ``"light"`` or ``"dark"``."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._requests)
        os.close(self._answers)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Browser]:
    """A browser that ends with the block."""
    with Browser(program, profile) as found:
        yield found
