"""Optimal transport of the clip so far to one demonstration, on frozen features, as RAPL's reward (arXiv 2310.07932).

The value is how much smaller the cost of moving the frames so far onto the demonstration's is than that of the first
frame alone, as a share. Sinkhorn's iterations, uniform weights, cosine distance.

Ours: the features are the trained compact model's encoder, frozen; the paper aligns a pretrained one with preferences.
The paper gives each frame its part of the whole clip's plan, which looks ahead; this value is that of the clip so far.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from robo_reward.progress.models.compact_net import CompactSettings
from robo_reward.progress.models.rival import Demonstration, Rival

FRAMES = 24
"""Of the demonstration, evenly taken, that are kept."""
SMOOTHING, ITERATIONS = 0.02, 200


class Transport(Rival):
    """Cost of transport to a demonstration."""

    kind = "transport"
    reads = "clip so far, instruction, one demonstration"
    demonstration_TDf: Tensor

    def __init__(self, settings: CompactSettings, tasks: tuple[str, ...]) -> None:
        super().__init__(settings, tasks)
        self.register_buffer("demonstration_TDf", torch.zeros(len(tasks), FRAMES, settings.features))

    @torch.no_grad()
    def keep(self, task: int, demonstrations: Sequence[Demonstration]) -> None:
        """The first one's embeddings."""
        frames = demonstrations[0].frames
        count = len(next(iter(frames.values())))
        at = np.linspace(0, count - 1, FRAMES).round().astype(np.int64)
        self.demonstration_TDf[task] = self.see({v: f[at] for v, f in frames.items()}, task)

    def read(self, seen: Tensor, task: int) -> Tensor:
        """1 - cost / cost of the first frame."""
        own, other = (torch.nn.functional.normalize(z, dim=-1).double() for z in (seen, self.demonstration_TDf[task]))
        cost = prefix_costs(1 - own @ other.T)
        return 1 - cost / cost[0].clamp(min=1e-9)


def prefix_costs(cost_QD: Float[Tensor, "Q D"]) -> Float[Tensor, "Q"]:
    """Smoothed transport cost of the first 1, 2, ... Q rows to all D columns, uniform weights on both sides."""
    count, targets = cost_QD.shape
    weight_PQ = torch.tril(torch.ones(count, count, dtype=cost_QD.dtype))
    weight_PQ /= weight_PQ.sum(1, keepdim=True)
    kernel = torch.exp(-cost_QD / SMOOTHING)
    v_PD = torch.ones(count, targets, dtype=cost_QD.dtype)
    for _ in range(ITERATIONS):
        u_PQ = weight_PQ / (v_PD @ kernel.T)
        v_PD = 1 / (targets * (u_PQ @ kernel))
    return torch.einsum("pq,qd,pd->p", u_PQ, kernel * cost_QD, v_PD)
