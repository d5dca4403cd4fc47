"""ReWiND: progress regressed from the frames so far and the instruction (arXiv 2505.10911).

As there, clips turn back on their way, so that losing progress is seen without failures, and under a wrong instruction
progress is nothing.

Ours: a recurrent network in place of a transformer over frozen features; progress is the label's (equal stages) in
place of linear in time; failures take part, with a loss only outside their interval.
"""

from __future__ import annotations

from torch import Tensor

from robo_reward.progress.models.compact_net import CompactSettings
from robo_reward.progress.models.rival import History, LearnedRival, outside


class Rewind(LearnedRival):
    """Progress of the clip so far."""

    kind = "rewind"
    reads = "clip so far, instruction"
    whole_clips, rewinds = True, True

    def __init__(self, settings: CompactSettings, tasks: tuple[str, ...]) -> None:
        super().__init__(settings, tasks)
        self.history = History(settings, 1)

    def loss(self, z_CLf: Tensor, goal_Cf: Tensor, low_CL: Tensor, high_CL: Tensor, inside_CL: Tensor) -> Tensor:
        """Squared distance from the label."""
        value = self.history(z_CLf)[..., 0].sigmoid()
        return 10 * (outside(value, low_CL, high_CL) ** 2)[inside_CL].mean()

    def read(self, seen: Tensor, task: int) -> Tensor:
        """Progress after each frame."""
        return self.history(seen[None])[0, :, 0].sigmoid()
