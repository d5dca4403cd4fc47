"""EPIC distance of a method's shaped rewards to the oracle's, over the steps of whole episodes.

Potential shaping gives 0 for ANY potential: that figure tests the shaping and is blind to the reward model. Progress
differences without discount, and progress itself as a reward, are told apart by what the method says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from robo_reward.progress.bench import resampling
from robo_reward.progress.bench.distances import canonical_reward
from robo_reward.progress.models.oracle import oracle_of
from robo_reward.shaping import SCHEMES
from robo_reward.types import Episode

FORMS = ("shaped", "naive", "progress")
SAMPLES = 8
"""States of the canonical shaping. Few will do: these rewards are sums of a term of s and one of s', for which the
sampled expectation only adds a constant."""


@dataclass(frozen=True)
class Transitions:
    """All steps of some episodes over one pool of observations, and the oracle's canonical rewards there."""

    before: Int64[np.ndarray, "N"]
    after: Int64[np.ndarray, "N"]
    episode: Int64[np.ndarray, "N"]
    """Number of the episode that each step belongs to."""
    reward: Float[np.ndarray, "O"]
    """The task's reward for arriving at each observation."""
    terminal: Bool[np.ndarray, "O"]
    samples: Int64[np.ndarray, "M"]
    gamma: float
    oracle: dict[str, Float[np.ndarray, "N"]]


def transitions_of(episodes: Sequence[Episode], gamma: float, seed: int) -> Transitions:
    """The steps of these episodes, whose order the episode numbers follow. ValueError without oracle progress."""
    lengths = np.array([len(e) + 1 for e in episodes])
    last = np.cumsum(lengths) - 1
    after = np.setdiff1d(np.arange(lengths.sum()), last - lengths + 1)
    terminal = np.zeros(lengths.sum(), dtype=bool)
    terminal[last] = [e.terminated for e in episodes]
    steps = Transitions(
        before=after - 1,
        after=after,
        episode=np.repeat(np.arange(len(episodes)), lengths - 1),
        reward=np.concatenate([np.append(0.0, e.reward) for e in episodes]),
        terminal=terminal,
        samples=np.random.default_rng(seed).integers(lengths.sum(), size=SAMPLES),
        gamma=gamma,
        oracle={},
    )
    phi = np.concatenate([oracle_of(e) for e in episodes]).astype(float)
    steps.oracle.update({form: _canonical(form, phi, steps) for form in FORMS})
    return steps


def epic_to_oracle(
    form: str, values: Sequence[np.ndarray], episodes: Sequence[Episode], steps: Transitions, counts: np.ndarray
) -> Float[np.ndarray, "D"]:
    """EPIC distance in [0, 1] to the same reward made of the oracle's progress, in each draw of episodes.

    form: `shaped` (task + potential shaping), `naive` (task + progress differences) or `progress` (the value itself).
    values: (Q,) at each episode's query frames, held between them. counts: `resampling.draw_counts`.
    """
    held = [
        v[np.searchsorted(e.frame_steps, np.arange(len(e) + 1), side="right") - 1]
        for v, e in zip(values, episodes, strict=True)
    ]
    mine = _canonical(form, np.concatenate(held).astype(float), steps)
    return resampling.pearson_distance(counts, steps.episode, mine, steps.oracle[form])


def _canonical(form: str, phi: Float[np.ndarray, "O"], steps: Transitions) -> Float[np.ndarray, "N"]:
    # Nothing follows a terminal observation: as a start its potential is 0 in every form.
    onwards = np.where(steps.terminal, 0.0, phi)

    def reward(before: np.ndarray, _: np.ndarray, after: np.ndarray) -> np.ndarray:
        if form == "progress":
            return phi[after]
        pair, one = np.stack([onwards[before], phi[after]], axis=1), np.ones(len(after), dtype=np.int64)
        scheme = SCHEMES["potential" if form == "shaped" else "naive"]
        return np.asarray(scheme(steps.reward[after], pair, one, steps.terminal[after], gamma=steps.gamma))

    nothing = np.zeros(len(steps.samples))
    return canonical_reward(reward, (steps.before, steps.before, steps.after), (steps.samples, nothing), steps.gamma)
