"""PROGRESSOR: how far a frame lies between a start and a goal, as a Gaussian (arXiv 2411.17764).

The reward is the mean minus 0.4 times the entropy: where the model is unsure, it is low. Trained by the divergence from
a Gaussian around the label.

Ours: a fixed scale puts the kept demonstration's first frame at 0 and its last at 1, because the score has no bounds;
goals are swapped with other demonstrations' as often as the compact model's; failures take part, an interval as a
Gaussian of the same spread, and stand in for the paper's push-back on the learner's own frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from robo_reward.progress.models.compact_net import CompactSettings
from robo_reward.progress.models.rival import Demonstration, LearnedRival, head

LABEL_STD, WIDEST_STD = 0.05, 0.5
"""Of an exact label: one query of a demonstration of twenty. And of the widest answer."""
ENTROPY_WEIGHT = 0.4


class Progressor(LearnedRival):
    """Mean and spread of the progress between a start, a frame and a goal."""

    kind = "progressor"
    reads = "clip's first frame, frame, instruction, goal frame of one demonstration"
    goal_Tf: Tensor
    ends_T2: Tensor

    def __init__(self, settings: CompactSettings, tasks: tuple[str, ...]) -> None:
        super().__init__(settings, tasks)
        self.head = head(5 * settings.features, settings.hidden, 2)
        self.register_buffer("goal_Tf", torch.zeros(len(tasks), settings.features))
        self.register_buffer("ends_T2", torch.tensor([[0.0, 1.0]]).repeat(len(tasks), 1))

    @torch.no_grad()
    def keep(self, task: int, demonstrations: Sequence[Demonstration]) -> None:
        """The first one's goal, and the scores of its first and last frame."""
        seen = self.see(demonstrations[0].frames, task)
        self.goal_Tf[task] = seen[-1]
        self.ends_T2[task] = self._score(seen, task)[[0, -1]]

    def loss(self, z_CLf: Tensor, goal_Cf: Tensor, low_CL: Tensor, high_CL: Tensor, inside_CL: Tensor) -> Tensor:
        """Divergence from the label, for every frame against every start before it."""
        length = z_CLf.shape[1]
        start, now = torch.triu_indices(length, length)
        low = _share(high_CL[:, start], low_CL[:, now])
        high = _share(low_CL[:, start], high_CL[:, now])
        label, spread = (low + high) / 2, ((high - low) / math.sqrt(12)).clamp(min=LABEL_STD)
        mean, std = self._gaussian(z_CLf[:, start], z_CLf[:, now], goal_Cf[:, None])
        divergence = torch.log(std / spread) + (spread**2 + (mean - label) ** 2) / (2 * std**2) - 0.5
        return divergence[inside_CL[:, now]].mean()

    def read(self, seen: Tensor, task: int) -> Tensor:
        """The score, scaled."""
        first, last = self.ends_T2[task]
        return (self._score(seen, task) - first) / (last - first).clamp(min=0.1)

    def _score(self, seen: Tensor, task: int) -> Tensor:
        """Mean minus 0.4 times the entropy."""
        mean, std = self._gaussian(seen[:1], seen, self.goal_Tf[task])
        return mean - ENTROPY_WEIGHT * (0.5 * math.log(2 * math.pi * math.e) + torch.log(std))

    def _gaussian(self, start: Tensor, now: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        parts = torch.broadcast_tensors(start, now, goal, now - start, goal - now)
        mean, width = self.head(torch.cat(parts, dim=-1)).unbind(-1)
        return mean.sigmoid(), LABEL_STD * (WIDEST_STD / LABEL_STD) ** width.sigmoid()


def _share(start: Tensor, now: Tensor) -> Tensor:
    """Of the way from `start` to 1, what lies behind at `now`; nothing where it fell back."""
    return ((now - start) / (1 - start).clamp(min=1e-6)).clamp(0, 1)
