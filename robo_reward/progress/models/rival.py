"""What the rivals of the compact model share: values of a clip's frames, the same encoder, and interval labels.

All of them see the same episodes, frames and labels as the compact model. A label is an interval [low, high]
(`labels.py`), exact where low == high; a loss is zero inside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor, nn

from robo_reward.progress.models.compact import CHUNK, checked_frames, to_images
from robo_reward.progress.models.compact_net import CompactSettings, FrameEncoder, word_ids
from robo_reward.types import Frames


class Demonstration(NamedTuple):
    """A success of the training data."""

    frames: Frames
    """At its Q queried observations."""
    phi: Float32[np.ndarray, "T+1"]
    """Labels of all its observations."""


class Rival(nn.Module):
    """Gives each frame of a clip a value, and reads no later one for it.

    settings: views, picture size and the encoder's size, as of the compact model.
    tasks: the instructions that it knows, in the order of their numbers.
    """

    kind: ClassVar[str]
    reads: ClassVar[str]
    """What a value depends on beside the pictures."""
    encoded: ClassVar[bool] = True
    """Whether it looks at embeddings; such a rival has an `encoder`."""

    def __init__(self, settings: CompactSettings, tasks: tuple[str, ...]) -> None:
        super().__init__()
        self.settings, self.tasks = settings, tasks
        if self.encoded:
            self.encoder = FrameEncoder(settings)

    def keep(self, task: int, demonstrations: Sequence[Demonstration]) -> None:
        """Keep what it needs of the task's demonstrations, at least one. Called once a task, after training."""

    @torch.no_grad()
    def values(self, frames: Frames, task: int) -> Float32[np.ndarray, "Q"]:
        """Values in [0, 1] of a clip's Q frames. Raises ValueError for frames that it does not know."""
        known = checked_frames(frames, self.settings)
        return self.read(self.see(known, task), task).clamp(0, 1).numpy().astype(np.float32)

    def see(self, frames: Frames, task: int) -> Tensor:
        """What `read` gets of Q frames, (Q, ...): their embeddings."""
        count = len(next(iter(frames.values())))
        words = torch.from_numpy(word_ids(self.tasks[task]))[None]
        starts = range(0, count, CHUNK)
        return torch.cat([
            self.encoder.embed({v: to_images(f[i : i + CHUNK]) for v, f in frames.items()},
                               words.expand(min(CHUNK, count - i), -1))
            for i in starts
        ])  # fmt: skip

    def read(self, seen: Tensor, task: int) -> Float[Tensor, "Q"]:
        """Values of a whole clip, before they are cut to [0, 1]."""
        raise NotImplementedError


class LearnedRival(Rival):
    """A rival whose encoder and head are trained on clips."""

    whole_clips: ClassVar[bool] = False
    """Whether it is trained on whole clips, because a value depends on all frames before; else on some frames of them,
    in order, the first and the last among them."""
    rewinds: ClassVar[bool] = False
    """Whether half of its training clips turn back on their way."""

    def loss(
        self,
        z_CLf: Float[Tensor, "C L features"],
        goal_Cf: Float[Tensor, "C features"],
        low_CL: Float[Tensor, "C L"],
        high_CL: Float[Tensor, "C L"],
        inside_CL: Bool[Tensor, "C L"],
    ) -> Tensor:
        """Of C clips of up to L frames each, each with a goal frame of its task and its frames' labels.

        inside_CL: false for what only fills up a shorter clip.
        """
        raise NotImplementedError


class History(nn.Module):
    """A causal summary of the clip so far: a recurrent network over the embeddings, then a linear layer."""

    def __init__(self, settings: CompactSettings, outputs: int) -> None:
        super().__init__()
        self.memory = nn.GRU(settings.features, settings.features, batch_first=True)
        self.out = nn.Linear(settings.features, outputs)

    def forward(self, z_CLf: Float[Tensor, "C L features"]) -> Float[Tensor, "C L outputs"]:
        return self.out(self.memory(z_CLf)[0])


def head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden layers, as of the compact model."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


def outside(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Distance from the interval, 0 inside."""
    return torch.relu(low - value) + torch.relu(value - high)


def class_loss(logits: Float[Tensor, "*B K"], first: Int64[Tensor, "*B"], last: Int64[Tensor, "*B"]) -> Tensor:
    """Minus the log probability that the class is one of first..last; cross-entropy where they are equal."""
    classes = torch.arange(logits.shape[-1])
    allowed = (classes >= first[..., None]) & (classes <= last[..., None])
    return -logits.log_softmax(-1).masked_fill(~allowed, -torch.inf).logsumexp(-1)
