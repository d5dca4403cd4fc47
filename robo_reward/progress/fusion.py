"""One potential out of three perspectives: incremental, forward (from the start) and backward (from the goal).

Source: Robo-Dopamine (arXiv 2512.23703) eq 4-11. Mended here: forward and backward are clamped to [0, 1]; the
disagreement is not divided by a vanishing mean; a disagreement never freezes the increment; the start value comes from
forward and backward; a goal that looks like the start leans on the increment.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from robo_reward.progress.hop import apply_hop


@dataclass(frozen=True)
class Perspectives:
    """What the three questions said at one time; None is "no answer". Standard deviations in units of hop."""

    hop: float | None
    """Previous to current frame, in [-1, 1]."""
    forward: float | None
    """Hop from the reference start, in [-1, 1]."""
    backward: float | None
    """Hop from the reference goal, in [-1, 1]."""
    hop_std: float = 0.1
    forward_std: float = 0.1
    backward_std: float = 0.1
    goal_like_start: bool = False
    differences: bool = False
    """Whether `hop` is a plain difference of potential; from a reference (potential 0 or 1) the two are the same."""


@dataclass(frozen=True)
class FusionState:
    """The running estimate: potential in [0, 1] and its variance (used by the Kalman rule)."""

    phi: float
    variance: float


Fusion = Callable[[FusionState, Perspectives], FusionState]


def forward_value(p: Perspectives) -> float | None:
    """F = hop from the start, clamped to [0, 1]."""
    return None if p.forward is None else min(max(p.forward, 0.0), 1.0)


def backward_value(p: Perspectives) -> float | None:
    """B = 1 + hop from the goal, clamped to [0, 1]."""
    return None if p.backward is None else min(max(1.0 + p.backward, 0.0), 1.0)


def incremental_value(phi: float, p: Perspectives) -> float | None:
    """I = the previous potential moved by the hop, or the difference, since."""
    if p.hop is None:
        return None
    return min(max(phi + p.hop, 0.0), 1.0) if p.differences else float(apply_hop(phi, p.hop))


def initial_state(p: Perspectives, rule: str = "kalman") -> FusionState | None:
    """Phi_0 from forward and backward (an episode may start mid-task); None when neither answered.

    It is the value at which the rule stays while nothing moves: a scene that is still from the start has no drift.
    """
    alone = {"forward": forward_value(p), "backward": backward_value(p)}.get(rule)
    if alone is not None or p.goal_like_start:
        return FusionState(alone or 0.0, p.forward_std**2)
    pairs = [
        (v, s**2) for v, s in ((forward_value(p), p.forward_std), (backward_value(p), p.backward_std)) if v is not None
    ]
    if not pairs:
        return None
    even = rule in ("average", "consistency")
    weights = [1.0 if even else 1 / (s + _MODEL_ERROR**2) for _, s in pairs]
    phi = sum(w * v for w, (v, _) in zip(weights, pairs, strict=True)) / sum(weights)
    # Both look at the same frame, so agreeing does not halve the variance.
    return FusionState(phi, min(s for _, s in pairs))


def average(state: FusionState, p: Perspectives) -> FusionState:
    """Mean of the perspectives that answered (eq 7)."""
    values = [incremental_value(state.phi, p)]
    if not p.goal_like_start:
        values += [forward_value(p), backward_value(p)]
    answered = [v for v in values if v is not None]
    return FusionState(sum(answered) / len(answered), state.variance) if answered else state


def consistency(state: FusionState, p: Perspectives) -> FusionState:
    """The paper's consistency-weighted rule (eq 8-11), mended.

    Pbar = (F + B)/2 is trusted with w = exp(-20 D^2), D = |B - F| / max(Pbar, 1/2); the increment always counts:
    phi' = I + (w/2)(Pbar - I).
    """
    f, b, i = forward_value(p), backward_value(p), incremental_value(state.phi, p)
    base = state.phi if i is None else i
    if f is None or b is None or p.goal_like_start:
        return FusionState(base, state.variance)
    mean = (f + b) / 2
    weight = math.exp(-20.0 * ((b - f) / max(mean, 0.5)) ** 2)
    return FusionState(base + weight / 2 * (mean - base), state.variance)


_LEAST_VARIANCE = 1e-4
_MODEL_ERROR = 0.05
"""Standard deviation that a perspective keeps however sure it says it is: errors repeat from frame to frame, and
without this floor the filter would stop listening to the references."""


def kalman(state: FusionState, p: Perspectives) -> FusionState:
    """Scalar Kalman update: predict with the increment, correct with forward and backward by their own variances.

    The increment carries (1 - h)^2 P for h >= 0, else (1 + h)^2 P, plus its noise scaled like the hop itself; a plain
    difference carries P and its own noise.
    """
    phi, variance = state.phi, state.variance
    moved = incremental_value(phi, p)
    if moved is None or p.hop is None:
        variance += 0.25  # nothing links this frame to the last one
    else:
        room, kept = (1.0, 1.0) if p.differences else (1 - phi if p.hop >= 0 else phi, 1 - abs(p.hop))
        variance = kept**2 * variance + room**2 * p.hop_std**2 + 0.25 * _MODEL_ERROR**2
        phi = moved
    if not p.goal_like_start:
        for value, std in ((forward_value(p), p.forward_std), (backward_value(p), p.backward_std)):
            if value is not None:
                # Twice the variance: forward and backward read the same frame, their errors are not independent.
                gain = variance / (variance + 2 * (std**2 + _MODEL_ERROR**2))
                phi, variance = phi + gain * (value - phi), (1 - gain) * variance
    return FusionState(min(max(phi, 0.0), 1.0), max(variance, _LEAST_VARIANCE))


def incremental(state: FusionState, p: Perspectives) -> FusionState:
    """The increment alone: what one perspective is worth. The start still comes from forward and backward."""
    return _only(state, incremental_value(state.phi, p))


def forward(state: FusionState, p: Perspectives) -> FusionState:
    """The hop from the start alone."""
    return _only(state, forward_value(p))


def backward(state: FusionState, p: Perspectives) -> FusionState:
    """The hop from the goal alone."""
    return _only(state, backward_value(p))


def _only(state: FusionState, value: float | None) -> FusionState:
    return state if value is None else FusionState(value, state.variance)


FUSIONS: dict[str, Fusion] = {
    rule.__name__: rule for rule in (average, consistency, kalman, incremental, forward, backward)
}


def fusion(name: str) -> Fusion:
    """The rule of that name. Raises ValueError with the known names."""
    if name not in FUSIONS:
        raise ValueError(f"unknown fusion {name!r}; known: {', '.join(sorted(FUSIONS))}")
    return FUSIONS[name]
