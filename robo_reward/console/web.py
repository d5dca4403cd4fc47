"""What every page of the console is served by: loopback only, its own files only, a token for whoever may ask."""

from __future__ import annotations

import asyncio
import hmac
import io
import json
import threading
from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from typing import Any, Protocol

import numpy as np
from aiohttp import web

KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
BODY_BYTES, WAITING = 16_384, 16
"""What a browser may post at once; how many questions may wait for their answers, more are turned away."""
Answer = Callable[[web.Request], Awaitable[Any]]


class Site(Protocol):
    """Something that is served."""

    def application(self) -> web.Application:
        """The aiohttp application."""


def application(files: dict[str, str]) -> web.Application:
    """An application that serves these files of the installed page: path -> name."""
    app = web.Application(middlewares=[_guard], client_max_size=BODY_BYTES)
    add_files(app, files)
    return app


def add_files(app: web.Application, files: dict[str, str]) -> None:
    """Serve these files of the installed page too."""
    for path, name in files.items():
        app.router.add_get(path, _file(name))


def add_answers(app: web.Application, token: str, answers: Mapping[tuple[str, str], Answer]) -> None:
    """Serve JSON to pages that say the token in the header X-Token; (method, path) -> what answers.

    What raises ValueError is refused in one line, status 400; KeyError is what is not there, 404.
    """

    waiting = 0

    def guarded(answer: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            if not hmac.compare_digest(request.headers.get("X-Token", "").encode(), token.encode()):
                raise web.HTTPForbidden(text="wrong token: open the page by the address that the terminal shows")
            nonlocal waiting
            if waiting >= WAITING:
                raise web.HTTPTooManyRequests(text="too many questions at once: wait for the answers")
            waiting += 1
            try:
                return web.json_response(await answer(request))
            except KeyError as error:
                return web.json_response(
                    {"refused": f"{error.args[0] if error.args else 'it'} is not there"}, status=404
                )
            except (ValueError, TypeError, OSError, RecursionError) as error:
                return web.json_response({"refused": " ".join(str(error).split())[:300]}, status=400)
            finally:
                waiting -= 1

        return handle

    for (method, path), answer in answers.items():
        app.router.add_route(method, path, guarded(answer))


async def body(request: web.Request, **kinds: type) -> list[Any]:
    """A posted JSON object's entries of these names and kinds, in this order. ValueError for a wrong or missing one."""
    try:
        words = json.loads(await request.text())
    except ValueError:
        raise ValueError("what was posted is no JSON") from None
    found = [words.get(name) if isinstance(words, dict) else None for name in kinds]
    if wrong := [name for (name, kind), value in zip(kinds.items(), found, strict=True) if type(value) is not kind]:
        raise ValueError(f"{wrong[0]} has to be a {kinds[wrong[0]].__name__}")
    return found


def jpeg(frame: np.ndarray) -> bytes:
    """An RGB frame, uint8 (H, W, 3), as a JPEG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=85)
    return file.getvalue()


@web.middleware
async def _guard(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    """Only by a loopback name, so that no foreign name can be bound to this address; nothing foreign in the page."""
    if request.host.rsplit(":", 1)[0] not in ("127.0.0.1", "localhost"):
        raise web.HTTPForbidden(text="open the page as http://127.0.0.1")
    answer: web.StreamResponse = await handler(request)
    if not answer.prepared:
        answer.headers["Content-Security-Policy"] = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; "
            f"connect-src 'self' ws://{request.host}; frame-ancestors 'none'; base-uri 'none'"
        )
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Cache-Control"] = "no-store"
    return answer


def _file(name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        text = (resources.files("robo_reward.console") / "page" / name).read_text("utf-8")
        return web.Response(text=text, content_type=KINDS[name.rsplit(".", 1)[1]])

    return handle


class Server:
    """A site in a thread of its own, so that the control loop keeps its own. `port` 0 takes any free one.

    Raises:
        ValueError: the port is taken or not this user's.
    """

    def __init__(self, site: Site, port: int) -> None:
        self._site, self._loop = site, asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="console", daemon=True)
        self._thread.start()
        try:
            self._runner, self.port = self._ask(self._start(port))
        except OSError as error:
            self._end()
            raise ValueError(f"console.port={port}: {error.strerror}: choose another, or 0 for any free one") from None

    def _ask(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self, port: int) -> tuple[web.AppRunner, int]:
        runner = web.AppRunner(self._site.application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return runner, int(runner.addresses[0][1])

    def close(self) -> None:
        """End every connection."""
        self._ask(self._runner.cleanup())
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
