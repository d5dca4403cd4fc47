"""runtime=local: actor and learner take turns in one process. Deterministic, and resumed exactly after any interrupt.

Same seed and settings, same numbers on the same machine; a run interrupted and continued equals one that was not,
because checkpoints are taken between episodes, when no simulator, tracker or chunk queue is in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.config import AgentConfig, Config, TrainConfig
from robo_reward.evaluation.rollout import Actor
from robo_reward.evaluation.vector import Environments, Job, run_episodes, run_jobs
from robo_reward.interfaces import Policy
from robo_reward.learning.agents import AGENTS
from robo_reward.learning.residual_td3 import ResidualTD3
from robo_reward.learning.weights import save_weights
from robo_reward.policies.inputs import policy_input
from robo_reward.runtime.acting import ResidualRollout, trained_actor
from robo_reward.runtime.believed import Judge
from robo_reward.runtime.checkpoint import Checkpoint
from robo_reward.runtime.corrections import Operators, session_summary
from robo_reward.runtime.experience import Annotate, Experience
from robo_reward.runtime.exploration import contact_signal
from robo_reward.runtime.observing import eyes_of, learner_columns, with_base_actions
from robo_reward.runtime.tasks import first_seed, task_of
from robo_reward.runtime.updates import Progress, follow_reward, learn_from
from robo_reward.shaping import SCHEMES
from robo_reward.terminal import progress
from robo_reward.types import Episode


@dataclass(frozen=True)
class Taught:
    """What a learner starts with, whatever process it runs in."""

    env: Environments | None
    """For evaluations; None where the only world is an actor's robot."""
    base: Policy
    demonstrations: list[Episode]
    annotate: Annotate
    load_annotate: Callable[[str], Annotate]
    judge: Judge | None
    files: Mapping[str, Path]
    """Name -> folder of what a process elsewhere loads base policy and encoder from."""


@dataclass
class Learner:
    """What learns: the agent with its counters, random state and experience, saved by its checkpoint."""

    config: Config
    base: Policy
    agent: ResidualTD3
    counters: Progress
    rng: np.random.Generator
    experience: Experience
    checkpoint: Checkpoint
    log: Callable[..., None]
    loaded: bool
    """Whether it goes on after a checkpoint."""
    stored: list[Episode]
    """Online episodes that came after that checkpoint."""

    def follow_reward(self) -> None:
        """See `updates.follow_reward`; to be called between two rollouts."""
        follow_reward(self.config, self.experience, self.counters, self.rng)

    def learn(self, rollout: int, episode: Episode, env: Environments | None) -> None:
        """Learn from an episode that experience has taken in; now and then evaluate, where there is a world; log."""
        train, counters = self.config.train, self.counters
        numbers = learn_from(rollout, episode, self.config, self.experience, counters, self.rng)
        due = counters.rollouts % train.evaluate_every == 0 or counters.rollouts == train.rollouts
        if due and env is not None:
            wins = evaluate_policy(env, partial(trained_actor, self.base, self.agent), train)
            counters.curve.append([counters.rollouts, counters.env_steps, sum(wins), len(wins)])
            numbers["success"] = float(np.mean(wins))
        self.log(counters.env_steps, rollout=rollout + 1, **numbers)

    def finish(self, folder: Path) -> dict[str, Any]:
        """Write the trained weights; returns the flat summary with the learning curve."""
        return finish(self.config, self.experience, self.agent, self.counters, folder)


