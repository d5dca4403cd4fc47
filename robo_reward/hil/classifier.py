"""A success classifier that a session's labels train, as HIL-SERL's (arXiv 2410.21845): it judges what nobody did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch

from robo_reward.progress.clips import ClipSampler, demonstrations_of
from robo_reward.progress.frame_pool import FramePool
from robo_reward.progress.labels import labels_from_outcome
from robo_reward.progress.models.classifier import Classifier
from robo_reward.progress.rivals import clip_loss
from robo_reward.progress.training import TrainSettings, check_episodes, optimise
from robo_reward.types import Episode


class SuccessClassifier:
    """The rival `classifier` on single frames; knows nothing before `learn`."""

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings
        self._rival: Classifier | None = None

    def learn(self, episodes: Sequence[Episode], breathe: Callable[[str], None]) -> bool:
        """Train anew on judged episodes; False, and nothing learned, unless they hold both outcomes.

        Args:
            episodes: with frames; their `success` is what counts, their stages do not.
            breathe: called before each step and told how far it is.

        Raises:
            ValueError: an episode lacks a view or has pictures of another size, or an instruction has no success.
        """
        if {episode.success for episode in episodes} != {False, True}:
            return False
        check_episodes(episodes, self.settings)
        labels = [labels_from_outcome(len(episode) + 1, episode.success) for episode in episodes]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed)
            rival = Classifier(self.settings.model, tuple(demonstrations_of(episodes)))
        sampler = ClipSampler(episodes, labels, 1, self.settings.pairs, self.settings.seed, False, False)
        pool, steps = FramePool(episodes, self.settings), iter(range(self.settings.steps))
        pool.standardise(rival.encoder)
        loss = partial(clip_loss, rival, pool, sampler)

        def next_loss() -> torch.Tensor:
            breathe(f"learning what success looks like: {next(steps)} of {self.settings.steps} steps")
            return loss()

        self._rival = optimise(rival, next_loss, self.settings, quiet=True)[0]
        return True

    def success(self, episode: Episode) -> bool | None:
        """Whether the episode's last picture shows the task done; None before it has learned of the instruction."""
        if self._rival is None or episode.instruction not in self._rival.tasks:
            return None
        last = {view: frames[-1:] for view, frames in episode.frames.items()}
        return bool(self._rival.values(last, self._rival.tasks.index(episode.instruction))[0] >= 0.5)
