"""The service: hop questions over HTTP. Loopback unless a certificate is given, a token for whoever asks."""

from __future__ import annotations

import asyncio
import hmac
import math
import os
import secrets
import signal
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from robo_reward.config import ServeConfig
from robo_reward.interfaces import Unanswered
from robo_reward.progress.calls import LOOPBACK, TOKEN
from robo_reward.progress.reward_model import RewardModel
from robo_reward.progress.wire import BODY_BYTES, decode_query, encode_answer
from robo_reward.service.batcher import Batcher
from robo_reward.terminal import say
from robo_reward.types import HopQuery

UPLOAD_S = 20.0
"""For which a question's bytes are waited for."""
LEAVE_S = 2.0
"""What an answer under way is given when the service ends."""


class Service:
    """One reward model behind four addresses: POST /hop, GET /model, /health and /metrics."""

    def __init__(self, reward: RewardModel, settings: ServeConfig, token: str) -> None:
        self.reward, self.settings, self.token = reward, settings, token
        self.batcher = Batcher(reward.model.hop, settings.rows, settings.wait_ms / 1e3, self._saw)
        self.asked, self.rows = 0, 0
        self._in_flight = 0
        self.registry = CollectorRegistry()
        named: dict[str, Any] = {"namespace": "robo_reward", "registry": self.registry}
        self._requests = Counter("requests", "Requests by answer", ["status"], **named)
        self._row_count = Counter("hop_rows", "Questions that the model was asked", **named)
        self._batch_rows = Histogram("batch_rows", "Questions in a batch", buckets=[2**n for n in range(13)], **named)
        self._batch_s = Histogram("batch_seconds", "The model's time for a batch", **named)
        waiting = Gauge("requests_in_flight", "Questions that are read, wait or are answered", **named)
        waiting.set_function(lambda: self._in_flight)

    def _saw(self, rows: int, seconds: float) -> None:
        self.rows += rows
        self._row_count.inc(rows)
        self._batch_rows.observe(rows)
        self._batch_s.observe(seconds)

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[self._guard], client_max_size=BODY_BYTES)
        app.router.add_post("/hop", self._hop)
        app.router.add_get("/model", self._model)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.cleanup_ctx.append(self._working)
        return app

    async def _working(self, app: web.Application) -> Any:
        worker = asyncio.create_task(self.batcher.work())
        yield
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        answer: web.StreamResponse
        said = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        try:
            if request.path != "/health" and not hmac.compare_digest(said, f"Bearer {self.token}".encode()):
                answer = web.Response(status=401, text="say the token that the service was started with")
            else:
                answer = await handler(request)
        except web.HTTPException as error:
            answer = web.Response(status=error.status, text=error.text, headers={"Allow": error.headers["Allow"]}
                                  if "Allow" in error.headers else None)  # fmt: skip
        except ValueError as error:
            answer = web.Response(status=400, text=" ".join(str(error).split())[:300])
        except Unanswered as error:
            answer = web.Response(status=503, text=" ".join(str(error).split())[:300])
        except asyncio.TimeoutError:
            answer = web.Response(status=504, text="the reward model takes too long")
        except Exception as error:  # noqa: BLE001  (a model may raise anything; a peer learns nothing of it)
            say(f"serve-reward: the reward model failed: {type(error).__name__}: {str(error)[:200]}")
            answer = web.Response(status=500, text="the reward model failed")
        self._requests.labels(str(answer.status)).inc()
        return answer

    async def _hop(self, request: web.Request) -> web.Response:
        if self._in_flight >= self.settings.waiting:
            after = str(max(1, math.ceil(self.batcher.expected_s)))
            return web.Response(status=429, text="too many questions at once", headers={"Retry-After": after})
        if (request.content_length or 0) > BODY_BYTES:
            return web.Response(status=413, text=f"a question has at most {BODY_BYTES} bytes: ask in parts")
        self._in_flight += 1
        try:
            try:
                query = decode_query(await asyncio.wait_for(request.read(), UPLOAD_S))
            except asyncio.TimeoutError:
                return web.Response(status=408, text=f"the question did not arrive within {UPLOAD_S:g} s")
            self._check(query)
            estimate = await asyncio.wait_for(self.batcher.ask(query), self.settings.deadline_s)
            self.asked += 1
            body = encode_answer(self.reward.model.model_id, estimate)
            return web.Response(body=body, content_type="application/json")
        finally:
            self._in_flight -= 1

    def _check(self, query: HopQuery) -> None:
        """Here as well as in the model, so that a wrong question spoils no batch."""
        size, views = self.reward.model.settings.image_size, self.reward.model.settings.views
        if not set(query.frames) & set(views):
            raise ValueError(f"cameras {', '.join(sorted(query.frames))}: this model knows {', '.join(views)}")
        for view, frames in query.frames.items():
            if size is not None and view in views and frames.shape[1:3] != (size, size):
                raise ValueError(f"view {view}: {frames.shape[1:3]} pixels, this model takes {size} square")

    async def _model(self, request: web.Request) -> web.Response:
        s, tracker = self.reward.model.settings, self.reward.tracker
        references = max(len(reference) for reference in self.reward.references.values())
        about = {
            "model_id": self.reward.model.model_id, "views": list(s.views), "image_size": s.image_size,
            "stages": s.stages, "references": references, "differences": tracker.differences,
            "completion": asdict(tracker.completion),
        }  # fmt: skip
        return web.json_response(about)

    async def _health(self, request: web.Request) -> web.Response:
        stuck = self.batcher.busy_s > self.settings.deadline_s
        return web.Response(status=503 if stuck else 200, text="the reward model hangs" if stuck else "ok")

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": "text/plain; version=0.0.4"})


