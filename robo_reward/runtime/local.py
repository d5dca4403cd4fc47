"""runtime=local: actor and learner take turns in one process. Deterministic, and resumed exactly after any interrupt.

Same seed and settings, same numbers on the same machine; a run interrupted and continued equals one that was not,
because checkpoints are taken between episodes, when no simulator, tracker or chunk queue is in flight.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.config import AgentConfig, Config, TrainConfig
from robo_reward.evaluation.rollout import Actor
from robo_reward.evaluation.vector import Environments, Job, run_episodes, run_jobs
from robo_reward.interfaces import Policy
from robo_reward.learning.agents import AGENTS
from robo_reward.learning.replay import concatenate, whose_fault
from robo_reward.learning.residual_ppo import ResidualPPO
from robo_reward.learning.residual_td3 import ResidualTD3
from robo_reward.learning.weights import save_weights
from robo_reward.policies.chunks import looked
from robo_reward.policies.inputs import policy_input
from robo_reward.progress.segmentation import EventSignal
from robo_reward.runtime.believed import Judge
from robo_reward.runtime.checkpoint import Checkpoint
from robo_reward.runtime.corrections import Operators, session_summary
from robo_reward.runtime.demonstrations import check_demonstrations
from robo_reward.runtime.experience import Annotate, Experience
from robo_reward.runtime.exploration import Exploration, contact_signal
from robo_reward.runtime.observing import input_columns, with_base_actions
from robo_reward.runtime.tasks import first_seed, task_of
from robo_reward.shaping import SCHEMES, imitation_weights, ra_bc
from robo_reward.terminal import progress
from robo_reward.types import Episode


class ResidualRollout:
    """Base plus residual plus exploration, bound to one running episode; the base's state starts fresh.

    Evaluation keeps `agent.evaluation_noise`: like the dither of a search controller it frees a peg that a
    deterministic policy leaves stuck, and the critic was trained with it.
    """

    def __init__(
        self,
        base: Policy,
        agent: ResidualTD3,
        noise: float = 0.0,
        rng: np.random.Generator | None = None,
        deployed: bool = False,
        contact: EventSignal | None = None,
    ) -> None:
        self.base, self.agent, self.rng, self.deployed = base, agent, rng, deployed
        self.explore = None if rng is None else Exploration(agent.settings, noise, rng, contact)
        self.state, self.base_id = base.initial_state(1), base.policy_id
        self.first_state = self.state
        self.info: Mapping[str, Any] = {}

    def watch(self, info: Mapping[str, Any]) -> None:
        """Takes in what the environment says: a base that looks is shown it."""
        self.info = info

    def __call__(self, agent_pos: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        phase_BK = self.base.phase(self.state)
        state = looked(self.base, self.state, self.info)
        base_BA, self.state = self.base.act(agent_pos[None], estimate[None], state)
        base = np.concatenate([base_BA[0], phase_BK[0]]).astype(np.float32)
        inputs = policy_input(agent_pos, estimate, self.agent.columns)
        action = self.agent.act(inputs, base, deployed=self.deployed, rng=self.rng)
        return action if self.explore is None else self.explore(action, agent_pos), base

    def flush(self) -> None:
        """Drop what the base had planned: somebody else has moved the arm meanwhile."""
        self.state = self.first_state


@dataclass
class Progress:
    """Counters of a run; with the agent and the random state all that a checkpoint needs, the store has the rest."""

    rollouts: int = 0
    env_steps: int = 0
    updates: int = 0
    learn_s: float = 0.0
    past: list[list[Any]] = field(default_factory=list)
    """What `corrections.Operators` remembers of every rollout."""
    sequence: int = 0
    """Of the actor's next record in the store."""
    model_id: str | None = None
    """The reward model behind the potentials learned from so far."""
    curve: list[list[int]] = field(default_factory=list)
    """Rollouts, environment steps, successes and episodes of every evaluation."""


