"""A real browser, spoken to through the DevTools protocol over pipes, without a library and without the network."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
TIMEOUT_S = 60


class Browser:
    """A headless Chromium; messages are JSON that ends with a zero byte, on its descriptors 3 and 4."""

    def __init__(self, program: str, profile: Path) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        script = f'exec "$@" 3</dev/fd/{to_browser} 4>/dev/fd/{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._last_id = b"", 0
        self.events: list[dict[str, Any]] = []

    def send(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Call a method and return its result; events that come meanwhile are kept."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last_id:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def wait_for(self, method: str, session: str) -> None:
        """Return when an event has come."""
        while not any(one["method"] == method and one.get("sessionId") == session for one in self.events):
            self._receive()

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + TIMEOUT_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            assert ready, "the browser says nothing"
            chunk = os.read(self._read, 1 << 20)
            assert chunk, "the browser has gone"
            self._buffer += chunk
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message

    def open(self, path: Path, width: int = 1280, height: int = 900) -> Page:
        """Open a file and wait until it is loaded."""
        return Page(self, path.resolve().as_uri(), width, height)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(TIMEOUT_S)
        os.close(self._write)
        os.close(self._read)


class Page:
    """A page in a tab of its own."""

    def __init__(self, browser: Browser, url: str, width: int, height: int) -> None:
        self._browser = browser
        self._target = browser.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.send("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")
        self.resize(width, height)
        browser.events.clear()
        self._send("Page.navigate", url=url)
        browser.wait_for("Page.loadEventFired", self.session)

    def _send(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.send(method, self.session, **params)

    def _events(self, method: str) -> list[dict[str, Any]]:
        own = (event for event in self._browser.events if event.get("sessionId") == self.session)
        return [event["params"] for event in own if event["method"] == method]

    @property
    def problems(self) -> list[str]:
        """What the console has said, of whatever level, and uncaught errors."""
        self.evaluate("1")
        said = [str([one.get("value") for one in event["args"]]) for event in self._events("Runtime.consoleAPICalled")]
        said += [event["entry"]["text"] for event in self._events("Log.entryAdded")]
        return said + [str(event["exceptionDetails"]) for event in self._events("Runtime.exceptionThrown")]

    @property
    def requests(self) -> list[str]:
        """The addresses that were asked for, the page's own first."""
        return [event["request"]["url"] for event in self._events("Network.requestWillBeSent")]

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, awaited if it is a promise."""
        answer = self._send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key such as ``Enter`` or ``Tab``."""
        code = {"Enter": 13, "Tab": 9, "ArrowRight": 39, "ArrowLeft": 37}[key]
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        text = {"text": "\r"} if key == "Enter" else {}
        self._send("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self._send("Input.dispatchKeyEvent", type="keyUp", **common)

    def click(self, x: float, y: float) -> None:
        """Click at a point of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self._send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def turn_wheel(self, x: float, y: float, down: float) -> None:
        """Turn the mouse wheel over a point of the window, by so many pixels."""
        self._send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=down)

    def follow(self, act: Callable[[], None]) -> None:
        """Do what leads to another page, and return when that is loaded."""
        loaded = "Page.loadEventFired"
        self._browser.events[:] = [event for event in self._browser.events if event["method"] != loaded]
        act()
        self._browser.wait_for(loaded, self.session)

    def resize(self, width: int, height: int) -> None:
        self._send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Save the page as PNG, all of it or what fits the window."""
        answer = self._send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self, path: Path) -> None:
        """Save the page as it would be printed."""
        path.write_bytes(base64.b64decode(self._send("Page.printToPDF", printBackground=True)["data"]))

    def close(self) -> None:
        self._browser.send("Target.closeTarget", targetId=self._target)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a headless Chromium, or skip the test."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs Chromium to open pages in")
    one = Browser(program, tmp_path_factory.mktemp("browser"))
    yield one
    one.close()


