"""VLAC: the signed progress from one frame to another, without references (arXiv 2509.15937).

Labels are antisymmetric: the pair turned around has the negative delta. Values are the deltas of consecutive frames,
summed from 0.

Ours: the delta is the plain difference of progress and the sum is cut to [0, 1]; the paper's is relative to what is
left and inverted by a quotient that divides by zero at -100 %. Under a wrong instruction nothing changes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robo_reward.progress.models.compact_net import CompactSettings
from robo_reward.progress.models.rival import LearnedRival, head, outside


class Vlac(LearnedRival):
    """Difference of progress of two frames."""

    kind = "vlac"
    reads = "each frame and the one before, instruction"

    def __init__(self, settings: CompactSettings, tasks: tuple[str, ...]) -> None:
        super().__init__(settings, tasks)
        self.head = head(3 * settings.features, settings.hidden, 1)

    def loss(self, z_CLf: Tensor, goal_Cf: Tensor, low_CL: Tensor, high_CL: Tensor, inside_CL: Tensor) -> Tensor:
        """Squared distance from the label, over all ordered pairs of a clip."""
        delta = self._delta(z_CLf[:, :, None], z_CLf[:, None])
        same = torch.eye(z_CLf.shape[1], dtype=torch.bool)  # of which nothing is unknown
        low = (low_CL[:, None] - high_CL[:, :, None]).masked_fill(same, 0)
        high = (high_CL[:, None] - low_CL[:, :, None]).masked_fill(same, 0)
        both = inside_CL[:, None] & inside_CL[:, :, None]
        return 10 * (outside(delta, low, high) ** 2)[both].mean()

    def read(self, seen: Tensor, task: int) -> Tensor:
        """The running sum, never outside [0, 1]."""
        values = [torch.zeros(())]
        for delta in self._delta(seen[:-1], seen[1:]):
            values.append((values[-1] + delta).clamp(0, 1))
        return torch.stack(values)

    def _delta(self, before: Tensor, after: Tensor) -> Tensor:
        before, after = torch.broadcast_tensors(before, after)
        return self.head(torch.cat([before, after, after - before], dim=-1))[..., 0].tanh()
