"""RoboReward: a grade from 1 to 5 for the clip so far (arXiv 2601.00675).

Fixed bins: progress below .125 is a 1, from .125 a 2, from .375 a 3, from .625 a 4, from .875 a 5. As there, clips cut
short and wrong instructions (grade 1) are among the training data.

Ours: the value is the expected grade, from 0 for a 1 to 1 for a 5, because the likeliest one would tie most frames; a
recurrent network in place of a vision-language model; a label that leaves several grades open allows each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robo_reward.progress.models.compact_net import CompactSettings
from robo_reward.progress.models.rival import History, LearnedRival, class_loss

BINS = torch.tensor([0.125, 0.375, 0.625, 0.875])
GRADES = len(BINS) + 1


class Graded(LearnedRival):
    """Grade of the clip so far."""

    kind = "graded"
    reads = "clip so far, instruction"
    whole_clips = True

    def __init__(self, settings: CompactSettings, tasks: tuple[str, ...]) -> None:
        super().__init__(settings, tasks)
        self.history = History(settings, GRADES)

    def loss(self, z_CLf: Tensor, goal_Cf: Tensor, low_CL: Tensor, high_CL: Tensor, inside_CL: Tensor) -> Tensor:
        """Cross-entropy of the grade of every beginning of the clip."""
        first, last = (torch.bucketize(label, BINS, right=True) for label in (low_CL, high_CL))
        return class_loss(self.history(z_CLf), first, last)[inside_CL].mean()

    def read(self, seen: Tensor, task: int) -> Tensor:
        """Expected grade, scaled to [0, 1]."""
        return self.history(seen[None])[0].softmax(-1) @ torch.linspace(0, 1, GRADES)
