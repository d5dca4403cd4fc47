"""Seeded, balanced hop pairs over labelled episodes (Robo-Dopamine, arXiv 2512.23703, appendix B.3).

Pairs are drawn in visits: one episode, a few dozen ordered pairs of its frames, one reference demonstration. Frames are
addressed by index, so that a batch encodes each of them once. Beyond the paper: failed and stalled rollouts with
interval labels, wrong-instruction relabelling, and pairs that start at a reference, which is what a tracker asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from robo_reward.progress.hop import hop_from_potentials
from robo_reward.progress.labels import PotentialLabels
from robo_reward.types import Episode

KINDS = ("forward_in_time", "reversed", "zero", "anchored_start", "anchored_goal")


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
    """Visits that name another target than the one the episode went for: their progress is (bounded near) 0."""

    def __post_init__(self) -> None:
        for name in (
            "zero_share",
            "anchored_share",
            "swap_reference",
            "drop_view",
            "drop_reference",
            "wrong_instruction",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"pairs.{name}={getattr(self, name)} outside [0, 1]")
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
    """The true hop lies in [low, high]; an exact label has low == high."""
    kind_B: Int64[np.ndarray, "B"]
    """Index into KINDS."""
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
    instruction: int
    success: bool
    demonstration: bool


class PairSampler:
    """Draws batches of pairs from labelled episodes; the same seed gives the same batches.

    The frame pool is the episodes' query frames in order: episode e's first frame is at `offsets[e]`.
    Raises ValueError without a successful episode for some instruction that could serve as reference.
    """

    def __init__(
        self,
        episodes: Sequence[Episode],
        labels: Sequence[PotentialLabels],
        stages: int,
        settings: PairSettings,
        seed: int,
        weights: Sequence[float] | None = None,
    ) -> None:
        """weights: how often each episode is visited, default equally."""
        self.settings, self.stages = settings, stages
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
                    offset, q, label.low[q], label.high[q], label.phi[q], self.instructions.index(episode.instruction),
                    episode.success, episode.success and episode.source in ("expert", "human"),
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
        b, a, start, goal, text, low, high, kind = (np.concatenate(column) for column in zip(*visits, strict=True))
        return PairBatch(b, a, start, goal, text, low, high, kind, views)

    def statistics(self) -> dict[str, object]:
        """Counts of what was drawn so far, by kind and label, and the histogram over hop bins."""
        return {**dict(sorted(self.counts.items())), "hop_histogram": self.hop_histogram.tolist()}

    def _visit(self, pool: _Pool) -> tuple[np.ndarray, ...]:
        rng, cfg = self.rng, self.settings
        n = len(pool.steps)
        frames = np.sort(rng.choice(n, size=min(cfg.frames_per_visit, n), replace=False, p=self._spread(pool.guess)))
        low, high, guess, instruction = pool.low[frames], pool.high[frames], pool.guess[frames], pool.instruction
        wrong = len(self.instructions) > 1 and rng.random() < cfg.wrong_instruction
        if wrong:
            instruction = int(rng.choice([i for i in range(len(self.instructions)) if i != pool.instruction]))
            # Before the episode's first stage it may be near either target; from then on it is at the wrong one.
            high = np.where(guess < 1 / self.stages, guess, 0.0).astype(np.float32)
            low, guess = np.zeros_like(low), np.zeros_like(guess)
        own = pool.success and not wrong and rng.random() >= cfg.swap_reference
        demo = pool if own else self._demos[instruction][rng.integers(len(self._demos[instruction]))]
        start, goal = demo.offset, demo.offset + len(demo.steps) - 1

        n_anchor, n_zero = (int(round(s * cfg.pairs_per_visit)) for s in (cfg.anchored_share, cfg.zero_share))
        before, after = self._balanced(guess, pool.steps[frames], cfg.pairs_per_visit - n_anchor - n_zero)
        same = rng.integers(len(guess), size=n_zero)
        anchored = self._balanced_states(guess, n_anchor)
        at_goal = np.arange(n_anchor) % 2 == 1
        at = pool.offset + frames
        b = np.concatenate([at[before], at[same], np.where(at_goal, goal, start)])
        a = np.concatenate([at[after], at[same], at[anchored]])
        anchor = at_goal.astype(np.float32)  # the references' own potentials are exact: 0 and 1
        before_low, before_high = (np.concatenate([x[before], x[same], anchor]) for x in (low, high))
        after_low, after_high = (np.concatenate([x[after], x[same], x[anchored]]) for x in (low, high))
        kind = np.concatenate([(after < before).astype(np.int64), np.full(n_zero, 2), 3 + at_goal.astype(np.int64)])
        hop_low = np.where(kind == 2, 0.0, hop_from_potentials(before_high, after_low)).astype(np.float32)
        hop_high = np.where(kind == 2, 0.0, hop_from_potentials(before_low, after_high)).astype(np.float32)
        n = len(b)
        starts, goals = np.full(n, start), np.full(n, goal)
        free = kind < 3  # an anchored pair keeps its references: the question is about them
        starts[free & (rng.random(n) < cfg.drop_reference)] = -1
        goals[free & (rng.random(n) < cfg.drop_reference)] = -1
        self._count(kind, hop_low, hop_high, wrong, own, pool)
        return b, a, starts, goals, np.full(n, instruction), hop_low, hop_high, kind

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

    def _count(self, kind: np.ndarray, low: np.ndarray, high: np.ndarray, wrong: bool, own: bool, pool: _Pool) -> None:
        for k, name in enumerate(KINDS):
            self.counts[name] += int((kind == k).sum())
        self.counts["interval_label"] += int((low < high).sum())
        self.counts["wrong_instruction"] += len(kind) * wrong
        self.counts["own_reference"] += len(kind) * own
        self.counts["failed_episode"] += len(kind) * (not pool.success)
        # A pair of a success that ends before its last stage, judged against a foreign goal: the run cut short.
        self.counts["truncated_success"] += len(kind) * (pool.success and not own and not wrong)
        self.counts["total"] += len(kind)
        np.add.at(self.hop_histogram, self._bin((low + high) / 2), 1)
