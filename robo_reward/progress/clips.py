"""Seeded clips of labelled episodes: what the rivals of the compact model are trained on.

A batch costs as many frames as one of the compact model's, and has its wrong instructions, its swapped goals and its
missing views (`PairSettings`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from robo_reward.progress.labels import PotentialLabels
from robo_reward.progress.pairs import PairSettings
from robo_reward.types import Episode


@dataclass(frozen=True)
class ClipBatch:
    """C clips of up to L frames; frames by their number among all query frames of the episodes."""

    frame_CL: Int64[np.ndarray, "C L"]
    goal_C: Int64[np.ndarray, "C"]
    """The last frame of a demonstration of the clip's task."""
    task_C: Int64[np.ndarray, "C"]
    low_CL: Float32[np.ndarray, "C L"]
    high_CL: Float32[np.ndarray, "C L"]
    inside_CL: Bool[np.ndarray, "C L"]
    """False for the frames that fill up a clip shorter than the longest."""
    views: tuple[str, ...]


def demonstrations_of(episodes: Sequence[Episode]) -> dict[str, list[int]]:
    """Instruction, in alphabetical order -> its successes in `episodes`, those of experts and people first.

    Raises ValueError for an instruction without one.
    """
    found = {}
    for instruction in sorted({e.instruction for e in episodes}):
        successes = [i for i, e in enumerate(episodes) if e.instruction == instruction and e.success]
        if not successes:
            raise ValueError(f"no successful demonstration of [{instruction!r}]: the reward needs one to refer to")
        found[instruction] = sorted(successes, key=lambda i: episodes[i].source not in ("expert", "human"))
    return found


class ClipSampler:
    """Draws batches of clips; the same seed gives the same batches.

    whole: every query frame of an episode; else `frames_per_visit` of them, the first and the last among them.
    rewinds: whether half of the clips turn back at some frame and go back some way.
    """

    def __init__(
        self,
        episodes: Sequence[Episode],
        labels: Sequence[PotentialLabels],
        stages: int,
        settings: PairSettings,
        seed: int,
        whole: bool,
        rewinds: bool,
    ) -> None:
        self.episodes, self.labels, self.stages, self.settings = episodes, labels, stages, settings
        self.whole, self.rewinds = whole, rewinds
        self.rng = np.random.default_rng(seed)
        self.views = tuple(sorted(episodes[0].frames))
        demonstrations = demonstrations_of(episodes)
        self.tasks, self._successes = tuple(demonstrations), list(demonstrations.values())
        self._offset = np.cumsum([0] + [len(e.frame_steps) for e in episodes])

    def batch(self) -> ClipBatch:
        """As many clips as it takes to the compact model's number of frames."""
        cfg, views = self.settings, self.views
        if len(views) > 1 and self.rng.random() < cfg.drop_view:
            views = tuple(np.delete(views, self.rng.integers(len(views))).tolist())
        clips, left = [], cfg.visits_per_batch * cfg.frames_per_visit
        while left > 0:
            clips.append(self._clip(int(self.rng.integers(len(self.episodes)))))
            left -= len(np.unique(clips[-1][0]))
        longest = max(len(frames) for frames, *_ in clips)
        frame, low, high, inside = (
            np.zeros((len(clips), longest), t) for t in (np.int64, np.float32, np.float32, bool)
        )
        for row, (frames, low_L, high_L, *_) in enumerate(clips):
            frame[row], inside[row, : len(frames)] = frames[-1], True
            frame[row, : len(frames)], low[row, : len(frames)], high[row, : len(frames)] = frames, low_L, high_L
        goal, task = (np.array([clip[i] for clip in clips]) for i in (3, 4))
        return ClipBatch(frame, goal, task, low, high, inside, views)

    def _clip(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
        rng, cfg, episode, label = self.rng, self.settings, self.episodes[number], self.labels[number]
        at = self._positions(len(episode.frame_steps))
        steps = episode.frame_steps[at]
        low, high, task = label.low[steps], label.high[steps], self.tasks.index(episode.instruction)
        wrong = len(self.tasks) > 1 and rng.random() < cfg.wrong_instruction
        if wrong:
            task = int(rng.choice([i for i in range(len(self.tasks)) if i != task]))
            guess = label.phi[steps]  # before the first stage it may be near either target, as in `PairSampler`
            low, high = np.zeros_like(low), np.where(guess < 1 / self.stages, guess, 0)
        own = episode.success and not wrong and rng.random() >= cfg.swap_reference
        demonstration = number if own else int(rng.choice(self._successes[task]))
        return self._offset[number] + at, low, high, int(self._offset[demonstration + 1]) - 1, task

    def _positions(self, count: int) -> np.ndarray:
        """Which of an episode's frames, in the order in which the clip shows them."""
        rng, wanted = self.rng, self.settings.frames_per_visit
        at = np.arange(count)
        if not self.whole and count > max(wanted, 2):
            inner = rng.choice(np.arange(1, count - 1), size=max(wanted - 2, 0), replace=False)
            at = np.concatenate([[0], np.sort(inner), [count - 1]])
        if self.rewinds and len(at) > 2 and rng.random() < 0.5:
            turn = int(rng.integers(1, len(at)))
            back = int(rng.integers(1, turn + 1))
            at = np.concatenate([at[: turn + 1], at[turn - back : turn][::-1]])
        return at
