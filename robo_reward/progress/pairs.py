"""Seeded, balanced hop pairs over labelled episodes (Robo-Dopamine, arXiv 2512.23703, appendix B.3).

Pairs are drawn in visits: one episode, a few dozen ordered pairs of its frames, one reference demonstration. Frames are
addressed by index, so that a batch encodes each of them once. Beyond the paper: failed rollouts with interval labels,
stretches in which nothing moves, visits under a wrong instruction or with a wrong goal, and pairs that start at a
reference, which is what a tracker asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from robo_reward.progress.hop import hop_from_potentials
from robo_reward.progress.labels import PotentialLabels
from robo_reward.types import Episode, Frames

KINDS = ("forward_in_time", "reversed", "zero", "anchored_start", "anchored_goal")
STILL = 0.3
"""Grey levels, of 255, by which the mean pixel of every view may change in a stretch where nothing moves. Cameras that
are noisier than that have no such stretches."""


@dataclass(frozen=True)
class PairSettings:
    """How pairs are drawn; shares and probabilities in [0, 1]."""

    hop_bins: int = 25
    gap_bins: int = 4
    frames_per_visit: int = 14
    pairs_per_visit: int = 64
    visits_per_batch: int = 8
    zero_share: float = 0.05
    anchored_share: float = 0.4
    """Pairs whose `before` is the reference start or goal: the tracker's forward and backward questions."""
    swap_reference: float = 0.75
    drop_view: float = 0.15
    drop_reference: float = 0.05
    wrong_instruction: float = 0.2
    """Visits that name and show another target than the one the episode went for: their progress is near 0."""
    wrong_goal: float = 0.05
    """Visits that name the episode's target but show another one's goal: what is shown decides."""

    def __post_init__(self) -> None:
        for name in (
            "zero_share",
            "anchored_share",
            "swap_reference",
            "drop_view",
            "drop_reference",
            "wrong_instruction",
            "wrong_goal",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"pairs.{name}={getattr(self, name)} outside [0, 1]")
        for one, other in (("zero_share", "anchored_share"), ("wrong_instruction", "wrong_goal")):
            if getattr(self, one) + getattr(self, other) > 1:
                raise ValueError(f"pairs.{one} and pairs.{other} add up to more than 1: lower one of them")
        for name in ("hop_bins", "gap_bins", "frames_per_visit", "pairs_per_visit", "visits_per_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"pairs.{name}={getattr(self, name)}: expected at least 1")


@dataclass(frozen=True)
class PairBatch:
    """B hop pairs over a frame pool; -1 in a reference column means "no reference"."""

    before_B: Int64[np.ndarray, "B"]
    after_B: Int64[np.ndarray, "B"]
    start_B: Int64[np.ndarray, "B"]
    goal_B: Int64[np.ndarray, "B"]
    instruction_B: Int64[np.ndarray, "B"]
    """Index into `PairSampler.instructions`."""
    low_B: Float32[np.ndarray, "B"]
    high_B: Float32[np.ndarray, "B"]
    """The true hop (or the sampler's other target) lies in [low, high]; an exact label has low == high."""
    kind_B: Int64[np.ndarray, "B"]
    """Index into KINDS."""
    stage_B: Int64[np.ndarray, "B"]
    """Stage of the frame `after` of anchored pairs, 0 to N; -1 for others and where nobody knows it."""
    views: tuple[str, ...]
    """The views this batch may look at (view dropout acts on whole batches, so that frames stay shared)."""


@dataclass(frozen=True)
class _Pool:
    """One episode's query frames within the pool of all frames."""

    offset: int
    steps: Int64[np.ndarray, "Q"]
    low: Float32[np.ndarray, "Q"]
    high: Float32[np.ndarray, "Q"]
    guess: Float32[np.ndarray, "Q"]
    stretch: Int64[np.ndarray, "Q"]
    """Equal for the frames of a stretch in which nothing moves."""
    instruction: int
    success: bool
    demonstration: bool


class PairSampler:
    """Draws batches of pairs from labelled episodes; the same seed gives the same batches, to the byte.

    target: what low and high are about, as `CompactSettings.target`: hop, absolute or difference. The frame pool is the
    episodes' query frames in order: episode e's first frame is at `offsets[e]`.
    Raises ValueError without a successful episode for some instruction that could serve as reference.
    """

    def __init__(
        self,
        episodes: Sequence[Episode],
        labels: Sequence[PotentialLabels],
        stages: int,
        settings: PairSettings,
        seed: int,
        target: str = "hop",
        weights: Sequence[float] | None = None,
    ) -> None:
        """weights: how often each episode is visited, default equally."""
        self.settings, self.stages, self.target = settings, stages, target
        self._shares = None if weights is None else np.asarray(weights, float) / np.sum(weights)
        self.rng = np.random.default_rng(seed)
        self.instructions = tuple(sorted({e.instruction for e in episodes}))
        self.views = tuple(sorted(episodes[0].frames)) if episodes else ()
        self._pools: list[_Pool] = []
        offset = 0
        for episode, label in zip(episodes, labels, strict=True):
            q = episode.frame_steps
            self._pools.append(
                _Pool(
                    offset, q, label.low[q], label.high[q], label.phi[q], still_stretches(episode.frames, len(q)),
                    self.instructions.index(episode.instruction), episode.success,
                    episode.success and episode.source in ("expert", "human"),
                )
            )  # fmt: skip
            offset += len(q)
        self.offsets = [p.offset for p in self._pools]
        self._demos = [
            [p for p in self._pools if p.instruction == i and p.demonstration]
            or [p for p in self._pools if p.instruction == i and p.success]
            for i in range(len(self.instructions))
        ]
        missing = [self.instructions[i] for i, demos in enumerate(self._demos) if not demos]
        if missing or not episodes:
            raise ValueError(
                f"no successful demonstration of {missing or 'any task'}: the reward needs one to refer to"
            )
        self.counts: Counter[str] = Counter()
        self.hop_histogram = np.zeros(settings.hop_bins, dtype=np.int64)
        self.gap_histogram = np.zeros(settings.gap_bins, dtype=np.int64)

    def batch(self) -> PairBatch:
        """The next batch: visits_per_batch x pairs_per_visit pairs."""
        rng, cfg = self.rng, self.settings
        views = self.views
        if len(views) > 1 and rng.random() < cfg.drop_view:
            views = tuple(np.delete(views, rng.integers(len(views))).tolist())
        chosen = (
            rng.integers(len(self._pools), size=cfg.visits_per_batch) if self._shares is None
            else rng.choice(len(self._pools), size=cfg.visits_per_batch, p=self._shares)
        )  # fmt: skip
        visits = [self._visit(self._pools[i]) for i in chosen]
        b, a, start, goal, text, low, high, kind, stage = (np.concatenate(x) for x in zip(*visits, strict=True))
        return PairBatch(b, a, start, goal, text, low, high, kind, stage, views)

    def statistics(self) -> dict[str, object]:
        """Counts of what was drawn so far, by kind and label, and how the balanced pairs fill hop and gap bins."""
        histograms = {"hop_histogram": self.hop_histogram.tolist(), "gap_histogram": self.gap_histogram.tolist()}
        return {**dict(sorted(self.counts.items())), **histograms}

    def _visit(self, pool: _Pool) -> tuple[np.ndarray, ...]:
        rng, cfg = self.rng, self.settings
        n = len(pool.steps)
        frames = np.sort(rng.choice(n, size=min(cfg.frames_per_visit, n), replace=False, p=self._spread(pool.guess)))
        low, high, guess = pool.low[frames], pool.high[frames], pool.guess[frames]
        named, shown = self._asked(pool.instruction)
        wrong_goal = named != shown
        if shown != pool.instruction:
            # Before the episode's first stage it may be near either target; from then on it is at the wrong one.
            high = np.where(guess < 1 / self.stages, guess, 0.0).astype(np.float32)
            low, guess = np.zeros_like(low), np.zeros_like(guess)
        own = pool.success and shown == pool.instruction and rng.random() >= cfg.swap_reference
        demo = pool if own else self._demos[shown][rng.integers(len(self._demos[shown]))]
        start, goal = demo.offset, demo.offset + len(demo.steps) - 1

        n_anchor, n_zero = (int(round(s * cfg.pairs_per_visit)) for s in (cfg.anchored_share, cfg.zero_share))
        before, after = self._balanced(guess, pool.steps[frames], cfg.pairs_per_visit - n_anchor - n_zero)
        same = rng.integers(len(guess), size=n_zero)
        still = self._within_stretch(pool.stretch[frames], same)
        anchored = self._balanced_states(guess, n_anchor)
        at_goal = np.arange(n_anchor) % 2 == 1
        at = pool.offset + frames
        b = np.concatenate([at[before], at[same], np.where(at_goal, goal, start)])
        a = np.concatenate([at[after], at[still], at[anchored]])
        anchor = at_goal.astype(np.float32)  # the references' own potentials are exact: 0 and 1
        before_low, before_high = (np.concatenate([x[before], x[same], anchor]) for x in (low, high))
        after_low, after_high = (np.concatenate([x[after], x[same], x[anchored]]) for x in (low, high))
        kind = np.concatenate([(after < before).astype(np.int64), np.full(n_zero, 2), 3 + at_goal.astype(np.int64)])
        said_low, said_high = self._target(before_low, before_high, after_low, after_high, kind == 2)
        exact = after_high - after_low < 1.001 / self.stages
        stage = np.clip(np.floor(after_low * self.stages + 1e-4), 0, self.stages).astype(np.int64)
        stage = np.where((kind >= 3) & exact & (not wrong_goal), stage, -1)
        n = len(b)
        starts, goals = np.full(n, start), np.full(n, goal)
        free = kind < 3  # an anchored pair keeps its references: the question is about them
        starts[free & (rng.random(n) < cfg.drop_reference)] = -1
        goals[free & (not wrong_goal) & (rng.random(n) < cfg.drop_reference)] = -1
        clipped = pool.success and shown == pool.instruction and not own  # a success cut short, against another's goal
        self._count(
            kind,
            stalled=(a != b) & (kind == 2),
            interval_label=said_low < said_high,
            clipped_success=free & clipped & (np.maximum(before_high, after_high) < 1 - 1 / self.stages),
            wrong_instruction=named != pool.instruction,
            wrong_goal=wrong_goal,
            own_reference=own,
            failed_episode=not pool.success,
        )
        return b, a, starts, goals, np.full(n, named), said_low, said_high, kind, stage

    def _asked(self, instruction: int) -> tuple[int, int]:
        """The instructions that a visit names, and whose references it shows, to an episode of this one."""
        others = [i for i in range(len(self.instructions)) if i != instruction]
        wrong, draw = self.settings.wrong_instruction, self.rng.random()
        if not others or draw >= wrong + self.settings.wrong_goal:
            return instruction, instruction
        other = int(self.rng.choice(others))
        return (other if draw < wrong else instruction), other

    def _target(
        self, before_low: np.ndarray, before_high: np.ndarray, after_low: np.ndarray, after_high: np.ndarray,
        still: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """The least and the largest value that the network may give for each pair."""
        if self.target == "absolute":
            return after_low, after_high
        if self.target == "difference":
            low, high = after_low - before_high, after_high - before_low
        else:
            low, high = hop_from_potentials(before_high, after_low), hop_from_potentials(before_low, after_high)
        return np.where(still, 0.0, low).astype(np.float32), np.where(still, 0.0, high).astype(np.float32)

    def _within_stretch(self, stretch: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """For each of these frames another one of its stretch, itself where everything moves."""
        alike = stretch[frames, None] == stretch
        alike[np.arange(len(frames)), frames] = alike.sum(1) == 1
        return np.array([self.rng.choice(np.flatnonzero(row)) for row in alike], dtype=np.int64)

    def _balanced(self, guess: np.ndarray, steps: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Ordered pairs, uniform over the occupied cells of hop bin x time-gap bin."""
        n = len(guess)
        before, after = np.nonzero(~np.eye(n, dtype=bool))
        if len(before) == 0:
            return np.zeros(count, np.int64), np.zeros(count, np.int64)
        hop = hop_from_potentials(guess[before], guess[after])
        gap = np.abs(steps[after] - steps[before])
        gap_edges = np.geomspace(gap.min(), gap.max() + 1, self.settings.gap_bins + 1)[1:-1]
        cell = self._bin(hop) * self.settings.gap_bins + np.digitize(gap, gap_edges)
        pick = self._uniform_over(cell, count)
        if hop.any():  # under a wrong instruction, say, there is nothing to balance
            np.add.at(self.hop_histogram, cell[pick] // self.settings.gap_bins, 1)
            np.add.at(self.gap_histogram, cell[pick] % self.settings.gap_bins, 1)
        return before[pick], after[pick]

    def _balanced_states(self, guess: np.ndarray, count: int) -> np.ndarray:
        """States, uniform over the occupied bins of potential."""
        return self._uniform_over((guess * self.settings.hop_bins).astype(np.int64), count)

    def _spread(self, guess: np.ndarray) -> np.ndarray:
        """Probabilities of an episode's frames: half even in time, half even over the occupied bins of potential."""
        _, inverse, size = np.unique(
            (guess * self.settings.hop_bins).astype(np.int64), return_inverse=True, return_counts=True
        )
        weight = 1.0 / size[inverse]
        return 0.5 * weight / weight.sum() + 0.5 / len(guess)

    def _uniform_over(self, cell: np.ndarray, count: int) -> np.ndarray:
        _, inverse, size = np.unique(cell, return_inverse=True, return_counts=True)
        weight = 1.0 / size[inverse]
        return self.rng.choice(len(cell), size=count, p=weight / weight.sum())

    def _bin(self, hop: np.ndarray) -> np.ndarray:
        bins = self.settings.hop_bins
        return np.clip(((np.asarray(hop) + 1) / 2 * bins).astype(np.int64), 0, bins - 1)

    def _count(self, kind: np.ndarray, **which: np.ndarray | bool) -> None:
        """which: a mark for each pair, or one for all of the visit's."""
        for k, name in enumerate(KINDS):
            self.counts[name] += int((kind == k).sum())
        for name, marked in which.items():
            self.counts[name] += int(np.broadcast_to(marked, kind.shape).sum())
        self.counts["total"] += len(kind)


def still_stretches(frames: Frames, count: int) -> Int64[np.ndarray, "Q"]:
    """A number for each of an episode's `count` frames: frames share it while no view departs from the first of them
    by more than `STILL`. Without views every frame has its own."""
    stretch, first = np.arange(count), 0
    for q in range(1, count if frames else 0):
        change = max(float(np.abs(f[q].astype(np.int16) - f[first]).mean()) for f in frames.values())
        first = first if change <= STILL else q
        stretch[q] = first
    return stretch
