"""The rows of the table: a reward model, its rivals, what knows nothing of the task, the labels and the oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from robo_reward.progress.annotate import track_many
from robo_reward.progress.bench.consistency import consistency
from robo_reward.progress.completion import CompletionRule
from robo_reward.progress.labels import label_episode
from robo_reward.progress.models import controls
from robo_reward.progress.models.oracle import oracle_of
from robo_reward.progress.reward_model import RewardModel
from robo_reward.progress.scorer import EpisodeScorer
from robo_reward.types import Episode, Progress

Score = Callable[[Sequence[Episode]], list[np.ndarray]]
"""Values (Q,) at each episode's query frames."""


@dataclass(frozen=True)
class Tracked:
    """What a method with a tracker can tell besides its values."""

    progress: Callable[[Sequence[Episode]], list[list[Progress]]]
    """What the tracker says at each query frame, with its confidence."""
    rule: CompletionRule
    every: int
    """Steps between its queries."""
    consistency: Callable[[Sequence[Episode], int], dict[str, np.ndarray]]
    """Of each episode, from a seed: how well its answers agree with each other."""


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    name: str
    score: Score
    told: Callable[[Sequence[Episode], str], list[np.ndarray]] | None = None
    """`score` under a given instruction in place of the episodes' own; None for what cannot read one."""
    instructions: tuple[str, ...] = ()
    """Those that it can be told, in alphabetical order."""
    probed: bool = True
    """Whether it is also run on reversed and still clips: not when it is such a run itself or does not read frames."""
    control: bool = False
    """Whether it knows nothing of the task, so that a metric it does well on tells nothing."""
    reads: str | None = None
    """What its values depend on, in words, of a trained model."""
    tracked: Tracked | None = None


def model_method(reward: RewardModel) -> Method:
    """The reward model as its causal tracker reports it at the query frames."""

    def progress(episodes: Sequence[Episode], instruction: str | None = None) -> list[list[Progress]]:
        found: list[list[Progress]] = []
        for episode in episodes:
            (track,) = track_many([episode], reward.model, reward.tracker, reward.references, instruction)
            held = np.searchsorted(track.steps, episode.frame_steps, side="right") - 1
            found.append([track.progress[i] for i in held])
        return found

    def told(episodes: Sequence[Episode], instruction: str | None) -> list[np.ndarray]:
        return values_of(progress(episodes, instruction))

    tracked = Tracked(progress, reward.tracker.completion, reward.tracker.every, partial(consistency, reward))
    name, known = reward.name, reward.instructions
    return Method(name, lambda es: told(es, None), told, known, reads=reward.reads, tracked=tracked)


def values_of(tracks: Sequence[Sequence[Progress]]) -> list[np.ndarray]:
    """The potentials, rounded as a track stores them."""
    return [np.array([p.phi for p in track], dtype=np.float32).astype(float) for track in tracks]


def scorer_method(scorer: EpisodeScorer) -> Method:
    """A trained reward model's potential at the query frames; with its tracker where it has one."""
    if isinstance(scorer, RewardModel):
        return model_method(scorer)

    def told(episodes: Sequence[Episode], instruction: str | None) -> list[np.ndarray]:
        tracks = [scorer.annotate([episode], instruction)[0] for episode in episodes]
        return [track.phi[e.frame_steps].astype(float) for track, e in zip(tracks, episodes, strict=True)]

    return Method(scorer.name, lambda es: told(es, None), told, scorer.instructions, reads=scorer.reads)


def control_methods(model: Method, episodes: Sequence[Episode], horizon: int, stages: int) -> list[Method]:
    """Controls, the labels' own floor and the oracle, next to the model they are for."""
    change = [controls.pixel_change(e)[-1] for e in episodes if e.success]
    scale = float(np.mean(change)) if change else 1.0

    def each(f: Callable[[Episode], np.ndarray]) -> Score:
        return lambda episodes: [f(e) for e in episodes]

    def control(name: str, score: Score, probed: bool = True) -> Method:
        return Method(name, score, probed=probed, control=True)

    return [
        control(f"{model.name} on a static clip", lambda es: model.score([static(e) for e in es]), probed=False),
        control(f"{model.name} on the reversed clip", lambda es: model.score([backwards(e) for e in es]), probed=False),
        control("counter", each(partial(controls.counter, horizon=horizon))),
        control("cumulative pixel difference", each(lambda e: np.minimum(controls.pixel_change(e) / scale, 1.0))),
        control("minus length", each(partial(controls.minus_length, horizon=horizon))),
        control("constant", each(controls.constant)),
        Method("labels (floor)", each(lambda e: label_episode(e, stages).phi[e.frame_steps]), probed=False),
        Method("oracle", each(lambda e: oracle_of(e)[e.frame_steps]), probed=False),
    ]


def static(episode: Episode) -> Episode:
    """The clip with its first frame repeated."""
    return replace(episode, frames={v: np.repeat(f[:1], len(f), axis=0) for v, f in episode.frames.items()})


def backwards(episode: Episode) -> Episode:
    """The clip played backwards; truth and times stay, so that -VOC of it is VROC."""
    return replace(episode, frames={v: f[::-1] for v, f in episode.frames.items()})
