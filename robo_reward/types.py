"""Data that crosses a room's boundary: frozen, shapes in the annotation, checked at the edges.

Shape letters: T actions of an episode (so T+1 observations), Q query frames, N pooled frames, B batch, A action,
P proprioception, E estimate, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

Frames = Mapping[str, UInt8[np.ndarray, "N H W 3"]]
"""View name -> RGB frames; all views hold the same number of frames."""

UNKNOWN_STAGE = -1
"""`Episode.stage` of an episode whose stages nobody told."""


@dataclass(frozen=True)
class HopQuery:
    """B questions "how far did `after` move from `before`?" over one pool of N frames.

    Frames are pooled and addressed by index because the three perspectives share them: a backend encodes each
    frame once, however many hops ask for it.
    """

    frames: Frames
    before_B: Int64[np.ndarray, "B"]
    after_B: Int64[np.ndarray, "B"]
    reference_start_B: Int64[np.ndarray, "B"]
    reference_goal_B: Int64[np.ndarray, "B"]
    instruction_B: tuple[str, ...]
    keys_N: tuple[Hashable, ...] | None = None
    """What tells the pooled frames apart, for a backend that remembers: equal keys, equal pixels. None: the pixels."""

    def __len__(self) -> int:
        return len(self.before_B)


@dataclass(frozen=True)
class HopEstimate:
    """Answers to a `HopQuery`. A missing answer is `valid=False`, never a hop of 0."""

    hop_B: Float32[np.ndarray, "B"]
    """Relative progress in [-1, 1]."""
    confidence_B: Float32[np.ndarray, "B"]
    """In [0, 1]; 1 is certain."""
    valid_B: Bool[np.ndarray, "B"]


@dataclass(frozen=True)
class Progress:
    """A tracker's state after one query: every value in [0, 1]."""

    phi: float
    completed: bool
    confidence: float
    incremental: float
    forward: float
    backward: float
    answered: bool = True
    """Whether this query had any answer; without one the values are held, and the confidence is 0."""


@dataclass(frozen=True)
class PhiTrack:
    """The potential of every step of one episode under ONE reward model (held between queries)."""

    model_id: str
    phi: Float32[np.ndarray, "T+1"]
    confidence: Float32[np.ndarray, "T+1"]


@dataclass(frozen=True)
class Episode:
    """One contiguous episode: T executed actions and the T+1 observations around them.

    `stage` and `success` are what a lab can label; `oracle` is the simulator's own progress, kept for evaluation
    and never read by the default reward or a policy. Data of other projects has neither stages nor an oracle.
    """

    episode_id: str
    instruction: str
    source: str
    """Who acted: expert, weak, base, policy, human."""
    seed: int
    agent_pos: Float32[np.ndarray, "T+1 P"]
    estimate: Float32[np.ndarray, "T+1 E"]
    action: Float32[np.ndarray, "T A"]
    """The action that was executed, in [-1, 1] action units."""
    reward: Float32[np.ndarray, "T"]
    stage: Int64[np.ndarray, "T+1"]
    """Stages reached by each observation, 0 to N; `UNKNOWN_STAGE` throughout where nobody told them."""
    oracle: Float32[np.ndarray, "T+1"] | None
    """The simulator's own progress in [0, 1]; None where there is no simulator."""
    terminated: bool
    truncated: bool
    success: bool
    frame_steps: Int64[np.ndarray, "Q"]
    """Observation index of each stored query frame, increasing; the first is 0, the last T."""
    frames: Frames = field(repr=False)
    base_action: Float32[np.ndarray, "T+1 A"] | None = None
    """The base policy's action at every observation, the final one included."""
    base_phase: Float32[np.ndarray, "T+1 K"] | None = None
    """What a learner must know of the base's memory, such as the step of its chunk (`Policy.phase`)."""
    base_id: str | None = None
    """The `policy_id` behind `base_action`: another base makes those actions stale."""
    human_action: Float32[np.ndarray, "T A"] | None = None
    """What the operator asked for; zero where nobody intervened."""
    intervention: Bool[np.ndarray, "T"] | None = None
    """Steps at which the operator's action replaced the policy's."""
    gated: Bool[np.ndarray, "T"] | None = None
    """Steps at which the safety gate cut the action."""
    features: Float32[np.ndarray, "T+1 F"] | None = None
    """A frozen encoder's view of every observation, kept so that nobody encodes twice."""

    def __len__(self) -> int:
        return len(self.action)

    @property
    def perceived(self) -> Float32[np.ndarray, "T+1 E+F"]:
        """What a policy is given beside agent_pos: the estimate, then the features where there are any."""
        return self.estimate if self.features is None else np.concatenate([self.estimate, self.features], axis=1)

    def validate(self) -> Episode:
        """Return self, or raise ValueError naming the first field whose shape, dtype or values are wrong."""
        steps = len(self.action)
        lengths = {
            "action": (self.action, steps),
            "agent_pos": (self.agent_pos, steps + 1),
            "estimate": (self.estimate, steps + 1),
            "reward": (self.reward, steps),
            "stage": (self.stage, steps + 1),
        }
        optional = dict.fromkeys(("oracle", "base_action", "base_phase", "features"), 1)
        optional |= dict.fromkeys(("human_action", "intervention", "gated"), 0)
        for name, extra in optional.items():
            if getattr(self, name) is not None:
                lengths[name] = (getattr(self, name), steps + extra)
        for name, (array, length) in lengths.items():
            if len(array) != length:
                raise ValueError(f"episode {self.episode_id}: {name} has {len(array)} rows, expected {length}")
            if not np.isfinite(array).all():
                raise ValueError(f"episode {self.episode_id}: {name} holds a non-finite value: remove the episode")
        if steps == 0:
            raise ValueError(f"episode {self.episode_id}: has no actions")
        if (reach := np.abs(self.action).max()) > 1 + 1e-5:
            raise ValueError(
                f"episode {self.episode_id}: actions reach {reach:.4g}, allowed is [-1, 1]: divide them by the largest "
                "step that the robot takes"
            )
        if self.terminated and self.truncated:
            raise ValueError(f"episode {self.episode_id}: both terminated and truncated")
        steps_q = self.frame_steps
        if len(steps_q) and (np.any(np.diff(steps_q) <= 0) or steps_q[0] < 0 or steps_q[-1] > steps):
            raise ValueError(f"episode {self.episode_id}: frame_steps must increase within [0, {steps}]")
        for view, frames in self.frames.items():
            if frames.dtype != np.uint8 or frames.ndim != 4 or len(frames) != len(steps_q):
                raise ValueError(
                    f"episode {self.episode_id}: view {view} has shape {frames.shape} {frames.dtype}, "
                    f"expected ({len(steps_q)}, H, W, 3) uint8"
                )
        return self
