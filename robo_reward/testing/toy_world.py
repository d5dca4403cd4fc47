"""A toy world for reward models: a square that moves to the socket of the colour that is named, or gives up."""

from __future__ import annotations

import numpy as np

from robo_reward.progress.models.compact_net import CompactSettings
from robo_reward.progress.pairs import PairSettings
from robo_reward.progress.training import TrainSettings
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode

SIZE = 32
COLOURS = {"orange": (240, 140, 20), "blue": (20, 90, 220)}
SETTINGS = TrainSettings(
    steps=250,
    stage_weight=0.2,
    references_per_task=2,
    pairs=PairSettings(visits_per_batch=4, pairs_per_visit=32),
    model=CompactSettings(views=("top", "wrist"), image_size=SIZE, channels=(8, 16), kernels=(4, 3), strides=(4, 1),
                          view_features=32, features=32, hidden=64),
)  # fmt: skip


def world(name: str, colour: str, success: bool, seed: int) -> Episode:
    """A clip: orange and blue goals at the two ends; the square goes to the named one or gives up."""
    rng = np.random.default_rng(seed)
    goals = dict(zip(rng.permutation(sorted(COLOURS)), (2, SIZE - 6), strict=True))
    length = int(rng.integers(36, 60))
    reach = 1.0 if success else 0.55
    progress = np.linspace(0, reach, length + 1)
    steps = np.append(np.arange(0, length, 4), length)
    row = int(rng.integers(4, SIZE - 8))
    frames = {v: np.full((len(steps), SIZE, SIZE, 3), 60, np.uint8) for v in ("top", "wrist")}
    for q, step in enumerate(steps):
        x = round(SIZE / 2 - 2 + progress[step] * (goals[colour] - SIZE / 2 + 2))
        for other, rgb in COLOURS.items():
            frames["top"][q, row : row + 4, goals[other] : goals[other] + 4] = rgb
            at = goals[other] - x + SIZE // 2  # the wrist camera moves with the square and sees what is near, large
            frames["wrist"][q, 8:24, max(at - 6, 0) : max(at + 6, 0)] = rgb
        frames["top"][q, row + 5 : row + 9, x : x + 4] = (30, 200, 60)
    stage = np.minimum((progress * 4 + 1e-9).astype(np.int64), 4)
    return make_episode(
        length, name, success=success, instruction=f"go to the {colour} socket",
        source="expert" if success else "weak", seed=seed, stage=stage, oracle=progress.astype(np.float32),
        frame_steps=steps, frames=frames,
    )  # fmt: skip


def clips(count: int, first: int) -> list[Episode]:
    """So many clips from this seed on, of both colours and outcomes."""
    return [world(f"w{i}", ("orange", "blue")[i % 2], i % 4 < 2, i) for i in range(first, first + count)]
