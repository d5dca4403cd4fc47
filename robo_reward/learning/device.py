"""Where networks and batches live while they learn."""

from __future__ import annotations

import torch


def device_named(name: str) -> torch.device:
    """The device of `agent.device`: cpu or cuda. Raises ValueError where torch finds no such device."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"agent.device=cuda: torch {torch.__version__} finds no CUDA device on this machine; set agent.device=cpu, "
            "or install a CUDA build of torch beside a driver that nvidia-smi answers for"
        )
    return torch.device(name)
