"""Reward models of the literature behind one interface, each in a file of its own.

A scorer gives a value in [0, 1] to a short clip, from the reference start to a moment, under an instruction; some give
values to both moments of a pair at once. Hops follow from the values of `before` and `after`, so trackers, benchmark
and live use are those of every other reward model. Prompts, labels and what becomes of them are as published; the clip
of two pictures is ours: questions address pairs of frames, and released scorers look at whole videos.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float64, UInt8

from robo_reward.progress.blank import shows_nothing
from robo_reward.progress.calls import Caller, CallSettings
from robo_reward.progress.hop import hop_from_potentials
from robo_reward.progress.models.grm_query import checked_frames
from robo_reward.progress.models.vlm_files import ARCHITECTURES, check_vlm, find_vlm, fingerprint
from robo_reward.types import HopEstimate, HopQuery

DESCRIPTION = "sibling.json"
CERTAIN = 1.0
"""Confidence of a scorer of moments, which says nothing of its own."""
ELSEWHERE = ("source", "revision", "batch", "device", "url", "calls")
"""Settings that no answer depends on, beside the weights that they name."""
_NO_VLM = ("vlm_rm", "contrasting", "lerobot_classifier", "lerobot_sarm")
"""They look at files of another kind and check them when they load them."""
_ANY_VLM = ("gvl", "vlac_vlm")
"""They ask a model of any architecture."""


class Clip(NamedTuple):
    """What a scorer looks at: the front camera at the reference start and at the moment."""

    frames: UInt8[np.ndarray, "2 H W 3"]
    instruction: str


class Pair(NamedTuple):
    """What a scorer of pairs looks at: the front camera at the reference start, before and after."""

    start: UInt8[np.ndarray, "H W 3"]
    before: UInt8[np.ndarray, "H W 3"]
    after: UInt8[np.ndarray, "H W 3"]
    instruction: str


class Scorer(Protocol):
    """Values of clips."""

    def __call__(self, clips: Sequence[Clip]) -> Float64[np.ndarray, "B"]:
        """In [0, 1]; NaN where there is no answer."""


class PairScorer(Protocol):
    """Values of pairs."""

    def pairs(self, pairs: Sequence[Pair]) -> Float64[np.ndarray, "B 3"]:
        """Values before and after, and the confidence, all in [0, 1]; NaN where there is no answer."""


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
    url: str | None = None
    """Of the chat server that is asked in place of a folder; `source` is what it calls the model then."""
    calls: CallSettings = CallSettings()


Row = tuple[int, int, int, str]
"""Frames at the reference start, before and after, and the instruction."""


class SiblingModel:
    """A `ProcessRewardModel` around a scorer."""

    def __init__(self, scorer: Scorer | PairScorer, settings: SiblingSettings, weights: Sequence[str]) -> None:
        """weights: name the scorer's files."""
        self.kind, self.settings, self.weights, self._score = settings.kind, settings, list(weights), scorer
        asked = {k: v for k, v in asdict(settings).items() if k not in ELSEWHERE}
        sha = hashlib.sha256(("".join(weights) + json.dumps(asked, sort_keys=True)).encode())
        self.model_id = f"{settings.kind}-{sha.hexdigest()[:12]}"

    def hop(self, query: HopQuery) -> HopEstimate:
        """Answer B pairs; a pair with a picture that shows nothing, or without a reference start, has no answer.

        Raises ValueError for no known view, or wrong frames; `Unanswered` where a server is asked and fails.
        """
        _, frames = next(iter(checked_frames(query.frames, self.settings.views).items()))
        blank = shows_nothing(frames)
        columns = np.stack([query.reference_start_B, query.before_B, query.after_B], axis=1)
        known = (columns[:, 0] >= 0) & ~blank[columns].any(1)
        rows = [(*columns[b].tolist(), query.instruction_B[b]) for b in np.flatnonzero(known)]
        found = np.full((len(query), 3), np.nan)
        found[known] = self._moments(frames, rows) if callable(self._score) else self._pairs(frames, rows)
        valid = np.isfinite(found).all(1)
        hop, confidence = np.zeros((2, len(query)), np.float32)
        hop[valid] = hop_from_potentials(*np.clip(found[valid, :2].T, 0, 1))
        confidence[valid] = found[valid, 2]
        return HopEstimate(hop, confidence, valid)

    def _moments(self, frames: np.ndarray, rows: Sequence[Row]) -> Float64[np.ndarray, "B 3"]:
        """Each moment's value once, however many pairs it stands in."""
        assert callable(self._score)
        wanted = list(dict.fromkeys((start, n, task) for start, *pair, task in rows for n in pair))
        values: dict[tuple[int, int, str], float] = {}
        for begin in range(0, len(wanted), self.settings.batch):
            some = wanted[begin : begin + self.settings.batch]
            told = self._score([Clip(frames[[start, n]], task) for start, n, task in some])
            values |= zip(some, told.tolist(), strict=True)
        answers = [(values[s, before, t], values[s, after, t], CERTAIN) for s, before, after, t in rows]
        return np.array(answers).reshape(-1, 3)

    def _pairs(self, frames: np.ndarray, rows: Sequence[Row]) -> Float64[np.ndarray, "B 3"]:
        assert not callable(self._score)
        numbers = {row: n for n, row in enumerate(dict.fromkeys(rows))}
        pairs = [Pair(frames[s], frames[before], frames[after], task) for s, before, after, task in numbers]
        return self._score.pairs(pairs)[[numbers[row] for row in rows]].reshape(-1, 3)

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
            kept, expected = found["settings"], list(found["weights"])
            settings = SiblingSettings(
                **{**kept, "views": tuple(kept["views"]), "calls": CallSettings(**kept.get("calls", {}))}
            )
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a description of a reward model ({error}); make it again") from error
        model = load_sibling(settings, expected)
        if model.weights != expected:
            raise ValueError(f"{settings.source}: not the weights that {path} was made with; make it again")
        return model


