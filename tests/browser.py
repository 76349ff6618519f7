"""A headless Chromium for tests, driven by chromedriver over its own HTTP interface."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import urllib.request

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Tab": "\ue004", "F2": "\ue032", "F4": "\ue034"}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
DRIVER = shutil.which("chromedriver")
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by a proxy
MISSING = (
    None
    if CHROMIUM and DRIVER
    else "needs Chromium and its driver: apt-get install chromium chromium-driver"
)


class Browser:
    """A session; see https://www.w3.org/TR/webdriver2/."""

    def __init__(self, address):
        self._address = address

    def call(self, method, path, **body):
        data = json.dumps(body).encode() if method == "POST" else None
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._address + path, data, headers, method=method)
        with _OPENER.open(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, path):
        self.call("POST", "/url", url=path.resolve().as_uri())

    def run(self, script, *arguments):
        return self.call("POST", "/execute/sync", script=script, args=list(arguments))

    def press(self, *keys):
        actions = []
        for key in keys:
            value = KEYS.get(key, key)
            actions += [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        self.call("POST", "/actions", actions=[{"type": "key", "id": "keys", "actions": actions}])

    def errors(self):
        """What the console said since the last call, but for what is only information."""
        lines = self.call("POST", "/se/log", type="browser")
        return [line["message"] for line in lines if line["level"] in ("SEVERE", "WARNING")]


@contextlib.contextmanager
def browser(width=1280, height=900):
    """Starts Chromium with an empty profile; it ends with the block."""
    with (
        tempfile.TemporaryDirectory() as profile,
        subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True) as driver,
    ):
        try:
            started = (re.search(r"successfully on port (\d+)", line) for line in driver.stdout)
            port = next(filter(None, started))[1]
            options = {
                "binary": CHROMIUM,
                "args": [*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"],
            }
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            root = Browser(f"http://127.0.0.1:{port}")
            session = root.call("POST", "/session", capabilities={"alwaysMatch": wanted})
            one = Browser(f"http://127.0.0.1:{port}/session/{session['sessionId']}")
            try:
                yield one
            finally:
                one.call("DELETE", "")
        finally:
            driver.terminate()
