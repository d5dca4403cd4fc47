"""Completion as the only task reward: online rollouts as a learner knows them that nobody tells the truth.

The reward model's rule, or a success classifier, says when the task is done. It can be wrong, and no potential protects
from that: this is here to measure it (true against believed success).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from robo_reward.types import Episode, PhiTrack

Judge = Callable[[Episode], int | None]
"""The observation, 1 to T, at which an episode's task is called done; None: never."""
DONE_AT = 0.5
"""Probability from which a success classifier calls a picture done."""


def make_judge(reward: Path, threshold: float | None = None) -> Judge:
    """The completion rule of the compact model in this folder, or the success classifier that lies there.

    threshold: in place of the rule's calibrated one, or of the classifier's `DONE_AT`.
    """
    from robo_reward.progress.rivals import DESCRIPTION, load_rival

    if (Path(reward) / DESCRIPTION).is_file():
        classifier = load_rival(reward)
        return lambda episode: _first(classifier.annotate([episode])[0].phi >= (threshold or DONE_AT))
    return _rule_judge(reward, threshold)


def _first(done: np.ndarray) -> int | None:
    """The first observation, from 1 on, that is done."""
    return max(int(done.argmax()), 1) if done.any() else None


def _rule_judge(reward: Path, threshold: float | None) -> Judge:
    from robo_reward.progress.annotate import track_many
    from robo_reward.progress.reward_model import load_reward

    trained = load_reward(reward)
    rule = trained.tracker.completion
    rule = rule if threshold is None else replace(rule, threshold=threshold)

    def judge(episode: Episode) -> int | None:
        # One episode at a time: a resumed run must judge as the first one did, whatever the batches are.
        [track] = track_many([episode], trained.model, trained.tracker, trained.references)
        fired = (int(step) for n, step in enumerate(track.steps, 1) if rule.completed(track.scores[:n]))
        at = next(fired, len(episode) if rule.fired(track.scores) else None)
        return None if at is None else max(at, 1)

    return judge


def believed(episode: Episode, track: PhiTrack, done: int | None) -> tuple[Episode, PhiTrack]:
    """The episode and its track as they are when it was done, and ended, at observation `done`, or never was.

    Never done: no reward and, whatever the simulator said, a time-out.
    """
    if done is None:
        told = replace(episode, reward=np.zeros_like(episode.reward), terminated=False, truncated=True, success=False)
        return told, track
    kept = {name: getattr(episode, name)[: done + 1] for name in ("agent_pos", "estimate", "stage")}
    optional = dict.fromkeys(("oracle", "base_action", "base_phase", "features"), done + 1)
    optional |= dict.fromkeys(("human_action", "intervention", "gated"), done)
    kept |= {n: getattr(episode, n)[:end] for n, end in optional.items() if getattr(episode, n) is not None}
    reward = np.zeros(done, np.float32)
    reward[-1] = 1.0
    told = replace(
        episode, **kept, action=episode.action[:done], reward=reward, terminated=True, truncated=False, success=True,
        frame_steps=episode.frame_steps[:0], frames={},
    )  # fmt: skip
    return told, replace(track, phi=track.phi[: done + 1], confidence=track.confidence[: done + 1])
