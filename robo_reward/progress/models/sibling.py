"""Reward models that score a moment, not a pair: one interface for those of the literature, each in a file of its own.

A scorer gives a value in [0, 1] to a short clip, from the reference start to a moment, under an instruction. Hops
follow from the values of `before` and `after`, so trackers, benchmark and live use are those of every other reward
model. Prompts, labels and what becomes of them are as published; the clip of two pictures is ours: questions address
pairs of frames, and released scorers look at whole videos.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float64, UInt8

from robo_reward.progress.blank import shows_nothing
from robo_reward.progress.hop import hop_from_potentials
from robo_reward.progress.models.grm_query import checked_frames
from robo_reward.progress.models.vlm_files import find_vlm, fingerprint
from robo_reward.types import HopEstimate, HopQuery

DESCRIPTION = "sibling.json"


class Clip(NamedTuple):
    """What a scorer looks at: the front camera at the reference start and at the moment."""

    frames: UInt8[np.ndarray, "2 H W 3"]
    instruction: str


class Scorer(Protocol):
    """Values of clips."""

    def __call__(self, clips: Sequence[Clip]) -> Float64[np.ndarray, "B"]:
        """In [0, 1]; NaN where there is no answer."""


@dataclass(frozen=True)
class SiblingSettings:
    """Which model is asked, and how; part of its id but for where it runs."""

    kind: str
    source: str
    """Folder, or hub id."""
    revision: str | None = None
    views: tuple[str, ...] = ("front",)
    """Of them it looks at the first that it is shown."""
    image_size: int | None = None
    """[px] of the squares that datasets and videos are scaled to when they are read; None leaves them as they are."""
    stages: int = 4
    baseline: str = "a robot arm beside a table"
    """What the scene shows when nothing is done, in words; for scorers on CLIP."""
    batch: int = 8
    device: str = "auto"


class SiblingModel:
    """A `ProcessRewardModel` around a scorer of moments. It says nothing of its own about confidence: 1 throughout."""

    def __init__(self, scorer: Scorer, settings: SiblingSettings, weights: str) -> None:
        """weights: names the scorer's files."""
        self.kind, self.settings, self.weights, self._score = settings.kind, settings, weights, scorer
        asked = {k: v for k, v in asdict(settings).items() if k not in ("source", "revision", "batch", "device")}
        sha = hashlib.sha256((weights + json.dumps(asked, sort_keys=True)).encode())
        self.model_id = f"{settings.kind}-{sha.hexdigest()[:12]}"

    def hop(self, query: HopQuery) -> HopEstimate:
        """Answer B pairs; a pair with a picture that shows nothing, or without a reference start, has no answer.

        Raises ValueError for no known view, or wrong frames.
        """
        view, frames = next(iter(checked_frames(query.frames, self.settings.views).items()))
        blank = shows_nothing(frames)
        moments: dict[tuple[int, int, str], float] = {}
        rows = []
        for b, task in enumerate(query.instruction_B):
            start, before, after = (int(x[b]) for x in (query.reference_start_B, query.before_B, query.after_B))
            known = start >= 0 and not (blank[start] or blank[before] or blank[after])
            rows.append([(start, before, task), (start, after, task)] if known else None)
        wanted = list(dict.fromkeys(moment for row in rows if row for moment in row))
        for begin in range(0, len(wanted), self.settings.batch):
            some = wanted[begin : begin + self.settings.batch]
            values = self._score([Clip(np.stack([frames[s], frames[n]]), task) for s, n, task in some])
            moments |= dict(zip(some, np.clip(values, 0, 1).tolist(), strict=True))
        pairs = np.array([[moments[m] for m in row] if row else [np.nan] * 2 for row in rows]).reshape(-1, 2)
        valid = np.isfinite(pairs).all(1)
        hop = np.zeros(len(query), np.float32)
        hop[valid] = hop_from_potentials(pairs[valid, 0], pairs[valid, 1])
        return HopEstimate(hop, valid.astype(np.float32), valid)

    def save(self, folder: Path) -> None:
        """Write which model is asked and how; the weights stay where they are."""
        folder.mkdir(parents=True, exist_ok=True)
        description = {"weights": self.weights, "settings": asdict(self.settings)}
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> SiblingModel:
        """Read what `save` wrote. Raises ValueError for a damaged file, or weights that changed since."""
        path = folder / DESCRIPTION
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            settings = SiblingSettings(**{**found["settings"], "views": tuple(found["settings"]["views"])})
            expected = found["weights"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a description of a reward model ({error}); make it again") from error
        model = load_sibling(settings)
        if model.weights != expected:
            raise ValueError(f"{settings.source}: not the weights that {path} was made with; make it again")
        return model


def load_sibling(settings: SiblingSettings) -> SiblingModel:
    """The model that these settings name. Raises ValueError for a folder that does not hold its kind of model."""
    weights = fingerprint(find_vlm(settings.source, settings.revision))
    return SiblingModel(_loader(settings.kind)(settings), settings, weights)


def _loader(kind: str) -> Callable[[SiblingSettings], Scorer]:
    from robo_reward.progress.models import contrasting, roboreward, topreward, vlm_rm

    loaders: dict[str, Any] = {
        "roboreward": roboreward.load, "topreward": topreward.load, "vlm_rm": vlm_rm.load,
        "contrasting": contrasting.load,
    }  # fmt: skip
    return loaders[kind]
