"""Headless Chromium, spoken to through a pipe: does a page complain, and does anything in it run that should not?"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from shutil import which
from typing import Any

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
TOLD = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Page.javascriptDialogOpening")
SETTLE = 0.3  # seconds in which a page may still run something


def browser() -> str | None:
    """Find the browser; None where there is none."""
    return which("chromium") or which("chromium-browser") or which("google-chrome")


class Browser:
    """The DevTools protocol over file descriptors 3 and 4: JSON messages that end with a zero byte."""

    def __init__(self) -> None:
        self.home = tempfile.TemporaryDirectory()
        its_in, self.out = os.pipe()
        self.into, its_out = os.pipe()

        def wire() -> None:
            one, two = os.dup(its_in), os.dup(its_out)
            os.dup2(one, 3)
            os.dup2(two, 4)

        command = [
            str(browser()),
            *FLAGS,
            "--remote-debugging-pipe",
            f"--user-data-dir={self.home.name}",
            "about:blank",
        ]
        self.process = subprocess.Popen(command, preexec_fn=wire, close_fds=False, stderr=subprocess.DEVNULL)
        os.close(its_in)
        os.close(its_out)
        self.count, self.rest, self.events, self.session = 0, b"", list[Any](), None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def complaints(self, page: Path, expression: str) -> tuple[list[str], Any]:
        """Open a page; return what its console says, and the value of an expression in it."""
        self.events = []
        self.ask("Page.navigate", url=page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())
        wait = f"new Promise(done => setTimeout(() => done({expression}), {1000 * SETTLE}))"
        found = self.ask("Runtime.evaluate", expression=wait, awaitPromise=True, returnByValue=True)
        told = [json.dumps(event["params"])[:300] for event in self.events if event.get("method") in TOLD]
        return told, found["result"].get("value")

    def close(self) -> None:
        """End the browser."""
        self.process.terminate()
        self.process.wait()
        self.home.cleanup()

    def ask(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol.

        Raises:
            RuntimeError: the browser refuses.

        """
        self.count += 1
        words = {"id": self.count, "method": method, "params": params}
        data = json.dumps(words | ({"sessionId": self.session} if self.session else {})).encode() + b"\0"
        while data:
            data = data[os.write(self.out, data) :]
        while True:
            message = self._message()
            if message.get("id") == self.count:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def _message(self) -> Any:
        while b"\0" not in self.rest:
            piece = os.read(self.into, 1 << 20)
            if not piece:
                raise RuntimeError("the browser went away")
            self.rest += piece
        first, _, self.rest = self.rest.partition(b"\0")
        return json.loads(first)
