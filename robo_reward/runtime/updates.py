"""What an online episode brings the learner: how many updates, on which batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from robo_reward.config import AgentConfig, Config
from robo_reward.learning.replay import DIVERGED, concatenate, whose_fault
from robo_reward.learning.residual_ppo import ResidualPPO
from robo_reward.learning.residual_td3 import ResidualTD3
from robo_reward.runtime.experience import Experience
from robo_reward.shaping import imitation_weights, ra_bc
from robo_reward.types import Episode

AT_ONCE = 16
"""Updates whose windows are drawn together: a few large draws cost less than many small ones."""


@dataclass
class Progress:
    """Counters of a run; with the agent, the random state and the windows' priorities all that a checkpoint needs, the
    store has the rest."""

    rollouts: int = 0
    env_steps: int = 0
    updates: int = 0
    owed: int = 0
    """Updates that were due while no online episode was annotated."""
    learn_s: float = 0.0
    past: list[list[Any]] = field(default_factory=list)
    """What `corrections.Operators` remembers of every rollout."""
    sequence: int = 0
    """Of the actor's next record in the store."""
    model_id: str | None = None
    """The reward model behind the potentials learned from so far."""
    curve: list[list[int]] = field(default_factory=list)
    """Rollouts, environment steps, successes and episodes of every evaluation."""


def follow_reward(
    config: Config, experience: Experience, counters: Progress, rng: np.random.Generator,
    breathe: Callable[[str], None] = lambda busy: None,
) -> None:  # fmt: skip
    """Go over to a reward model that was proposed; the critics catch up, whose values were of another reward. Ask again
    about episodes that wait for their annotation."""
    experience.swap_if_proposed()
    experience.catch_up()
    if counters.model_id not in (None, experience.model_id) and experience.online.transitions:
        learn(experience.agent, experience, config.train.warmup_updates, config.agent, rng, False, breathe)
    counters.model_id = experience.model_id


def learn_from(
    rollout: int, episode: Episode, config: Config, experience: Experience, counters: Progress,
    rng: np.random.Generator, breathe: Callable[[str], None] = lambda busy: None,
) -> dict[str, float]:  # fmt: skip
    """The updates that an online episode brings, counted; returns the numbers to log."""
    agent, updates, started = experience.agent, updates_due(rollout, len(episode), config), time.monotonic()
    if isinstance(agent, ResidualPPO):
        due = (rollout + 1) % config.agent.on_policy_rollouts == 0
        try:
            updates, numbers = agent.learn_from(experience.recent) if due else (0, {})
        except FloatingPointError as error:
            raise ValueError(f"{DIVERGED} ({error})") from error
    else:
        updates, counters.owed = updates + counters.owed, 0
        if not experience.online.transitions:
            updates, counters.owed = 0, updates
        moves = rollout >= config.train.warmup_rollouts
        numbers = learn(agent, experience, updates, config.agent, rng, moves, breathe)
    counters.learn_s += time.monotonic() - started
    counters.rollouts, counters.updates = rollout + 1, counters.updates + updates
    counters.env_steps += len(episode)
    if episode.intervention is not None:
        numbers["intervention_rate"] = float(episode.intervention.mean())
    return numbers | {"train_success": float(episode.success), "episode_steps": len(episode)}


def learn(
    agent: ResidualTD3,
    experience: Experience,
    updates: int,
    settings: AgentConfig,
    rng: np.random.Generator,
    actor_moves: bool = True,
    breathe: Callable[[str], None] = lambda busy: None,
) -> dict[str, float]:
    """`updates` critic steps on demonstrations and online windows; the actor moves once per `actor_every` of them.

    `breathe` is called before each of them and told how far it is.
    """
    means: dict[str, list[float]] = {}
    shown = round(settings.batch * settings.demonstration_share)
    anchored = shown + round((settings.batch - shown) * settings.anchor_share)
    warmup = experience.warmup if experience.warmup.transitions else experience.online
    shares = (
        (experience.demonstrations, slice(0, shown)),
        (warmup, slice(shown, anchored)),
        (experience.online, slice(anchored, settings.batch)),
    )
    parts = [(replay, rows) for replay, rows in shares if rows.start < rows.stop]
    most = 1 if settings.priority > 0 or agent.eyes else AT_ONCE
    for update in range(updates):
        breathe(f"learning: {update} of {updates} updates")
        if (turn := update % most) == 0:
            at_once = min(most, updates - update)
            drawn = [replay.sample(at_once * (rows.stop - rows.start), rng) for replay, rows in parts]
            batch = concatenate(*drawn, updates=at_once)
            if agent.shaping is ra_bc:
                weight_B = imitation_weights(batch.phi_BW, batch.length_B, batch.demonstration_B)
                batch = replace(batch, demonstration_B=batch.demonstration_B * weight_B)
            windows = agent.windows(batch)
        own = windows.rows(slice(turn * settings.batch, (turn + 1) * settings.batch))
        try:
            numbers = agent.update_critics(own)
            if actor_moves and (update + 1) % settings.actor_every == 0:
                numbers |= agent.update_actor(own)
        except FloatingPointError as error:
            raise ValueError(f"{whose_fault(batch)} ({error})") from error
        if settings.priority > 0:
            for replay, rows in parts:
                replay.prioritise(batch.place_B[rows], agent.error_B[rows])
        for key, value in numbers.items():
            means.setdefault(key, []).append(value)
    return {key: float(np.mean(values)) for key, values in means.items()}


def updates_due(rollout: int, steps: int, config: Config) -> int:
    """None during warm-up, all that were saved up (critic only) at its end, then so many for every step."""
    if rollout + 1 < config.train.warmup_rollouts:
        return 0
    if rollout + 1 == config.train.warmup_rollouts:
        return config.train.warmup_updates
    first, last = config.agent.updates_per_step, config.agent.last_updates_per_step
    passed = rollout / max(config.train.rollouts - 1, 1)
    return round(steps * (first if last is None else first + passed * (last - first)))
