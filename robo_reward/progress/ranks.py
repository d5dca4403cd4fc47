"""Which of the processes this is that `accelerate launch` started, and tensors that they share among themselves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def rank() -> int:
    """The number of this process; the first is 0, and it alone writes."""
    return int(os.environ.get("RANK", "0"))


def ranks() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_device() -> None:
    """Use this process's GPU where `cuda` is asked for."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))


def whole(value: Any) -> Tensor:
    """All of a tensor of which each process may hold a part; all processes have to ask for it."""
    gathered: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return gathered


def shared_like(value: Tensor, like: Any) -> Tensor:
    """A whole tensor as one that is held in parts as `like` is."""
    if not hasattr(like, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