def train_residual(
    config: Config,
    env: Environments,
    base: Policy,
    demonstrations: list[Episode],
    annotate: Annotate,
    load_annotate: Callable[[str], Annotate],
    folder: Path,
    log: Callable[..., None],
    judge: Judge | None = None,
) -> dict[str, Any]:
    """Alternate a round of rollouts, one for each environment, and their learner updates; evaluate now and then.

    Everything lands in `folder` (store/, tracks/, checkpoints/, agent weights; curve as rows of `log`); called again on
    the same folder it goes on after the last finished round. Returns a flat summary with the learning curve.
    """
    check_demonstrations(demonstrations, (env.action_space.shape or (0,))[-1])
    settings, train = config.agent, config.train
    contact = contact_signal(settings, task_of(config.env).events, config.env.id)
    query_every = config.collect.query_every if needs_frames(config) else 0
    agent = new_agent(config, demonstrations, base)
    counters, rng = Progress(), np.random.default_rng(config.seed)
    checkpoint = Checkpoint(folder / "checkpoints", quiet=config.quiet)
    checkpoint.agent, checkpoint.counters, checkpoint.rng = agent, counters, rng
    with Experience(config, agent, folder, annotate, load_annotate, judge) as experience:
        experience.add_demonstrations(beside_base(demonstrations, base))
        loaded = checkpoint.load()
        stored = experience.restore(counters.sequence)
        if loaded:
            for _ in range(counters.rollouts + sum(row[3] for row in counters.curve)):
                base.initial_state(1)  # a scripted base draws every episode's style: pass over those that were used
        else:
            clone_demonstrations(experience, settings, rng)
        operators = Operators(config, env, counters.past, folder / "places")
        for rollouts in progress(*_rounds(counters.rollouts, config), "train", config.quiet):
            follow_reward(config, experience, counters, rng)
            jobs = [
                Job(
                    first_seed(config.seed, "online") + rollout,
                    "policy",
                    # Noise of its own for every rollout, so that it does not matter beside whom it runs.
                    operators.beside(
                        ResidualRollout(
                            base,
                            agent,
                            agent.exploration_noise,
                            np.random.default_rng([config.seed, rollout]),
                            contact=contact,
                        ),  # fmt: skip
                        rollout,
                        agent.action_size,
                    ),
                )
                for rollout in rollouts
            ]
            # Else it was a round of several environments, or one whose commands are asked for: it repeats itself.
            whole = len(stored) == len(rollouts) and operators.env is env
            episodes = stored if whole else list(run_jobs(operators.env, jobs, query_every=query_every))
            stored = []
            counters.sequence = experience.add(counters.sequence, episodes)
            for rollout, episode in zip(rollouts, episodes, strict=True):
                operators.saw(rollout, episode, experience.potential(episode.episode_id))
                numbers = learn_from(rollout, episode, config, experience, counters, rng)
                if counters.rollouts % train.evaluate_every == 0 or counters.rollouts == train.rollouts:
                    wins = evaluate_policy(env, partial(trained_actor, base, agent), train)
                    counters.curve.append([counters.rollouts, counters.env_steps, sum(wins), len(wins)])
                    numbers["success"] = float(np.mean(wins))
                log(counters.env_steps, rollout=rollout + 1, **numbers)
            checkpoint.save()
        return finish(config, experience, agent, counters, folder)


def clone_demonstrations(experience: Experience, settings: AgentConfig, rng: np.random.Generator) -> None:
    """What a new agent begins with: see `ResidualTD3.clone`."""
    batches = (experience.demonstrations.sample(settings.batch, rng) for _ in range(settings.cloning_updates))
    experience.agent.clone(batches)


def finish(
    config: Config, experience: Experience, agent: ResidualTD3, counters: Progress, folder: Path
) -> dict[str, Any]:
    """Write the trained weights; returns the flat summary with the learning curve."""
    session = session_summary(config, experience.store, counters.past)
    save_weights(folder / "agent", agent.state_dict(), {"rollouts": counters.rollouts})
    return {
        "rollouts": counters.rollouts,
        "env_steps": counters.env_steps,
        "updates": counters.updates,
        "updates_per_s": counters.updates / max(counters.learn_s, 1e-9),
        "curve": counters.curve,
        **session,
    }