@pytest.fixture(scope="session")
def visit_content() -> Any:
    """Return the findings of a visit, and its T1w image.

    It is made of coarse boxes: a brain, a lesion in its right anterior upper part, one in its left lower part.

    The FLAIR is stored from left to right and front to back, in slices of 8 mm, and lies 6 mm further to the right.
    """
    import nibabel as nib
    import numpy as np

    from bids_cascade.imaging.scan import make_scan
    from bids_cascade.lesions.components import Lesion, label_lesions
    from bids_cascade.report.findings import Findings

    t1w_to_own = np.eye(4)
    t1w_to_own[0, 3] = 6
    t1w_affine, flair_affine = np.diag([4.0, 4, 4, 1]), np.diag([-3.0, -3, 8, 1])
    t1w_affine[:3, 3], flair_affine[:3, 3] = -100, (123, 123, -100)

    def boxes(affine: Any, shape: tuple[int, ...], to_t1w: Any, values: dict[str, float]) -> Any:
        x, y, z = np.moveaxis(np.stack(np.indices(shape), -1) @ affine[:3, :3].T + affine[:3, 3] - to_t1w[:3, 3], -1, 0)
        data = np.zeros(shape, np.float32)
        data[(abs(x) < 80) & (abs(y) < 90) & (abs(z) < 70)] = values["head"]
        inside = (abs(x) < 62) & (abs(y) < 74) & (abs(z) < 54)
        data[inside] = (values["brain"] * (1 + values.get("slope", 0) * x / 62))[inside]
        data[(abs(x - 30) < 8) & (abs(y - 40) < 8) & (abs(z - 20) < 9)] = values["lesion"]
        data[(abs(x + 30) < 5) & (abs(y + 40) < 5) & (abs(z + 20) < 5)] = values["lesion"]
        return nib.Nifti1Image(data, affine)

    def both(**values: float) -> tuple[Any, Any]:
        t1w = boxes(t1w_affine, (50, 50, 50), np.eye(4), values)
        return t1w, boxes(flair_affine, (80, 80, 26), t1w_to_own, values)

    t1w, flair = both(head=60, brain=100, lesion=200, slope=0.3)
    brain, _ = both(head=0, brain=1, lesion=1)
    _, probability = both(head=0, brain=0, lesion=0.9)
    _, first = both(head=0, brain=0.2, lesion=1)
    lesion = nib.Nifti1Image((np.asarray(probability.dataobj) > 0).astype(np.uint8), probability.affine)
    in_t1w, _ = both(head=0, brain=0, lesion=1)
    labels = nib.Nifti1Image(label_lesions(np.asarray(in_t1w.dataobj) > 0)[0], t1w_affine)
    lesions = [Lesion(1, 4096, 30, 40, 20, 0.9), Lesion(2, 512, -30, -40, -20, 0.9)]
    own = [nib.as_closest_canonical(image) for image in (lesion, probability, first)]
    found = Findings("FLAIR", make_scan(flair, brain, t1w_to_own), *own, (0.8, 0.8), labels, lesions)
    return found, make_scan(t1w, brain, np.eye(4))


@pytest.fixture(scope="session")
def draw() -> Callable[..., list[Path]]:
    """Return what draws and measures a visit as the steps of the workflow do, into one folder."""
    from bids_cascade.imaging.quality import lesion_contrast, measure_scan
    from bids_cascade.report.visit import draw_field, draw_findings, draw_scan, write_quality

    def draw_all(found: Any, t1w: Any, folder: Path, similarity: float = 0.15) -> list[Path]:
        flair = found.scan
        files = draw_findings(found, folder) + draw_scan("T1w", t1w, folder) + draw_scan("FLAIR", t1w, folder, flair)
        files += draw_field("T1w", t1w.image, t1w, folder) + draw_field("FLAIR", flair.image, flair, folder)
        measured = {
            "T1w": measure_scan(t1w, t1w.brain, None) | {"outlier_voxels": 0},
            "FLAIR": measure_scan(flair, t1w.brain, similarity) | {"outlier_voxels": 0},
        }
        return files + write_quality(measured, lesion_contrast(flair, found.lesion), {}, folder)

    return draw_all


@pytest.fixture(scope="session")
def drawn(visit_content: Any, draw: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the files of a visit's report, called as in ``desc-brain_T1w.svg``."""
    return draw(*visit_content, tmp_path_factory.mktemp("drawn"))