def load_sibling(settings: SiblingSettings, expected: Sequence[str] | None = None) -> SiblingModel:
    """The model that these settings name.

    expected: the weights that it was before; a server has to name the same ones and is not asked for them yet.

    Raises:
        ValueError: a folder that does not hold its kind of model.
        Unanswered: a server that does not say who it is.
    """
    module = _module(settings.kind)
    if settings.url is None:
        return SiblingModel(module.load(settings), settings, _fingerprints(settings))
    from robo_reward.progress.models.talk import ask_own_name, served_talker

    caller = Caller(settings.url, settings.calls)
    names = {s: f"{settings.source}/{s}" if s else settings.source for s in _signals(settings.kind)}
    weights = list(expected or [ask_own_name(caller, name) for name in names.values()])
    talkers = {s: served_talker(caller, names[s], said) for s, said in zip(names, weights, strict=True)}
    return SiblingModel(module.scorer(talkers), settings, weights)


def check_files(settings: SiblingSettings) -> str:
    """What names the files of these settings' model. Raises ValueError for what cannot be loaded."""
    for folder in folders(settings) if settings.kind not in _NO_VLM else ():
        check_vlm(folder, None if settings.kind in _ANY_VLM else ARCHITECTURES)
    return "".join(_fingerprints(settings))


def folders(settings: SiblingSettings) -> list[Path]:
    """Where its models lie, one for each signal. Raises ValueError for no such folder."""
    signals = _signals(settings.kind)
    found = [find_vlm(settings.source, settings.revision) / signal for signal in signals]
    for folder in found:
        if not folder.is_dir():
            raise ValueError(
                f"{folder}: no such folder; reward={settings.kind} needs {', '.join(signals)} in one place"
            )
    return found


def _fingerprints(settings: SiblingSettings) -> list[str]:
    """Of its models, and of what they need beside them."""
    found = folders(settings)
    beside = [found[0] / name for name in getattr(_module(settings.kind), "BESIDE", ())]
    return [fingerprint(folder) for folder in (*found, *(folder for folder in beside if folder.is_dir()))]


def _signals(kind: str) -> tuple[str, ...]:
    """The models that it is made of: one without a name, or several."""
    return getattr(_module(kind), "SIGNALS", ("",))


def _module(kind: str) -> Any:
    return importlib.import_module(f"robo_reward.progress.models.{kind}")