def follow_reward(
    config: Config, experience: Experience, counters: Progress, rng: np.random.Generator,
    breathe: Callable[[str], None] = lambda busy: None,
) -> None:  # fmt: skip
    """Go over to a reward model that was proposed; the critics catch up, whose values were of another reward."""
    experience.swap_if_proposed()
    if counters.model_id not in (None, experience.model_id):
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
        updates, numbers = agent.learn_from(experience.recent) if due else (0, {})
    else:
        moves = rollout >= config.train.warmup_rollouts
        numbers = learn(agent, experience, updates, config.agent, rng, moves, breathe)
    counters.learn_s += time.monotonic() - started
    counters.rollouts, counters.updates = rollout + 1, counters.updates + updates
    counters.env_steps += len(episode)
    if episode.intervention is not None:
        numbers["intervention_rate"] = float(episode.intervention.mean())
    return numbers | {"train_success": float(episode.success), "episode_steps": len(episode)}


def _rounds(done: int, config: Config) -> tuple[list[range], int]:
    """The rollouts still to do, as many at once as there are environments, and how many rounds that makes.

    A round ends where an evaluation or the warm-up does, so that those come at the same rollouts however many
    environments there are.
    """
    train, rounds = config.train, []
    while done < train.rollouts:
        ends = [done + config.env.count, train.rollouts, (done // train.evaluate_every + 1) * train.evaluate_every]
        end = min(ends + [train.warmup_rollouts] * (done < train.warmup_rollouts))
        rounds.append(range(done, end))
        done = end
    return rounds, len(rounds)


def evaluate_policy(env: Environments, actors: Callable[[int], Actor], train: TrainConfig) -> list[bool]:
    """Successes on the learning curve's initial states."""
    seeds = range(train.evaluate_seed, train.evaluate_seed + train.evaluate_episodes)
    return [episode.success for episode in run_episodes(env, actors, seeds, source="policy")]


def trained_actor(base: Policy, agent: ResidualTD3, seed: int) -> ResidualRollout:
    """The policy as it is evaluated and deployed, for one episode; its dither is drawn from the episode's seed."""
    return ResidualRollout(base, agent, agent.settings.evaluation_noise, np.random.default_rng(seed), deployed=True)


def new_agent(config: Config, demonstrations: list[Episode], base: Policy) -> ResidualTD3:
    """An untrained agent whose inputs are standardised by the demonstrations."""
    columns = input_columns(config, demonstrations[0])
    inputs = np.concatenate([policy_input(e.agent_pos, e.perceived, columns) for e in demonstrations])
    return AGENTS[config.agent.kind](
        inputs.mean(0),
        inputs.std(0) + 1e-3,
        demonstrations[0].action.shape[1],
        config.agent,
        SCHEMES[config.shaping.kind],
        config.shaping.scale,
        config.seed,
        columns,
        phase_size=base.phase(base.initial_state(1)).shape[1],
    )


def beside_base(demonstrations: list[Episode], base: Policy) -> list[Episode]:
    """The demonstrations with the base's actions, those that have them left as they are."""
    return [e if e.base_id == base.policy_id else with_base_actions(e, base) for e in demonstrations]


def needs_frames(config: Config) -> bool:
    """Whether potential or task reward are read off camera frames: sparse and oracle rewards need none."""
    shaped = config.reward.kind != "oracle" and config.shaping.kind != "none"
    return shaped or config.train.task_reward == "completion"


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
    shares = (
        (experience.demonstrations, slice(0, shown)),
        (experience.warmup, slice(shown, anchored)),
        (experience.online, slice(anchored, settings.batch)),
    )
    parts = [(replay, rows) for replay, rows in shares if rows.start < rows.stop]
    for update in range(updates):
        breathe(f"learning: {update} of {updates} updates")
        batch = concatenate(*(replay.sample(rows.stop - rows.start, rng) for replay, rows in parts))
        if agent.shaping is ra_bc:
            weight_B = imitation_weights(batch.phi_BW, batch.length_B, batch.demonstration_B)
            batch = replace(batch, demonstration_B=batch.demonstration_B * weight_B)
        try:
            numbers = agent.update_critics(batch)
            if actor_moves and (update + 1) % settings.actor_every == 0:
                numbers |= agent.update_actor(batch)
        except FloatingPointError as error:
            raise ValueError(f"{whose_fault(batch)} ({error})") from error
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
