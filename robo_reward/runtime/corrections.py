"""The operator of a training run: the task's own scripted expert beside the learner, called as `hil.protocol` says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from robo_reward.config import Config, HilConfig
from robo_reward.data.store import TransitionStore
from robo_reward.evaluation.rollout import Actor
from robo_reward.evaluation.vector import Environments
from robo_reward.hil.arbitration import Arbiter
from robo_reward.hil.corrected import CorrectedActor
from robo_reward.hil.operator import SimulatedOperator
from robo_reward.hil.places import Place, Returning, load_places, propose, save_place
from robo_reward.hil.schedule import DEMONSTRATE, FREE, GRADES, GUIDE, Past, schedule
from robo_reward.hil.session import summarise_session
from robo_reward.runtime.experience import ONLINE
from robo_reward.runtime.tasks import first_seed, scripted, task_of
from robo_reward.types import Episode

if TYPE_CHECKING:
    from robo_reward.runtime.acting import ResidualRollout

_OPERATOR = 1
"""Keeps the operator's random numbers apart from the exploration noise of the same rollout."""


class Operators:
    """The operator of a run, rollout by rollout; nobody where `hil` is none.

    Everything about it follows from the run's seed, the rollout's number and what happened before, so that a resumed
    run meets the same one.

    Args:
        env: of the rollouts; the protocol's own comes back as `env`.
        past: rows [grade, place or -1, success, steps driven] of the rollouts so far; `saw` adds to it.
        folder: of the places.
    """

    def __init__(self, config: Config, env: Environments, past: list[list[Any]], folder: Path) -> None:
        self.config, self.env, self.past, self.folder = config, env, past, folder
        self._attended = config.hil.kind == "simulated"
        self._planned = self._attended and config.hil.protocol != "takeovers"
        if self._planned:
            assert isinstance(env, gymnasium.Env)
            self.env = Returning(env)

    def beside(self, act: ResidualRollout, rollout: int, size: int) -> Actor:
        """The actor with the operator beside it, who follows the schedule; the actor itself where there is none.

        Args:
            act: the policy, bound to this rollout.
            rollout: number of the online episode, the one after `past`.
            size: of the action.
        """
        if not self._attended:
            return act
        hil, fps, seed = self.config.hil, task_of(self.config.env).fps, self._seed(rollout)
        budget = round(hil.budget_minutes * 60 * fps) - sum(row[3] for row in self.past)
        self._next: tuple[str, Place | None] = "", None
        if self._planned:
            places = load_places(self.folder, rollout)
            self._next = grade, place = schedule(hil, [Past(*row[:3]) for row in self.past], places, budget / fps / 60)
            self.env.begin = {} if place is None else {seed: place}  # type: ignore[union-attr]
            hil = _drives(hil, grade)
        operator = SimulatedOperator(
            hil,
            scripted(self.config.env, "expert", seed),
            scripted(self.config.env, "weak", seed),
            np.random.default_rng([self.config.seed, rollout, _OPERATOR]),
            fps=fps,
            size=size,
            budget=budget,
        )
        arbiter = Arbiter(size, blend_steps=hil.blend_steps, clock=lambda: operator.time_s)
        return CorrectedActor(act, operator, arbiter)

    def saw(self, rollout: int, episode: Episode, phi: np.ndarray | None) -> None:
        """Remember what became of the rollout, and the place that it got stuck in.

        Args:
            phi: potential of its observations, (T+1,); None if nobody has annotated it yet, so that no place is found.
        """
        if not self._attended:
            return
        grade, began = self._next
        driven = 0 if episode.intervention is None else int(episode.intervention.sum())
        self.past.append([grade, -1 if began is None else began.number, bool(episode.success), driven])
        if phi is not None and isinstance(self.env, Returning) and grade == FREE:
            patience = round(self.config.hil.patience_s * task_of(self.config.env).fps)
            place = propose(self.env, rollout, episode, phi, patience)
            if place is not None:
                save_place(self.folder, place, episode)

    def _seed(self, rollout: int) -> int:
        return first_seed(self.config.seed, "online") + rollout


def _drives(hil: HilConfig, grade: str) -> HilConfig:
    """An operator who drives to the end, from the first step after the released dead-man was seen; or not at all."""
    if grade in (DEMONSTRATE, GUIDE):
        return replace(hil, attention=1.0, late_s=1e-6, reaction_s=0.0, gain=1.0)
    return replace(hil, attention=0.0)


def session_summary(config: Config, store: TransitionStore, past: list[list[Any]]) -> dict[str, float | None]:
    """`summarise_session` over the run's online episodes, and how many there were of each grade; empty without `hil`.

    Args:
        past: see `Operators`.
    """
    if config.hil.kind == "none":
        return {}
    episodes = (store.read(e.episode_id, frames=False) for e in store.episodes() if e.actor == ONLINE)
    figures = summarise_session(episodes, task_of(config.env).fps, config.agent.residual_scale)
    planned, grades = config.hil.protocol != "takeovers", [row[0] for row in past]
    return figures | {f"hil_rollouts_{grade}": grades.count(grade) for grade in GRADES if planned}
