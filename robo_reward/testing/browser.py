"""A headless Chromium for tests of pages, driven through its own debugging socket: no driver, no download."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

PATIENCE_S = 60.0
"""Bounds a failure; nothing waits that long when all is well."""


def find_chromium() -> str | None:
    """The installed browser, if there is one."""
    return shutil.which("chromium") or shutil.which("google-chrome")


class Browser:
    """One page of a browser of its own: `async with Browser() as page`."""

    async def __aenter__(self) -> Browser:
        path = find_chromium()
        if path is None:
            raise ValueError("no chromium on the path: install it to test pages")
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = await asyncio.create_subprocess_exec(
            path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--window-size=1024,1100", "--remote-debugging-port=0",
            f"--user-data-dir={self._folder.name}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        self._http, self._number = aiohttp.ClientSession(), 0
        try:
            self._socket = await asyncio.wait_for(self._connect(), PATIENCE_S)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        told = Path(self._folder.name) / "DevToolsActivePort"
        while True:
            await asyncio.sleep(0.05)
            if not told.exists() or not (lines := told.read_text().split()):
                continue
            async with self._http.get(f"http://127.0.0.1:{lines[0]}/json") as answer:
                pages = [page for page in await answer.json() if page["type"] == "page"]
            if pages:
                return await self._http.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)

    async def _end(self) -> None:
        await self._http.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        self._folder.cleanup()

    async def ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        """One call of the debugging protocol; RuntimeError when the browser refuses it."""
        self._number += 1
        await self._socket.send_str(json.dumps({"id": self._number, "method": method, "params": arguments}))
        while True:
            word = json.loads((await asyncio.wait_for(self._socket.receive(), PATIENCE_S)).data)
            if word.get("id") == self._number:
                if "error" in word:
                    raise RuntimeError(f"{method}: {word['error']['message']}")
                return dict(word["result"])

    async def open(self, url: str) -> None:
        """Go to a page and wait until it is there."""
        await self.ask("Page.navigate", url=url)
        await self.until(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression gives, as JSON; RuntimeError when it throws."""
        found = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']['exception'].get('description')}")
        return found["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until the expression is true."""
        for _ in range(int(PATIENCE_S / 0.05)):
            if await self.value(f"!!({expression})"):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"it did not happen: {expression}")

    async def key(self, key: str, down: bool | None = None) -> None:
        """Press (`down`), release (not `down`) or strike (None) a key of the keyboard, by its DOM name."""
        for kind in ("keyDown", "keyUp") if down is None else ("keyDown",) if down else ("keyUp",):
            await self.ask("Input.dispatchKeyEvent", type=kind, key=key)

    async def picture(self, path: Path) -> None:
        """The page as a PNG file."""
        found = await self.ask("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(found["data"]))
