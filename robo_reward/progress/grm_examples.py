"""Questions of the GRM contract with their true answers: eight pictures, a task, a hop in percent.

They are drawn from labelled episodes as `PairSampler` draws pairs, or read from files of the released training format
(`grm_format.py`). The eight slots are those of Robo-Dopamine (arXiv 2512.23703): reference start and goal seen from the
front, then three views before and three after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from robo_reward.progress.labels import PotentialLabels
from robo_reward.progress.models.grm_prompt import image_slots
from robo_reward.progress.pairs import PairBatch, PairSampler, PairSettings
from robo_reward.types import Episode

SLOTS = 8
PER_VISIT = 32
"""Largest number of questions about one episode in a batch; they share its pictures."""
Picture = UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class GrmBatch:
    """B questions over N different pictures."""

    pictures: tuple[Picture, ...]
    slot_B8: Int64[np.ndarray, "B 8"]
    """Which picture is in each slot."""
    task_B: tuple[str, ...]
    hop_B: Float32[np.ndarray, "B"]
    """The true answer, in [-1, 1]; drawn evenly from what an interval label leaves open."""
    low_B: Float32[np.ndarray, "B"]
    high_B: Float32[np.ndarray, "B"]
    """What the label leaves open; an exact one has low == high."""

    @property
    def exact_B(self) -> Bool[np.ndarray, "B"]:
        """Which labels are exact."""
        return self.low_B == self.high_B

    def __len__(self) -> int:
        return len(self.hop_B)


def pair_settings(count: int, swap_reference: float = 0.75) -> PairSettings:
    """How the sampler draws batches of `count` questions; no reference and no view is ever left out, because the
    contract has a picture in every slot."""
    each = next(n for n in range(min(count, PER_VISIT), 0, -1) if count % n == 0)
    return PairSettings(
        pairs_per_visit=each, visits_per_batch=count // each, swap_reference=swap_reference, drop_view=0.0,
        drop_reference=0.0,
    )  # fmt: skip


class PairExamples:
    """Draws batches of questions about labelled episodes; the same seed gives the same ones, to the byte.

    views: cameras in the order front, left wrist, right wrist, as `image_slots` takes them; those beyond three are left
    out. shift: random shift of a batch's views [px]. brightness: share by which that of a picture varies. Both are
    there because a few dozen episodes hold few pictures. Its `rng` is all its memory: restored, it goes on as it would
    have. Raises ValueError as `PairSampler` does.
    """

    def __init__(
        self,
        episodes: Sequence[Episode],
        labels: Sequence[PotentialLabels],
        stages: int,
        settings: PairSettings,
        seed: int,
        views: Sequence[str],
        shift: int = 2,
        brightness: float = 0.1,
    ) -> None:
        self.sampler = PairSampler(episodes, labels, stages, settings, seed)
        self.rng, self.shift, self.brightness = self.sampler.rng, shift, brightness
        self.views = image_slots(views)[0]
        self._frames = {v: [f for e in episodes for f in e.frames[v]] for v in dict.fromkeys(self.views)}
        self._at = np.array([(n, step) for n, e in enumerate(episodes) for step in e.frame_steps])

    def batch(self) -> GrmBatch:
        """The next questions."""
        return self.draw()[0]

    def draw(self) -> tuple[GrmBatch, Int64[np.ndarray, "B 8 2"]]:
        """The next questions, and the episode's number and the observation that each slot shows."""
        pairs = self.sampler.batch()
        at, view = slots(pairs, self.views)
        frame_and_view = np.stack([at.ravel(), view.ravel()], axis=1)
        shown, row = np.unique(frame_and_view, axis=0, return_inverse=True)
        moved = self.rng.integers(-self.shift, self.shift + 1, size=(len(self.views), 2))
        gain = 1 + self.brightness * self.rng.uniform(-1, 1, size=len(shown))
        pictures = tuple(
            augmented(self._frames[self.views[v]][n], moved[v], g) for (n, v), g in zip(shown, gain, strict=True)
        )
        hop = self.rng.uniform(pairs.low_B, pairs.high_B).astype(np.float32)
        tasks = tuple(self.sampler.instructions[i] for i in pairs.instruction_B)
        slot = row.reshape(at.shape).astype(np.int64)
        return GrmBatch(pictures, slot, tasks, hop, pairs.low_B, pairs.high_B), self._at[at]

    def some(self, count: int, rng: np.random.Generator) -> dict[str, list[Picture]]:
        """About `count` pictures of each camera, as questions show them."""
        shown: dict[str, list[Picture]] = {}
        for view, frames in self._frames.items():
            for n in rng.integers(len(frames), size=count):
                moved = rng.integers(-self.shift, self.shift + 1, size=2)
                gain = 1 + self.brightness * rng.uniform(-1, 1)
                shown.setdefault(view, []).append(augmented(frames[n], moved, gain))
        return shown


def slots(pairs: PairBatch, views: tuple[str, str, str]) -> tuple[Int64[np.ndarray, "B 8"], Int64[np.ndarray, "B 8"]]:
    """Of each slot the frame's number and that of its view, the first of `views` that is the same."""
    before, after = (np.repeat(x[:, None], 3, axis=1) for x in (pairs.before_B, pairs.after_B))
    frame = np.concatenate([pairs.start_B[:, None], pairs.goal_B[:, None], before, after], axis=1)
    order = [views.index(v) for v in views]
    view = np.broadcast_to(np.array([order[0], order[0], *order, *order]), frame.shape)
    return frame, view


def augmented(picture: Picture, moved: np.ndarray, gain: float) -> Picture:
    """The picture shifted by (rows, columns) [px], its edge repeated, and brighter by a factor."""
    height, width = picture.shape[:2]
    rows = np.clip(np.arange(height) + moved[0], 0, height - 1)
    columns = np.clip(np.arange(width) + moved[1], 0, width - 1)
    return np.clip(picture[rows[:, None], columns] * gain, 0, 255).astype(np.uint8)


def one_shot(settings: PairSettings) -> PairSettings:
    """For a single demonstration: there is no other task to be wrong about, nor another's references."""
    return replace(settings, wrong_instruction=0.0, wrong_goal=0.0, swap_reference=0.0)
