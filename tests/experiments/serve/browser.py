"""Chromium without a window, spoken to over pipes in its DevTools protocol."""

import base64
import contextlib
import fcntl
import json
import os
import subprocess
import time
from pathlib import Path


class Tab:
    """A page in Chromium."""

    def __init__(self, reading, writing):
        self._reading, self._writing, self._count, self._rest = reading, writing, 0, b""
        self._session = {}
        self.events = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self(f"{domain}.enable")

    def __call__(self, method, **parameters):
        """What a command gives."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters, **self._session}
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _next(self):
        while b"\0" not in self._rest:
            part = os.read(self._reading, 2**16)
            assert part, "Chromium has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def value(self, expression):
        """What an expression gives."""
        found = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression, seconds=20):
        """Until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < deadline, f"never: {expression}; {self.value('document.body.innerText')}"
            time.sleep(0.02)

    def choose(self, selector, path):
        """Gives a file to an input, as a user does."""
        root = self("DOM.getDocument")["root"]["nodeId"]
        node = self("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def move(self, x, y, kind="mouseMoved"):
        self("Input.dispatchMouseEvent", type=kind, x=x, y=y)

    def window(self, width, height, scheme="light"):
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def complaints(self):
        """Errors that the page or the browser has told."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
        return [event["params"] for event in self.events if event.get("method") in kinds]

    def picture(self, path):
        Path(path).write_bytes(base64.b64decode(self("Page.captureScreenshot")["data"]))


@contextlib.contextmanager
def chromium(program, profile):
    """A tab of a browser that is started for it."""
    ours, theirs = os.pipe(), os.pipe()
    reading, writing = (fcntl.fcntl(end, fcntl.F_DUPFD, 100) for end in (ours[0], theirs[1]))  # not 3 and 4 themselves
    options = f"--headless=new --no-sandbox --disable-gpu --no-first-run --user-data-dir={profile} --remote-debugging-pipe"
    options += " --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
    command = f'exec "{program}" {options} about:blank 3<&{reading} 4>&{writing}'
    process = subprocess.Popen(["bash", "-c", command], pass_fds=(reading, writing), stderr=subprocess.DEVNULL)
    for end in (ours[0], theirs[1], reading, writing):
        os.close(end)
    try:
        tab = Tab(theirs[0], ours[1])
        yield tab
        tab._session = {}
        tab("Browser.close")
    finally:
        process.kill()
        process.wait()
        for end in (theirs[0], ours[1]):
            os.close(end)
