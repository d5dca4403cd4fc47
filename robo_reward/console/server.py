"""The web side of a live session: one page, one socket. Loopback only, a token for whoever may look or command.

The first to connect has control, the others watch, and everybody may e-stop. What a browser sends is small, checked and
counted; what it does not understand is refused, and a browser that floods is shown the door.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

from robo_reward.console.archive import Archive
from robo_reward.console.curves import tail
from robo_reward.console.session import COMMANDS, Session
from robo_reward.console.web import Server, application, jpeg
from robo_reward.hil.arbitration import HumanInput

__all__ = ["Client", "Console", "Server"]

FILES = {"/": "index.html", **{f"/{name}": name for name in ("console.js", "strip.js", "history.js")}}
POLL_S, FRAMES_HZ = 0.01, 15.0
MESSAGE_BYTES, MESSAGES_PER_S = 1024, 100
"""What one browser may send; more ends its connection."""
HELLO_S, ANSWER_S = 5.0, 5.0


@dataclass(eq=False)
class Client:
    """One connected browser."""

    socket: web.WebSocketResponse
    allowance: float = MESSAGES_PER_S
    counted_s: float = 0.0

    def floods(self) -> bool:
        """Count one message; whether there were too many of late."""
        now = time.monotonic()
        self.allowance = min(MESSAGES_PER_S, self.allowance + (now - self.counted_s) * MESSAGES_PER_S) - 1
        self.counted_s = now
        return self.allowance < 0


class Console:
    """Serves one session to browsers; `token` is what they must say first.

    With `watching` nobody commands anything, not even an e-stop: a monitor. With a `driver`, the name of a device, that
    drives and nobody's browser does, who may leave without the arm pausing.
    """

    def __init__(
        self, session: Session, token: str, axes: tuple[str, ...], watching: bool = False, driver: str = ""
    ) -> None:
        self.session, self.token, self.axes, self.watching, self.driver = session, token, axes, watching, driver
        self.operator: Client | None = None
        self._clients: set[Client] = set()

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = application(FILES)
        app.router.add_get("/socket", self._socket)
        Archive(self.session.folder, self.token, self.session.relabel).add_to(app)
        return app

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Origin") != f"http://{request.host}":
            raise web.HTTPForbidden(text="this socket answers its own page only")
        socket = web.WebSocketResponse(max_msg_size=MESSAGE_BYTES, heartbeat=5.0, compress=False)
        await socket.prepare(request)
        if not await self._knows_token(socket):
            await socket.close(code=4001, message=b"wrong token")
            return socket
        client = Client(socket)
        self._clients.add(client)
        if self.operator is None and not self.watching:
            self._take(client)
        sender = asyncio.create_task(self._send(client))
        try:
            await self._receive(client)
        except ConnectionError:
            pass  # it is gone: nothing can be told to it
        finally:
            sender.cancel()
            self._clients.discard(client)
            self._let_go(client)
            if not self._clients and not self.watching and not self.driver:
                self.session.leave_alone()
        return socket

    async def _knows_token(self, socket: web.WebSocketResponse) -> bool:
        try:
            hello = await socket.receive_json(timeout=HELLO_S)
            return hmac.compare_digest(str(hello["token"]).encode(), self.token.encode())
        except (TypeError, ValueError, KeyError, asyncio.TimeoutError):
            return False

    def _take(self, client: Client) -> None:
        self.operator = client
        self.session.note("a page has control")

    def _let_go(self, client: Client) -> None:
        """Without its operator the arm pauses if it was being driven, see `Arbiter`."""
        if self.operator is client:
            self.operator = None
            if not self.driver:
                self.session.operator.put(None)
            self.session.note("nobody has control")

    # ---- from the browser ----

    async def _receive(self, client: Client) -> None:
        async for message in client.socket:
            if message.type == WSMsgType.ERROR:  # too long, or no WebSocket frame: the connection is closed
                return
            if client.floods():
                await client.socket.close(code=4008, message=b"too many messages")
                return
            try:
                if message.type != WSMsgType.TEXT:
                    raise ValueError("messages are JSON texts")
                await self._obey(client, json.loads(message.data))
            except (
                ValueError,
                TypeError,
                KeyError,
                OSError,
                ArithmeticError,
                RecursionError,
            ) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                await client.socket.send_json({"type": "refused", "reason": reason[:300]})

    async def _obey(self, client: Client, word: Any) -> None:
        kind = word.get("type") if isinstance(word, dict) else None
        if self.watching:
            raise ValueError("this page only watches: nothing is commanded from here")
        if kind == "event" and word.get("event") == "e_stop":  # anybody's
            await self._post("e_stop")
            await client.socket.send_json({"type": "stopped"})
        elif kind == "control":
            if self.operator is None:
                self._take(client)
            elif self.operator is not client:
                raise ValueError("somebody else has control: ask them to give it back")
        elif kind not in ("drive", "event", "place", "give_back"):
            raise ValueError("a message has a type: drive, event, place, control or give_back")
        elif self.operator is not client:
            raise ValueError("you are watching: take control first")
        elif kind == "give_back":
            self._let_go(client)
        elif kind == "drive" and self.driver:
            raise ValueError(f"the {self.driver} drives: this page shows, judges and stops")
        elif kind == "drive":
            self._drive(word)
        elif kind == "place":
            if type(word["number"]) is not int:
                raise ValueError("place needs number (a whole number)")
            await self._post(f"place {word['number']}")
        elif word.get("event") in COMMANDS:
            await self._post(word["event"])
        else:
            raise ValueError(f"no such event: choose {', '.join(COMMANDS)}")

    def _drive(self, word: dict[str, Any]) -> None:
        """`clock` is that of the newest state the operator had seen: an input is as old as what it answers to."""
        action, held, seen, number = word["action"], word["held"], word["clock"], word["n"]
        numbers = [seen, *action] if isinstance(action, list) else []
        if len(numbers) != len(self.axes) + 1 or not all(type(value) in (int, float) for value in numbers):
            raise ValueError(f"drive needs action (a list of {len(self.axes)} numbers) and clock (a number)")
        if type(held) is not bool or type(number) is not int:
            raise ValueError("drive needs held (true or false) and n (a whole number)")
        self.session.operator.put(HumanInput(np.array(action, np.float32), held, float(seen)), number)

    async def _post(self, event: str) -> None:
        answer = asyncio.wrap_future(self.session.post(event))
        try:
            await asyncio.wait_for(asyncio.shield(answer), ANSWER_S)  # what was asked for stays asked for
        except asyncio.TimeoutError:
            answer.add_done_callback(lambda late: late.exception())
            raise ValueError(f"the learner is busy: {event.replace('_', ' ')} comes as soon as it can") from None

    # ---- to the browser ----

    async def _send(self, client: Client) -> None:
        """The newest state and frames; a slow browser gets fewer of them, never older ones."""
        try:
            await self._send_on(client)
        except ConnectionError:
            pass

    async def _send_on(self, client: Client) -> None:
        about = {"axes": self.axes, "stale_s": self.session.stale_s, "watching": self.watching, "driver": self.driver}
        await client.socket.send_json({"type": "hello", **about})
        shown, sent, frames_due = None, 0, 0.0
        curve, known = 0, 0
        while True:
            view, now = self.session.view, time.monotonic()
            if view is not shown and view.state:
                shown, you = view, "operator" if self.operator is client else "watcher"
                known = known if view.state["curve"] == curve else 0
                news = {
                    "type": "state",
                    "you": you,
                    "free": self.operator is None and not self.watching,
                    **view.state,
                    **tail(view.state, known),
                    "first": known,  # observation that the curves begin with: an episode may be long
                }
                curve, known = view.state["curve"], len(view.state["oracle"])
                await client.socket.send_json(news)
            if view.number != sent and now >= frames_due:
                sent, frames_due = view.number, max(frames_due + 1 / FRAMES_HZ, now)  # 15 of 20 views, not 10
                for name, frame in view.frames.items():
                    picture = await asyncio.to_thread(jpeg, frame)
                    await client.socket.send_bytes(name.encode() + b"\0" + picture)
            await asyncio.sleep(POLL_S)