@contextmanager
def open_learner(
    config: Config,
    base: Policy,
    demonstrations: list[Episode],
    annotate: Annotate,
    load_annotate: Callable[[str], Annotate],
    folder: Path,
    log: Callable[..., None],
    judge: Judge | None = None,
) -> Iterator[Learner]:
    """The learner of this folder, new or as its last checkpoint left it, its replays filled."""
    agent = new_agent(config, demonstrations, base)
    counters, rng = Progress(), np.random.default_rng(config.seed)
    checkpoint = Checkpoint(folder / "checkpoints", quiet=config.quiet)
    checkpoint.agent, checkpoint.counters, checkpoint.rng = agent, counters, rng
    with Experience(config, agent, folder, annotate, load_annotate, judge) as experience:
        experience.add_demonstrations(beside_base(demonstrations, base))
        if config.agent.priority:
            checkpoint.experience = experience
        loaded = checkpoint.load()
        stored = experience.restore(counters.rollouts)
        if not loaded:
            clone_demonstrations(experience, config.agent, rng)
        yield Learner(config, base, agent, counters, rng, experience, checkpoint, log, loaded, stored)


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
    query_every = frames_every(config)
    with open_learner(config, base, demonstrations, annotate, load_annotate, folder, log, judge) as learner:
        counters, experience, stored = learner.counters, learner.experience, learner.stored
        if learner.loaded:
            for _ in range(counters.rollouts + sum(row[3] for row in counters.curve)):
                base.initial_state(1)  # a scripted base draws every episode's style: pass over those that were used
        operators = Operators(config, env, counters.past, folder / "places")
        for rollouts in progress(*_rounds(counters.rollouts, config), "train", config.quiet):
            learner.follow_reward()
            jobs = [
                Job(
                    first_seed(config.seed, "online") + rollout,
                    "policy",
                    operators.beside(exploring_actor(config, base, learner.agent, rollout), rollout,
                                     learner.agent.action_size),
                )
                for rollout in rollouts
            ]  # fmt: skip
            # Else it was a round of several environments, or one whose commands are asked for: it repeats itself.
            whole = len(stored) == len(rollouts) and operators.env is env
            episodes = stored if whole else list(run_jobs(operators.env, jobs, query_every=query_every))
            stored = []
            counters.sequence = experience.add(counters.sequence, episodes)
            for rollout, episode in zip(rollouts, episodes, strict=True):
                operators.saw(rollout, episode, experience.potential(episode.episode_id))
                learner.learn(rollout, episode, env)
            learner.checkpoint.save()
        return learner.finish(folder)


def exploring_actor(config: Config, base: Policy, agent: ResidualTD3, rollout: int) -> ResidualRollout:
    """The policy as it gathers experience, in one rollout.

    Its noise is drawn from the rollout's number, so that it does not matter beside whom it runs.
    """
    contact = contact_signal(config.agent, task_of(config.env).events, config.env.id)
    noise = np.random.default_rng([config.seed, rollout])
    return ResidualRollout(base, agent, agent.exploration_noise, noise, contact=contact)


def clone_demonstrations(experience: Experience, settings: AgentConfig, rng: np.random.Generator) -> None:
    """What a new agent begins with: see `ResidualTD3.clone`."""
    agent, shown = experience.agent, experience.demonstrations
    agent.clone(agent.windows(shown.sample(settings.batch, rng)) for _ in range(settings.cloning_updates))


def finish(
    config: Config, experience: Experience, agent: ResidualTD3, counters: Progress, folder: Path
) -> dict[str, Any]:
    """Write the trained weights; returns the flat summary with the learning curve."""
    experience.catch_up()
    session = session_summary(config, experience.store, counters.past)
    save_weights(folder / "agent", agent.state_dict(), {"rollouts": counters.rollouts})
    return {
        "rollouts": counters.rollouts,
        "env_steps": counters.env_steps,
        "updates": counters.updates,
        "updates_per_s": counters.updates / max(counters.learn_s, 1e-9),
        "curve": counters.curve,
        **({"waiting_episodes": len(experience.waiting)} if experience.waiting else {}),
        **session,
    }


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


def new_agent(config: Config, demonstrations: list[Episode], base: Policy) -> ResidualTD3:
    """An untrained agent whose inputs are standardised by the demonstrations."""
    columns = learner_columns(config, demonstrations[0])
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
        eyes=eyes_of(config),
    )


def beside_base(demonstrations: list[Episode], base: Policy) -> list[Episode]:
    """The demonstrations with the base's actions, those that have them left as they are."""
    return [e if e.base_id == base.policy_id else with_base_actions(e, base) for e in demonstrations]


def frames_every(config: Config) -> int:
    """[steps] between the frames that an online rollout keeps, for the learner or for its reward; 0 keeps none."""
    if config.observation == "pixels":
        return 1
    return config.collect.query_every if needs_frames(config) else 0


def needs_frames(config: Config) -> bool:
    """Whether potential or task reward are read off camera frames: sparse and oracle rewards need none."""
    shaped = config.reward.kind != "oracle" and config.shaping.kind != "none"
    return shaped or config.train.task_reward == "completion"
