"""SARM: which stage the clip is in, and how far within it (arXiv 2509.25358).

Progress is P_k + a_k tau: a_k is the demonstrations' mean share of time in stage k, P_k the sum of the shares before,
tau in [0, 1] the progress within. As there, clips are rewound and the stage with the largest probability counts.

Ours: a recurrent network over all frames so far in place of a transformer over nine (its public port sees later frames,
this one cannot); failures take part, with tau free where the label is an interval; a wrong instruction is stage 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from robo_reward.progress.models.compact_net import CompactSettings
from robo_reward.progress.models.rival import Demonstration, History, LearnedRival, class_loss, outside


class Sarm(LearnedRival):
    """Stage classifier and progress within the stage."""

    kind = "sarm"
    reads = "clip so far, instruction, mean stage shares of the demonstrations"
    whole_clips, rewinds = True, True
    share_TS: Tensor

    def __init__(self, settings: CompactSettings, tasks: tuple[str, ...]) -> None:
        super().__init__(settings, tasks)
        self.history = History(settings, 2 * settings.stages)
        even = torch.full((len(tasks), settings.stages), 1 / settings.stages)
        self.register_buffer("share_TS", even)

    def keep(self, task: int, demonstrations: Sequence[Demonstration]) -> None:
        """The mean shares of their stages; what follows the goal counts to the last one, as in the loss."""
        n = self.settings.stages
        stages = [np.minimum((d.phi[:-1] * n + 1e-4).astype(np.int64), n - 1) for d in demonstrations]
        counts = np.stack([np.bincount(s, minlength=n) for s in stages])
        self.share_TS[task] = torch.from_numpy((counts / counts.sum(1, keepdims=True)).mean(0))

    def loss(self, z_CLf: Tensor, goal_Cf: Tensor, low_CL: Tensor, high_CL: Tensor, inside_CL: Tensor) -> Tensor:
        """Which stage, and where within it; both within what the label leaves open."""
        stages = self.settings.stages
        logits, tau = self.history(z_CLf).chunk(2, dim=-1)
        first = (low_CL * stages + 1e-4).long().clamp(max=stages - 1)
        last = (high_CL * stages - 1e-4).long().clamp(min=0, max=stages - 1).maximum(first)
        own = tau.sigmoid().gather(-1, first[..., None])[..., 0]
        off = outside(own, low_CL * stages - first, high_CL * stages - first)
        return (class_loss(logits, first, last) + 10 * off**2)[inside_CL].mean()

    def read(self, seen: Tensor, task: int) -> Tensor:
        """P of the likeliest stage plus its share of tau."""
        logits, tau = self.history(seen[None])[0].chunk(2, dim=-1)
        stage = logits.argmax(-1)
        share = self.share_TS[task]
        before = torch.cumsum(share, 0) - share
        return before[stage] + share[stage] * tau.sigmoid().gather(-1, stage[:, None])[:, 0]
