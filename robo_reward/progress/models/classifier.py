"""A success classifier on single frames, as HIL-SERL's (arXiv 2410.21845).

As there: a binary loss in which successes weigh as much as all else together.

Ours: the compact model's encoder from scratch in place of a frozen pretrained one; it reads the instruction, and a
success under a wrong one is none.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from robo_reward.progress.models.compact_net import CompactSettings
from robo_reward.progress.models.rival import LearnedRival, head


class Classifier(LearnedRival):
    """Probability that a frame shows the task done."""

    kind = "classifier"
    reads = "frame, instruction"

    def __init__(self, settings: CompactSettings, tasks: tuple[str, ...]) -> None:
        super().__init__(settings, tasks)
        self.head = head(settings.features, settings.hidden, 1)

    def loss(self, z_CLf: Tensor, goal_Cf: Tensor, low_CL: Tensor, high_CL: Tensor, inside_CL: Tensor) -> Tensor:
        """Mean over the done frames plus mean over the others."""
        done = (low_CL >= 1 - 1e-6)[inside_CL]
        logit = self.head(z_CLf[inside_CL])[..., 0]
        each = functional.binary_cross_entropy_with_logits(logit, done.float(), reduction="none")
        return sum(each[part].sum() / part.sum().clamp(min=1) for part in (done, ~done))  # type: ignore[return-value]

    def read(self, seen: Tensor, task: int) -> Tensor:
        """Probability of success."""
        return self.head(seen)[:, 0].sigmoid()
