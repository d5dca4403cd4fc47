"""A double of a reward server that fails in every way it is told to: `with BadServer(hop) as server: server.way = ...`.

It speaks both protocols: hop questions at /hop and /model, and chat completions.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from robo_reward.progress.wire import decode_query, encode_answer
from robo_reward.types import HopEstimate, HopQuery

HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
WAYS = ("well", "html", "nan", "short", "other", "busy", "crash", "hang", "trickle", "redirect", "huge", "forbidden")
"""How it answers; `other`: as another model, `hang`: not before it is closed, `trickle`: a byte now and then."""

Chat = Callable[[dict[str, Any]], dict[str, Any]]
"""A chat request's body -> the first choice of the answer."""


class BadServer:
    """Answers on the loopback until it is closed.

    Args:
        hop: what answers hop questions.
        about: what /model says.
        chat: what answers chat completions.
        port: 0 for any free one.
    """

    def __init__(
        self, hop: Callable[[HopQuery], HopEstimate] | None = None, about: dict[str, Any] | None = None,
        chat: Chat | None = None, port: int = 0,
    ) -> None:  # fmt: skip
        self.hop, self.about, self.chat = hop, about or {}, chat
        self.way = "well"
        self.requests: list[str] = []
        """The way in which each was answered."""
        self.headers: dict[str, str] = {}
        """Of the newest request."""
        self._closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._handle(self, b"")

            def do_POST(self) -> None:
                server._handle(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def _handle(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        way, status, more = self.way, 200, {}
        self.requests.append(way)
        self.headers = dict(request.headers)
        if way == "hang":
            self._closing.wait(60)
        if way in ("hang", "crash"):
            return request.connection.close()
        answer = HTML if way == "html" else self._answer(request.path, body, way)
        if way == "busy":
            status, answer, more = 429, b"later", {"Retry-After": "0.01"}
        if way == "forbidden":
            status, answer = 401, b"who are you?"
        if way == "redirect":
            status, more = 307, {"Location": "http://192.0.2.1/"}
        if way == "huge":
            answer = b" " * (9 << 20)
        try:
            request.send_response(status)
            for name, value in {"Content-Length": str(len(answer)), **more}.items():
                request.send_header(name, value)
            request.end_headers()
            for n in range(0, len(answer), 1 if way == "trickle" else len(answer) or 1):
                request.wfile.write(answer[n : n + 1] if way == "trickle" else answer)
                if way == "trickle" and self._closing.wait(0.05):
                    return None
        except OSError:
            pass  # the client has gone

    def _answer(self, path: str, body: bytes, way: str) -> bytes:
        if path == "/model":
            return json.dumps(self.about | ({"model_id": "another"} if way == "other" else {})).encode()
        if path == "/hop":
            assert self.hop is not None
            query = decode_query(body)
            answer = json.loads(encode_answer(self.about["model_id"], self.hop(query)))
            if way == "nan":
                answer["hop"][0] = float("nan")
            if way == "short":
                answer["hop"].pop()
            if way == "other":
                answer["model_id"] = "another"
            return json.dumps(answer).encode()
        assert self.chat is not None
        asked = json.loads(body)
        answer = {"model": "another" if way == "other" else asked["model"], "choices": [dict(self.chat(asked))]}
        if way == "short":
            answer["choices"] = []
        if way == "nan":
            token = {"token": "+", "logprob": float("nan"), "top_logprobs": []}
            answer["choices"][0]["logprobs"] = {"content": [token]}
        return json.dumps(answer).encode()

    def close(self) -> None:
        """Let everybody go."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> BadServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def constant(hop: float) -> Callable[[HopQuery], HopEstimate]:
    """A model that answers this hop, whatever it is asked."""

    def answer(query: HopQuery) -> HopEstimate:
        rows = len(query)
        return HopEstimate(np.full(rows, hop, np.float32), np.ones(rows, np.float32), np.ones(rows, bool))

    return answer


def about(model_id: str, size: int = 8) -> dict[str, Any]:
    """What a server says of a model with a single camera."""
    return {
        "model_id": model_id, "views": ["front"], "image_size": size, "stages": 4, "references": 1,
        "differences": False, "completion": {"threshold": 0.95, "sustain": 2},
    }  # fmt: skip


if __name__ == "__main__":  # python -m robo_reward.testing.reward_server PORT: prints the port, answers until killed
    with BadServer(constant(0.25), about("constant"), port=int(sys.argv[1])) as served:
        print(served.url.rsplit(":", 1)[1], flush=True)
        threading.Event().wait()
