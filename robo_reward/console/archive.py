"""Past episodes for the page: replay with the curve under the pictures, another label, preferences between clips."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from aiohttp import web

from robo_reward.console.web import Answer, add_answers, add_files, application, body, jpeg
from robo_reward.data.disk import replace_file
from robo_reward.data.preferences import Clip, Preference, append_preference, read_preferences
from robo_reward.data.store import TransitionStore
from robo_reward.hil.protocol import VERDICTS
from robo_reward.types import Episode, Frames

FILES = {f"/{name}": name for name in ("review.html", "review.js", "clip.js", "console.css")}
Relabel = Callable[[str, str], "Future[str]"]


class Archive:
    """The episodes of a session's folder, read beside its writer.

    Arguments:
        folder: with store/, and outcomes.json, curves/ and preferences.jsonl as far as they are there.
        token: what a browser must say.
        relabel: judges an episode anew where a session is running; None writes outcomes.json itself.
    """

    def __init__(self, folder: Path, token: str, relabel: Relabel | None = None) -> None:
        self.folder, self.token, self._relabel = folder, token, relabel
        self._store: TransitionStore | None = None
        self._reading = asyncio.Lock()

    def application(self) -> web.Application:
        """The review page alone."""
        app = application({"/": "review.html"})
        self.add_to(app)
        return app

    def add_to(self, app: web.Application) -> None:
        """Serve the review page and what it asks for."""
        answers: dict[tuple[str, str], Answer] = {
            ("GET", "/episodes"): self._list,
            ("GET", "/episodes/{name}"): self._show,
            ("GET", "/places/{number}"): self._place,
            ("POST", "/outcomes"): self._judge,
            ("POST", "/preferences"): self._prefer,
        }
        add_files(app, FILES)
        add_answers(app, self.token, answers)

    async def _list(self, request: web.Request) -> Any:
        return await self._read(self._all)

    async def _show(self, request: web.Request) -> Any:
        return await self._read(self._one, request.match_info["name"])

    async def _place(self, request: web.Request) -> Any:
        number = int(request.match_info["number"])
        path = self.folder / "places" / f"{number:05d}.png"
        if not path.is_file():
            raise KeyError(f"a picture of place {number}")
        return {"picture": "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()}

    async def _judge(self, request: web.Request) -> Any:
        name, outcome = await body(request, episode=str, outcome=str)
        await self._read(self._entry, name)
        if self._relabel is not None:
            return await asyncio.shield(asyncio.wrap_future(self._relabel(name, outcome)))
        if outcome not in VERDICTS:
            raise ValueError(f"outcome {outcome!r}: choose {', '.join(VERDICTS)}")
        replace_file(self.folder / "outcomes.json", json.dumps({**self._outcomes(), name: outcome}).encode())
        return "judged"

    async def _prefer(self, request: web.Request) -> Any:
        first, second, choice = await body(request, first=dict, second=dict, choice=str)
        for clip in (first, second):
            entry = await self._read(self._entry, str(clip.get("episode")))
            if clip.keys() != {"episode", "begin", "end"} or not type(clip["begin"]) is type(clip["end"]) is int:
                raise ValueError("a clip has an episode, and begin and end as whole numbers")
            if clip["end"] > entry.ending.steps:
                raise ValueError(f"clip ends at {clip['end']}: {entry.episode_id} has {entry.ending.steps} steps")
        path = self.folder / "preferences.jsonl"
        append_preference(path, Preference(Clip(**first), Clip(**second), choice))
        return len(read_preferences(path))

    async def _read(self, what: Callable[..., Any], *arguments: Any) -> Any:
        """One at a time and beside the loop, because a store is no thread's but one."""
        async with self._reading:
            return await asyncio.to_thread(what, *arguments)

    def _refreshed(self) -> TransitionStore:
        if self._store is None:
            self._store = TransitionStore(self.folder / "store")
        self._store.refresh()
        return self._store

    def _entry(self, name: str) -> Any:
        episodes = self._refreshed().index.episodes
        if name not in episodes:
            raise KeyError(f"episode {name}")
        return episodes[name]

    def _outcomes(self) -> dict[str, str]:
        path = self.folder / "outcomes.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

    def _all(self) -> list[dict[str, Any]]:
        outcomes = self._outcomes()
        return [
            {
                "name": entry.episode_id, "instruction": entry.header.instruction, "steps": entry.ending.steps,
                "world": entry.ending.success, "outcome": outcomes.get(entry.episode_id),
            }
            for entry in self._refreshed().episodes()
        ]  # fmt: skip

    def _one(self, name: str) -> dict[str, Any]:
        self._entry(name)
        episode = self._refreshed().read(name)
        curves = self.folder / "curves" / f"{name}.json"
        shown = json.loads(curves.read_text(encoding="utf-8")) if curves.is_file() else _curves(episode)
        return {
            "name": name, "instruction": episode.instruction, "steps": episode.frame_steps.tolist(),
            "views": as_pictures(episode.frames), **shown,
        }  # fmt: skip


def as_pictures(frames: Frames) -> dict[str, list[str]]:
    """View -> its frames as data URLs."""
    return {
        view: ["data:image/jpeg;base64," + base64.b64encode(jpeg(frame)).decode() for frame in stack]
        for view, stack in frames.items()
    }


def _curves(episode: Episode) -> dict[str, Any]:
    """What is known of an episode that no page has shown."""
    driven = [False] * len(episode) if episode.intervention is None else episode.intervention
    return {
        "oracle": [] if episode.oracle is None else episode.oracle.round(4).tolist(),
        "model": [],
        "sources": "".join("h" if human else "p" for human in driven),
    }
