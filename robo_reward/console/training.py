"""`train hil=console` and `hil=device`: the learner and a person take turns at one arm.

The control loop, the learner and the world share one thread: an episode runs at its rate with nothing beside it, the
learner works between two episodes and looks up at every update. The labels decide what is learned: an episode counts
once it was judged, a label that is taken back is unlearned from the replays, and a discarded one never enters them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from robo_reward.config import Config
from robo_reward.console.advice import advise
from robo_reward.console.curves import shaping_term
from robo_reward.console.labels import episode_name, worlds_word
from robo_reward.console.live_episode import Watch
from robo_reward.console.serving import serving
from robo_reward.console.session import Session
from robo_reward.evaluation.rollout import Actor
from robo_reward.hil.judging import judged
from robo_reward.hil.places import Place, Returning, load_places, propose, save_place
from robo_reward.interfaces import Policy
from robo_reward.runtime import local
from robo_reward.runtime.acting import ResidualRollout, trained_actor
from robo_reward.runtime.checkpoint import Checkpoint
from robo_reward.runtime.experience import ONLINE, Annotate, Experience
from robo_reward.runtime.exploration import contact_signal
from robo_reward.runtime.steps import reward_settings
from robo_reward.runtime.tasks import first_seed, task_of
from robo_reward.runtime.updates import Progress, follow_reward, learn_from
from robo_reward.types import Episode

SHOWN = 6
"""Newest places that the page offers."""


class _Unhelped:
    """The trained policy in an evaluation's episode, in which the page goes on being answered."""

    def __init__(self, act: ResidualRollout, session: Session) -> None:
        self._act, self._session, self.watch, self.base_id = act, session, act.watch, act.base_id

    def __call__(self, agent_pos: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._session.breathe("evaluating: the policy drives, without help")
        return self._act(agent_pos, estimate)


def train_attended(
    config: Config,
    env: gymnasium.Env[Any, Any],
    base: Policy,
    demonstrations: list[Episode],
    annotate: Annotate,
    load_annotate: Callable[[str], Annotate],
    watch: Callable[[str], Watch | None] | None,
    folder: Path,
    log: Callable[..., None],
) -> dict[str, Any]:
    """`local.train_residual` with the console beside it; arguments and result are the same, but for `watch`.

    Called again on the same folder it goes on: with the protocol's state and labels, with every stored episode, and
    with the weights of the last one that was learned from.

    Args:
        watch: see `Session`.
    """
    train = config.train
    agent = local.new_agent(config, demonstrations, base)
    counters, rng = Progress(), np.random.default_rng(config.seed)
    learned: list[list[str]] = []
    checkpoint = Checkpoint(folder / "checkpoints", quiet=config.quiet)
    checkpoint.agent, checkpoint.counters, checkpoint.rng, checkpoint.learned = agent, counters, rng, learned
    shown = local.beside_base(demonstrations, base)
    contact = contact_signal(config.agent, task_of(config.env).events, config.env.id)
    with Experience(config, agent, folder, annotate, load_annotate) as experience:
        experience.add_demonstrations(shown)

        def read(found: list[list[str]]) -> list[Episode]:
            return [judged(experience.store.read(name), label) for name, label in found]

        def actor() -> ResidualRollout:
            noise = np.random.default_rng([config.seed, len(session.protocol.labels)])
            return ResidualRollout(base, agent, agent.exploration_noise, noise, contact=contact)

        def evaluated(seed: int) -> Actor:
            return _Unhelped(trained_actor(base, agent, seed), session)

        def completed(_: Episode) -> bool | None:
            return session.completed

        classifier = None
        judge: Callable[[Episode], bool | None] | None = worlds_word if config.hil.judge == "env" else None
        if config.hil.judge == "reward":
            judge = completed
        if config.hil.judge == "classifier":
            from robo_reward.hil.classifier import SuccessClassifier

            settings = replace(reward_settings(config, 1), steps=config.hil.classifier_steps)
            classifier = SuccessClassifier(settings)
            judge = classifier.success

        def at_place(number: int, seed: int) -> None:
            if config.robot:
                raise ValueError(
                    "a robot finds no way back by itself: put the scene there by hand, as the picture shows"
                )
            found = [place for place in load_places(folder / "places") if place.number == number]
            if not found:
                raise ValueError(f"place {number} is gone")
            world.begin = {seed: found[0]}

        def advised(places: list[Place]) -> tuple[dict[str, Any], list[list[Any]]]:
            return advise(config.hil, session.fps, session.protocol.labels, session.log.kept, places)

        world = Returning(env)
        session = Session(
            world, actor, folder, fps=task_of(config.env).fps, first_seed=first_seed(config.seed, "online"),
            watch=watch, query_every=local.frames_every(config) or config.collect.query_every,
            blend_steps=config.hil.blend_steps, store=experience.store, name=ONLINE, automatic=judge, at_place=at_place,
            term=shaping_term(config),
        )  # fmt: skip
        if checkpoint.load():
            experience.take(read(learned))
        else:
            local.clone_demonstrations(experience, config.agent, rng)
        with ExitStack() as beside:
            driver = config.hil.device if config.hil.kind == "device" else ""
            beside.enter_context(session)
            beside.enter_context(serving(session, config.console.port, driver=driver))
            if driver:
                from robo_reward.console.device import driving

                beside.enter_context(driving(config, session))
            taught, patience = None, round(config.hil.patience_s * session.fps)
            while counters.rollouts < train.rollouts:
                if classifier is not None and (told := session.labels.judged(by_person=True)):
                    if taught is None or len(told) >= taught + config.hil.classifier_every:
                        learned_success = classifier.learn([*demonstrations, *read(told)], session.breathe)
                        taught = len(told) if learned_success else taught
                found, advice = load_places(folder / "places"), None
                if config.hil.protocol != "takeovers":
                    advice, counters.past = advised(found)
                places = [
                    {"number": place.number, "reason": place.reason, "phi": place.phi}
                    for n, place in enumerate(found)
                    if n >= len(found) - SHOWN or (advice and place.number == advice["place"])
                ]
                session.figures = {
                    "rollouts": counters.rollouts, "of": train.rollouts, "curve": list(counters.curve),
                    "places": places, "advice": advice,
                }  # fmt: skip
                session.run_until(lambda: session.protocol.state != "judging" and session.labels.judged() != learned)
                told = session.labels.judged()
                if told[: len(learned)] != learned:  # a label was taken back
                    before = {name for name, _ in learned}
                    learned[:] = [pair for pair in told if pair[0] in before]
                    counters.rollouts = len(learned)
                    experience.relearn(shown, read(learned))
                    checkpoint.save()
                    continue
                follow_reward(config, experience, counters, rng, session.breathe)
                [episode] = read([told[len(learned)]])
                experience.take([episode])
                number = len(session.protocol.labels) - 1
                if world.actions and episode.episode_id == episode_name(number):  # the world is as it left it
                    phi = experience.potential(episode.episode_id)
                    place = None if phi is None else propose(world, number, episode, phi, patience)
                    if place is not None:
                        save_place(folder / "places", place, episode)
                numbers = learn_from(counters.rollouts, episode, config, experience, counters, rng, session.breathe)
                learned.append(told[len(learned)])
                if counters.rollouts % train.evaluate_every == 0 or counters.rollouts == train.rollouts:
                    wins = local.evaluate_policy(env, evaluated, train)
                    counters.curve.append([counters.rollouts, counters.env_steps, sum(wins), len(wins)])
                    numbers["success"] = float(np.mean(wins))
                log(counters.env_steps, rollout=counters.rollouts, **numbers)
                checkpoint.save()
        if config.hil.protocol != "takeovers":
            counters.past = advised([])[1]
        (folder / "token").unlink(missing_ok=True)  # a stage that is done is never served again
        return local.finish(config, experience, agent, counters, folder)
