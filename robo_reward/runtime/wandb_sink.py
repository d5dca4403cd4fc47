"""A run's metrics in Weights & Biases' format, on this computer only: `wandb sync` sends them, if that is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb


class WandbSink:
    """Writes below `<folder>/wandb`, offline whatever the environment says.

    Args:
        folder: of the run.
        settings: its configuration.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        quiet = wandb.Settings(silent=True, console="off", x_disable_stats=True)
        self._run = wandb.init(
            project="robo_reward", name=folder.name, dir=str(folder), config=dict(settings), mode="offline",
            settings=quiet,
        )  # fmt: skip
        self._run.define_metric("*", step_metric="env_step")  # may repeat after a resumption, wandb's own may not

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """One row of metrics."""
        self._run.log({**numbers, "env_step": step})

    def close(self) -> None:
        """Write what is left."""
        self._run.finish()
