"""A reward model that another process serves (`robo-reward serve-reward`): the same answers, over HTTP."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robo_reward.progress.calls import Call, Caller, CallSettings
from robo_reward.progress.completion import CompletionRule
from robo_reward.progress.wire import decode_answer, encode_query, parse
from robo_reward.types import HopEstimate, HopQuery

if TYPE_CHECKING:
    from robo_reward.progress.models.chat import ChatModel

DESCRIPTION = "remote.json"
PART_ROWS, PART_BYTES = 256, 8 << 20
"""Of one request: a few episodes' worth, so that a deadline means something and other clients get their turn."""


@dataclass(frozen=True)
class Served:
    """What a server says of its model."""

    model_id: str
    views: tuple[str, ...]
    image_size: int | None
    """[px] of its pictures; None: any."""
    stages: int
    references: int
    """Demonstrations that every question is asked with."""
    differences: bool
    """See `TrackerSettings`."""
    completion: CompletionRule


def served_from(answer: dict[str, Any]) -> Served:
    """The description in a JSON object. ValueError for anything that it cannot be."""
    try:
        found = Served(
            **{**answer, "views": tuple(answer["views"]), "completion": CompletionRule(**answer["completion"])}
        )
    except (TypeError, KeyError) as error:
        raise ValueError(f"no description of a reward model ({error})") from None
    numbers = (found.stages, found.references, 1 if found.image_size is None else found.image_size)
    names = (found.model_id, *found.views)
    if (
        not all(type(n) is int and n > 0 for n in numbers)
        or not all(type(name) is str for name in names)
        or type(found.differences) is not bool
    ):
        raise ValueError("no description of a reward model")
    return found


def ask_served(caller: Caller) -> Served:
    """What the server says of its model. Unanswered where there is none."""
    keys = ("model_id", "views", "image_size", "stages", "references", "differences", "completion")
    return caller.ask([Call("/model", lambda body: served_from(parse(body, keys)))])[0]


class RemoteModel:
    """A `ProcessRewardModel` behind `serve-reward`.

    Args:
        caller: where the server is.
        settings: what it said when this run began; a server that serves another model since has no answer.
    """

    kind = "remote"

    def __init__(self, caller: Caller, settings: Served) -> None:
        self.caller, self.settings, self.model_id = caller, settings, settings.model_id

    def hop(self, query: HopQuery) -> HopEstimate:
        """Answer B pairs by as many requests as it takes; `Unanswered` when one of them stays without an answer.

        Frames: any non-empty subset of the model's views, the others are not sent. ValueError without one.
        """
        if len(query) == 0:
            empty = np.zeros(0, np.float32)
            return HopEstimate(empty, empty, np.zeros(0, bool))
        known = {view: frames for view, frames in query.frames.items() if view in self.settings.views}
        if not known:
            raise ValueError(f"cameras {sorted(query.frames)}: the reward model knows {sorted(self.settings.views)}")
        query, kind = replace(query, frames=known), "application/octet-stream"
        calls = [
            Call("/hop", partial(self._read, len(part)), partial(encode_query, part), kind) for part in parts(query)
        ]
        found = self.caller.ask(calls)
        return HopEstimate(*(np.concatenate([getattr(e, name) for e in found])
                             for name in ("hop_B", "confidence_B", "valid_B")))  # fmt: skip

    def _read(self, rows: int, body: bytes) -> HopEstimate:
        model_id, estimate = decode_answer(body, rows)
        if model_id != self.model_id:
            raise ValueError(
                f"it serves {model_id} now, and this run began with {self.model_id}: serve that one again, or propose "
                "the other one with annotate store="
            )
        return estimate

    def save(self, folder: Path) -> None:
        """Write where it is and what it said; the token stays in the environment."""
        write_remote(folder, self.caller, self.settings, None)


def parts(query: HopQuery) -> list[HopQuery]:
    """The query in pieces of a bearable size, each with the frames that it needs."""
    rows = np.arange(len(query))
    pieces = [_piece(query, rows[i : i + PART_ROWS]) for i in range(0, len(rows), PART_ROWS)]
    return [part for piece in pieces for part in _halved(piece)]


def _halved(query: HopQuery) -> list[HopQuery]:
    if len(query) == 1 or sum(frames.nbytes for frames in query.frames.values()) <= PART_BYTES:
        return [query]
    rows, middle = np.arange(len(query)), len(query) // 2
    return [part for half in (rows[:middle], rows[middle:]) for part in _halved(_piece(query, half))]


def _piece(query: HopQuery, rows: np.ndarray) -> HopQuery:
    index = np.stack([query.before_B, query.after_B, query.reference_start_B, query.reference_goal_B])[:, rows]
    used, renumbered = np.unique(index[index >= 0], return_inverse=True)
    compact = np.full(index.shape, -1, np.int64)
    compact[index >= 0] = renumbered
    frames = {view: pool[used] for view, pool in query.frames.items()}
    before, after, start, goal = compact
    return HopQuery(frames, before, after, start, goal, tuple(query.instruction_B[i] for i in rows))


def write_remote(folder: Path, caller: Caller, served: Served, chat: str | None) -> None:
    """Keep where a model is and what it is; `chat`: the name that a chat server knows it by."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"url": caller.url, "served": asdict(served), "calls": asdict(caller.settings), "chat": chat}
    (folder / DESCRIPTION).write_text(json.dumps(kept, indent=2) + "\n")


def load_remote(folder: Path) -> RemoteModel | ChatModel:
    """Read what `write_remote` wrote; nobody is asked yet. ValueError for a damaged file."""
    path = folder / DESCRIPTION
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        caller, served = Caller(str(kept["url"]), CallSettings(**kept["calls"])), served_from(kept["served"])
        chat = kept["chat"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a remote reward model ({error}); remove its folder") from None
    if chat is None:
        return RemoteModel(caller, served)
    from robo_reward.progress.models.chat import ChatModel

    return ChatModel(caller, served, str(chat))
