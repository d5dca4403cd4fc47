"""The keyframe labelling page: marks where the sub-tasks of a LeRobotDataset's episodes end, for `label keyframes=`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from robo_reward.console.archive import as_pictures
from robo_reward.console.web import add_answers, application, body
from robo_reward.data.disk import replace_file
from robo_reward.data.keyframes import check_keyframes, load_dataset_keyframes
from robo_reward.data.lerobot import iterate_clips, iterate_dataset, read_info
from robo_reward.data.subtasks import read_subtasks
from robo_reward.progress.labels import keyframes_from_stages
from robo_reward.progress.segmentation import (
    EventSignal,
    event_keyframes,
    pixel_embedding,
    uvd_keyframes,
    variance_keyframes,
)
from robo_reward.types import UNKNOWN_STAGE, Frames

SIZE = 256
"""Largest side of the pictures [px]."""
WORDS = 2000
"""Characters of one instruction's paraphrases."""


class Keyframes:
    """One dataset's keyframes and paraphrases.

    Arguments:
        dataset: folder of a LeRobotDataset with camera views.
        folder: keyframes.json and paraphrases.json in it are gone on with.
        token: what a browser must say.
        stages: names of the task's stages, in order.
        events: columns of agent_pos that tell of contacts and of the gripper.

    Raises:
        FileNotFoundError, ValueError: no such dataset, one without views, or a keyframe file that does not fit it.
    """

    def __init__(
        self, dataset: str | Path, folder: Path, token: str, stages: Sequence[str], events: Sequence[EventSignal] = ()
    ) -> None:
        self.dataset, self.folder, self.token, self.stages = Path(dataset), folder, token, tuple(stages)
        self._events = tuple(events)
        info = read_info(dataset)
        if not info.views:
            raise ValueError(f"dataset {dataset} has no camera view: there is nothing to look at")
        self._views = info.views
        self._size = min(SIZE, *(int(info.features[info.view_feature(view)]["shape"][0]) for view in info.views))
        self._episodes = list(iterate_dataset(dataset, views=()))
        self._subtasks = read_subtasks(dataset) or {}
        lengths = [(episode.episode_id, len(episode) + 1) for episode in self._episodes]
        path = folder / "keyframes.json"
        found = load_dataset_keyframes(path, lengths) if path.is_file() else {}
        self._marked = {name: keys.tolist() for name, keys in found.items()}
        path = folder / "paraphrases.json"
        self._words: dict[str, list[str]] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        self._reading = asyncio.Lock()

    def application(self) -> web.Application:
        """The labelling page and what it asks for."""
        files = ("clip.js", "keyframes.js", "console.css")
        app = application({"/": "keyframes.html", **{f"/{name}": name for name in files}})
        answers = {("GET", "/dataset"): self._list, ("GET", "/dataset/{number}"): self._show,
                   ("POST", "/keyframes"): self._mark, ("POST", "/paraphrases"): self._word}  # fmt: skip
        add_answers(app, self.token, answers)
        return app

    async def _list(self, request: web.Request) -> Any:
        return {
            "stages": self.stages,
            "file": str(self.folder / "keyframes.json"),
            "episodes": [
                {"name": e.episode_id, "success": e.success, "frames": len(e) + 1, "instruction": e.instruction,
                 "marked": e.episode_id in self._marked}
                for e in self._episodes
            ],
        }  # fmt: skip

    async def _show(self, request: web.Request) -> Any:
        number = int(request.match_info["number"])
        if not 0 <= number < len(self._episodes):
            raise KeyError(f"episode {number}")
        async with self._reading:
            return await asyncio.to_thread(self._one, number)

    def _one(self, number: int) -> dict[str, Any]:
        episode = self._episodes[number]
        [clip] = iterate_clips(self.dataset, query_every=1, views=self._views, size=self._size, only=[number])
        return {
            "name": episode.episode_id, "instruction": episode.instruction, "views": as_pictures(clip.frames),
            "steps": clip.frame_steps.tolist(), "keyframes": self._marked.get(episode.episode_id),
            "proposals": self._propose(number, clip.frames), "paraphrases": self._words.get(episode.instruction, []),
        }  # fmt: skip

    def _propose(self, number: int, frames: Frames) -> dict[str, list[int]]:
        """Method -> keyframes to start from; those that found nothing are left out."""
        episode = self._episodes[number]
        end, rows = len(episode), pixel_embedding(frames)
        found: dict[str, Sequence[int]] = {}
        if (episode.stage != UNKNOWN_STAGE).any():
            found["stages"] = keyframes_from_stages(episode.stage)
        if episode.episode_id in self._subtasks:
            found["subtask"] = self._subtasks[episode.episode_id].tolist()
        if self._events and max(signal.column for signal in self._events) < episode.agent_pos.shape[1]:
            found["events"] = (0, *event_keyframes(episode.agent_pos, self._events), end)
        found["uvd"] = (0, *uvd_keyframes(rows), end)
        found["variance"] = (0, *variance_keyframes([rows], len(self.stages))[0], end)
        most = len(self.stages) + 1
        proposals = {method: sorted({int(key) for key in keys})[:most] for method, keys in found.items()}
        return {method: keys for method, keys in proposals.items() if len(keys) > 1}

    async def _mark(self, request: web.Request) -> Any:
        """Keyframes of one episode; an empty list takes them back."""
        name, keys = await body(request, episode=str, keyframes=list)
        lengths = {episode.episode_id: len(episode) + 1 for episode in self._episodes}
        if name not in lengths:
            raise KeyError(f"episode {name}")
        if len(keys) > len(self.stages) + 1:
            raise ValueError(f"{len(keys)} keyframes for {len(self.stages)} stages: give the start and their ends")
        if keys:
            self._marked[name] = check_keyframes(keys, lengths[name], f"episode {name}").tolist()
        else:
            self._marked.pop(name, None)
        self._save("keyframes.json", {known: self._marked[known] for known in lengths if known in self._marked})
        return len(self._marked)

    async def _word(self, request: web.Request) -> Any:
        """Other words for an instruction."""
        instruction, words = await body(request, instruction=str, paraphrases=list)
        if instruction not in {episode.instruction for episode in self._episodes}:
            raise KeyError(f"instruction {instruction!r}")
        if not all(type(word) is str and word.strip() for word in words) or sum(map(len, words)) > WORDS:
            raise ValueError(f"paraphrases are texts, of {WORDS} characters together")
        self._words[instruction] = [" ".join(word.split()) for word in words]
        self._save("paraphrases.json", self._words)
        return len(words)

    def _save(self, name: str, table: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / name, (json.dumps(table, indent=1) + "\n").encode())
