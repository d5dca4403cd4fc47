"""Calls to a reward model on another machine: deadlines, attempts after random pauses, and a breaker.

Nothing that a server does is an error of the caller's: what it did not answer, or answered with anything but what was
asked for, raises `Unanswered`, and the caller asks again later.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import urlsplit

from robo_reward.extras import missing_extra
from robo_reward.interfaces import Unanswered

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
TOKEN = "ROBO_REWARD_TOKEN"
"""Environment variable: settings are written into run folders, which no secret belongs into."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANSWER_BYTES = 8 << 20
PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
"""[s] a pause is drawn from 0 to the first, doubled for every attempt, up to the second."""
LONGEST = 16
"""How many cool-downs a server is left alone that stays away."""
BUSY = (408, 429, 500, 502, 503, 504)
"""Status codes after which another attempt may help."""


@dataclass(frozen=True)
class CallSettings:
    """How a server is called; see the settings of the same names."""

    deadline_s: float = 60.0
    attempts: int = 3
    concurrency: int = 8
    cool_down_s: float = 30.0


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request: with a body it is a POST."""

    path: str
    read: Callable[[bytes], T]
    """The answer in a body; ValueError for one that makes no sense."""
    body: Callable[[], bytes] | None = None
    """Made when it is sent: of many requests only a few are on their way."""
    kind: str = "application/json"


class Refused(Unanswered):
    """The server understood and declined; the same request would be declined again."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Caller:
    """One server.

    After a request that failed to the last attempt the server is left alone for `cool_down_s`; then one attempt shows
    whether it is back, and each that fails doubles the time, up to `LONGEST` times as much.

    Args:
        url: http(s)://HOST:PORT with an optional path in front of all others.
        token: sent as bearer token; by default from the environment.

    Raises:
        ValueError: no such address, or a token that would travel in the clear.
    """

    def __init__(
        self, url: str, settings: CallSettings | None = None, token: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.url, self.settings, self._clock = url.rstrip("/"), settings or CallSettings(), clock
        self._token = os.environ.get(TOKEN, "") if token is None else token
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if host is None or parts.scheme not in ("http", "https") or parts.username is not None:
            raise ValueError(f"reward.url={url}: expected http://HOST:PORT or https://HOST, without a name or password")
        if self._token and parts.scheme == "http" and host not in LOOPBACK:
            raise ValueError(
                f"reward.url={url}: a token does not travel over plain http beyond this machine: use https://, a "
                f"tunnel to 127.0.0.1, or unset {TOKEN}"
            )
        self._closed_until, self._reason, self._failures = -1.0, "", 0

    def ask(self, calls: Sequence[Call[T]]) -> list[T]:
        """The answers in order, up to `concurrency` requests at once. Unanswered when one of them has none."""
        if (wait := self._closed_until - self._clock()) > 0:
            raise Unanswered(f"{self._reason}; left alone for another {wait:.0f} s")
        try:
            found = asyncio.run(self._ask(calls))
        except Refused:
            raise
        except Unanswered as error:
            alone_s = self.settings.cool_down_s * min(2**self._failures, LONGEST)
            self._closed_until, self._reason = self._clock() + alone_s, str(error)
            self._failures += 1
            raise
        self._failures = 0
        return found

    async def _ask(self, calls: Sequence[Call[T]]) -> list[T]:
        try:
            import aiohttp
        except ImportError as error:
            raise ValueError(missing_extra(error) or str(error)) from error
        gate = asyncio.Semaphore(self.settings.concurrency)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        deadline = aiohttp.ClientTimeout(total=self.settings.deadline_s)
        async with aiohttp.ClientSession(headers=headers, timeout=deadline) as session:

            async def one(call: Call[T]) -> T:
                async with gate:
                    return await self._attempts(session, call)

            tasks = [asyncio.create_task(one(call)) for call in calls]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:  # of which the first to fail has ended the others' use
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _attempts(self, session: aiohttp.ClientSession, call: Call[T]) -> T:
        attempts = 1 if self._failures else self.settings.attempts
        for attempt in range(attempts):
            try:
                return await self._once(session, call)
            except Refused:
                raise
            except _Busy as busy:
                last: Unanswered = busy
                longest = max(busy.after_s, PAUSE_S * 2**attempt)
                pause = max(busy.after_s, random.uniform(0, longest))
            if attempt + 1 < attempts:
                await asyncio.sleep(min(pause, LONGEST_PAUSE_S))
        raise Unanswered(f"{last} ({attempts} attempt{'s' * (attempts > 1)})")

    async def _once(self, session: aiohttp.ClientSession, call: Call[T]) -> T:
        import aiohttp

        where = f"reward server {self.url}"
        method, headers = ("GET", {}) if call.body is None else ("POST", {"Content-Type": call.kind})
        body = None if call.body is None else call.body()
        try:
            # Redirects would carry token and pictures to wherever the server likes.
            async with session.request(
                method, self.url + call.path, data=body, headers=headers, allow_redirects=False
            ) as response:
                told = await _limited(response)
        except asyncio.TimeoutError:
            raise _Busy(f"{where} did not answer within {self.settings.deadline_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _Busy(f"{where} is not there ({str(error)[:120] or type(error).__name__})") from None
        status = response.status
        if status in BUSY:
            raise _Busy(f"{where} answered {status} ({_told(told)})", _seconds(response.headers))
        if status in (401, 403):
            raise Refused(f"{where} does not take this token: set {TOKEN} to the one that it was started with", status)
        if status != 200:
            raise Refused(f"{where} answered {status} ({_told(told)})", status)
        try:
            return call.read(told)
        except ValueError as error:
            raise _Busy(f"{where} answered nonsense: {error}") from None


class _Busy(Unanswered):
    """No answer this time. `after_s`: how long the server asked to be left alone."""

    def __init__(self, message: str, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_chunked(1 << 16):
        size += len(part)
        if size > ANSWER_BYTES:
            raise ValueError(f"its answer exceeds {ANSWER_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _told(body: bytes) -> str:
    """The beginning of what a server says of a refusal, in one printable line."""
    words = " ".join(body[:400].decode("utf-8", "replace").split())[:160]
    return "".join(letter for letter in words if letter.isprintable()) or "no reason given"


def _seconds(headers: Mapping[str, str]) -> float:
    try:
        asked = float(headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0
    return min(asked, LONGEST_PAUSE_S) if asked > 0 else 0.0
