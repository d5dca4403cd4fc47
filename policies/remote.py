"""Policies on a server that speaks openpi's websocket protocol, such as a vision-language-action model on a GPU.

The protocol (https://github.com/Physical-Intelligence/openpi): on connection the server sends its metadata; then each
request is one observation, each answer `{"actions": (steps, A)}`, all of them msgpack with numpy arrays as
`{b"__ndarray__": True, b"data", b"dtype", b"shape"}`; a text instead of bytes is the server's traceback. msgpack holds
data only: nothing in an answer is executed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from robo_reward.extras import missing_extra
from robo_reward.policies.chunks import ChunkedPolicy, Seen

LIMIT = 2.0
"""Largest action, in action units, that is taken for one and clipped."""


def connect(
    url: str,
    action_size: int,
    chunk: int,
    cameras: Sequence[str],
    *,
    names: Mapping[str, str] | None = None,
    ensemble: float | None = None,
    scale: tuple[float, ...] = (),
    timeout_s: float = 10.0,
) -> ChunkedPolicy:
    """The policy that a server serves; it is given the cameras, agent_pos and the instruction, never the estimate.

    Args:
        url: ws://HOST:PORT or wss://...
        action_size: numbers in an action.
        chunk: actions executed of each answer.
        cameras: of the environment.
        names: state, prompt or a camera's name -> what the server calls it; cameras that are not named are not sent.
            Default: observation/state, prompt, and observation/CAMERA for all.
        ensemble: see `ChunkedPolicy`.
        scale: see `ChunkedPolicy`.
        timeout_s: for which a connection or an answer is waited for.

    Raises:
        ValueError: no server there, or one that speaks otherwise; later, from `act`, a server that died, hangs, fails
            or answers what is no chunk of actions.
    """
    given = dict(names or {})
    views = tuple(name for name in given if name not in ("state", "prompt"))
    if unknown := [view for view in views if view not in cameras]:
        raise ValueError(f"base.names has the camera '{unknown[0]}': there is {', '.join(cameras)}, state and prompt")
    views = views or tuple(cameras)
    keys = {"state": "observation/state", "prompt": "prompt", **{view: f"observation/{view}" for view in views}} | given
    server = _Server(url, timeout_s)

    def predict(seen: Sequence[tuple[Seen, ...]]) -> np.ndarray:
        chunks = []
        for newest in (episode[-1] for episode in seen):
            assert newest.look is not None
            observation = {keys["state"]: np.asarray(newest.agent_pos, np.float32)}
            observation |= {keys[view]: newest.look.views[view] for view in views}
            chunks.append(server.ask({**observation, keys["prompt"]: newest.look.instruction}))
        shapes = {chunk.shape for chunk in chunks}
        if len(shapes) > 1:
            raise ValueError(f"policy server {url} returned chunks of different shapes: {sorted(shapes)}")
        return np.stack(chunks)

    return ChunkedPolicy(
        predict, server.policy_id, chunk, action_size, ensemble=ensemble, scale=scale, limit=LIMIT, views=views
    )


class _Server:
    """One connection, and one line for everything that can be wrong with it."""

    def __init__(self, url: str, timeout_s: float) -> None:
        try:
            from websockets.exceptions import InvalidURI
            from websockets.sync.client import connect as open_connection
        except ImportError as error:
            raise ValueError(missing_extra(error) or str(error)) from error
        self._url, self._timeout_s = url, timeout_s
        plain: Any = {"compression": None, "max_size": None, "proxy": None}
        try:
            opening = open_connection(url, open_timeout=timeout_s, close_timeout=1, **plain)
            self._connection = ExitStack().enter_context(opening)
        except InvalidURI as error:
            raise ValueError(f"base.url={url} is no websocket's address: give ws://HOST:PORT") from error
        except Exception as error:
            raise self._failure(error) from error
        metadata = self._receive()
        named = hashlib.sha256(f"{url} {sorted(metadata.items(), key=str)}".encode()).hexdigest()
        self.policy_id = f"remote-{named[:12]}"

    def ask(self, observation: Mapping[str, Any]) -> np.ndarray:
        """The chunk (steps, A) for one observation."""
        import msgpack

        try:
            self._connection.send(msgpack.packb(observation, default=_pack))
        except Exception as error:
            raise self._failure(error) from error
        answer = self._receive()
        if not isinstance(actions := answer.get("actions"), np.ndarray) or actions.dtype.kind not in "fiu":
            raise ValueError(f"policy server {self._url} answered without 'actions': {', '.join(map(str, answer))}")
        return actions

    def _receive(self) -> dict[Any, Any]:
        import msgpack

        try:
            answer = self._connection.recv(timeout=self._timeout_s)
        except Exception as error:
            raise self._failure(error) from error
        if isinstance(answer, str):
            last = (answer.strip().splitlines() or ["no reason given"])[-1]
            raise ValueError(f"policy server {self._url} failed: {last}")
        try:
            found = msgpack.unpackb(answer, object_hook=_unpack)
            if not isinstance(found, dict):
                raise TypeError(type(found).__name__)
        except Exception as error:
            raise ValueError(
                f"policy server {self._url} does not speak openpi's protocol: no msgpack map ({error})"
            ) from error
        return found

    def _failure(self, error: Exception) -> ValueError:
        if isinstance(error, TimeoutError):
            return ValueError(
                f"policy server {self._url} did not answer within {self._timeout_s:g} s: see what it does, or raise "
                "base.timeout_s"
            )
        return ValueError(f"policy server {self._url} is not there ({error or type(error).__name__}): start it")


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    raise TypeError(f"cannot send a {type(value).__name__}")


def _unpack(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" in value:
        dtype = np.dtype(value[b"dtype"])
        if dtype.kind not in "fiub":
            raise ValueError(f"array of {dtype}")
        return np.frombuffer(value[b"data"], dtype).reshape(value[b"shape"])
    if b"__npgeneric__" in value:
        return np.dtype(value[b"dtype"]).type(value[b"data"])
    return value
