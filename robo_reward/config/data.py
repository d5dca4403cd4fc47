"""The world, its episodes and their labels."""

from __future__ import annotations

from dataclasses import dataclass

from robo_reward.settings import choice, number

SPLIT_EPISODES = 1000
"""Of a split at most: its episodes' seeds, 100 to draw each anew from, are a range of their own."""


@dataclass(frozen=True)
class RunConfig:
    """Where a run leaves its folder, and where finished stages are kept for every run to share."""

    root: str = "runs"
    """Folder of everything that is written."""
    name: str = "run"
    """The run's folder below root; follows the settings, so the same command resumes."""
    dir: str = "runs/run"
    """The run folder itself."""
    stages: str = "runs/stages"
    """Folder of the finished stages, shared by runs."""
    wandb: bool = False
    """Whether metrics are also written for Weights & Biases, into the run folder; `wandb sync` uploads them."""


@dataclass(frozen=True)
class EnvConfig:
    """The world."""

    id: str = "robo_reward/PegInsert-v0"
    """Gymnasium id of the world."""
    cameras: tuple[str, ...] = ("front", "side", "wrist")
    """Views that are recorded, of those the world has."""
    image_size: int = number(84, low=16, high=1024)
    """[px], square"""
    horizon: int = number(120, low=1)
    """[steps]"""
    randomise: tuple[str, ...] = ()
    """Axes of perturbation, see `perturb.axes`, at severities drawn from 0 to 3 in every episode that is collected or
    trained on; evaluations leave them out, the learning curve's excepted."""
    arm: str | None = None
    """File that `robo-reward identify` wrote: how a real arm differs from PegInsert's, which then moves like it."""
    count: int = number(1, low=1, high=64)
    """Environments that run at once, each a process; recorded and evaluated episodes do not depend on it."""


@dataclass(frozen=True)
class CollectConfig:
    """Rollouts that are recorded, by who acts and what for; every one of them is counted in the results."""

    demos: int = number(20, low=1, high=SPLIT_EPISODES)
    """Successes of the scripted expert."""
    weak: int = number(60, low=0, high=SPLIT_EPISODES)
    """Rollouts of the weak policy, failures mostly."""
    validation: int = number(150, low=0, high=SPLIT_EPISODES)
    """Rollouts that the completion threshold is set on: one success of the expert, then two failures of the weak
    policy, and so on."""
    test: int = number(60, low=0, high=SPLIT_EPISODES)
    """Rollouts that only the benchmark sees, of the same kinds in turn."""
    query_every: int = number(4, low=1)
    """[steps] between the frames that the reward model sees"""
    all_frames: bool = True
    """Whether every frame is recorded, in LeRobotDatasets; false keeps those that the reward model sees, in transition
    stores, in half the time or less where rendering is slow."""


@dataclass(frozen=True)
class LabelConfig:
    """Where keyframes come from."""

    source: str = choice("predicates", "predicates", "file", "subtask", "uvd", "events", "variance")
    """The simulator's stage predicates, `keyframes=FILE`, a dataset's subtask column, or found in pixels or signals."""
    apart: int = number(5, low=1)
    """[steps] that uvd, events and variance leave between two keyframes"""
    segments: int | None = number(None, low=1)
    """Sub-tasks that variance divides every success into; null: as many as the task has stages."""
    model: str | None = None
    """Folder of a trained reward model whose frame features uvd and variance compare; null: they compare pixels."""
    pictures: int = number(6, low=0)
    """First episodes that the label command draws: the frames at the keyframes and the potential."""


@dataclass(frozen=True)
class AnnotateConfig:
    """The columns that `annotate` adds to a dataset with to=."""

    chunk: int = number(8, low=1)
    """[rows] over which `ra_bc_weight` measures the progress gained: the length of the chunks of the policy that is
    trained with it."""