def serve(reward: RewardModel, settings: ServeConfig, quiet: bool = False) -> dict[str, Any]:
    """Answer until Ctrl-C or SIGTERM; returns how many requests and questions were answered.

    The token is that of the environment, or a fresh one that is shown.

    Raises:
        ValueError: an address beyond this machine without a certificate, a port that is taken, a bad certificate.
    """
    return asyncio.run(_serve(reward, settings, quiet))


async def _serve(reward: RewardModel, settings: ServeConfig, quiet: bool) -> dict[str, Any]:
    context = secure(settings)
    fresh = not os.environ.get(TOKEN)
    service = Service(reward, settings, secrets.token_urlsafe(16) if fresh else os.environ[TOKEN])
    runner = web.AppRunner(service.application(), access_log=None, shutdown_timeout=LEAVE_S)
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.host, settings.port, ssl_context=context).start()
        except OSError as error:
            raise ValueError(
                f"serve.host={settings.host} serve.port={settings.port}: {error.strerror}: choose others, or port 0 "
                "for any free one"
            ) from None
        address = f"http{'s' * bool(context)}://{settings.host}:{runner.addresses[0][1]}"
        say(f"serving {reward.model.model_id}: reward=remote reward.url={address}   (Ctrl-C ends it)", quiet)
        if fresh:
            say(f"export {TOKEN}={service.token}", quiet)
        await ended.wait()
    finally:
        await runner.cleanup()
    return {"answered_requests": service.asked, "answered_questions": service.rows}


def secure(settings: ServeConfig) -> ssl.SSLContext | None:
    """The certificate as TLS settings; None on the loopback without one. ValueError as of `serve`."""
    if settings.certificate is None or settings.key is None:
        if settings.host not in LOOPBACK:
            raise ValueError(
                f"serve.host={settings.host} without TLS: a token does not travel in the clear beyond this machine: "
                "give serve.certificate= and serve.key=, or tunnel to 127.0.0.1"
            )
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(
            f"serve.certificate={settings.certificate} serve.key={settings.key}: {error}: give PEM files"
        ) from None
    return context
