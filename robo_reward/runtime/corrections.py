"""The operator of a training run: the task's own scripted expert beside the learner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robo_reward.config import Config
from robo_reward.data.store import TransitionStore
from robo_reward.evaluation.rollout import Actor
from robo_reward.hil.arbitration import Arbiter
from robo_reward.hil.corrected import CorrectedActor
from robo_reward.hil.operator import SimulatedOperator
from robo_reward.hil.session import summarise_session
from robo_reward.runtime.experience import ONLINE
from robo_reward.runtime.tasks import first_seed, scripted, task_of

if TYPE_CHECKING:
    from robo_reward.runtime.local import ResidualRollout

_OPERATOR = 1
"""Keeps the operator's random numbers apart from the exploration noise of the same rollout."""


def corrected(config: Config, act: ResidualRollout, rollout: int, size: int, spent: int) -> Actor:
    """The actor with the operator of `hil` beside it; the actor itself where there is none.

    Everything about the operator is drawn from the run's seed and the rollout's number, so that a resumed run meets the
    same one.

    Args:
        act: the policy, bound to this rollout.
        rollout: number of the online episode.
        size: of the action.
        spent: steps that the operator has driven in the run so far.
    """
    if config.hil.kind == "none":
        return act
    fps, seed = task_of(config.env).fps, first_seed(config.seed, "online") + rollout
    operator = SimulatedOperator(
        config.hil,
        scripted(config.env, "expert", seed),
        scripted(config.env, "weak", seed),
        np.random.default_rng([config.seed, rollout, _OPERATOR]),
        fps=fps,
        size=size,
        budget=round(config.hil.budget_minutes * 60 * fps) - spent,
    )
    arbiter = Arbiter(size, blend_steps=config.hil.blend_steps, clock=lambda: operator.time_s)
    return CorrectedActor(act, operator, arbiter)


def session_summary(config: Config, store: TransitionStore) -> dict[str, float | None]:
    """`summarise_session` over the run's online episodes."""
    episodes = (store.read(e.episode_id, frames=False) for e in store.episodes() if e.actor == ONLINE)
    return summarise_session(episodes, task_of(config.env).fps, config.agent.residual_scale)
