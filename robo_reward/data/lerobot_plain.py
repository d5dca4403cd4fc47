"""Episodes out of LeRobotDatasets that other tools recorded: a state, an action, and whatever else there is.

Such a dataset has one row an action and no observation after the last one. So an episode of L rows becomes one of
L - 1 actions: the last row gives the final observation, its action is dropped, and its reward is added to the one
before. What nobody told stays unknown: no oracle progress, stage `UNKNOWN_STAGE`. The outcome is `next.success` of the
last row, else whether `next.reward` ends above 0, else success: an episode without either is a demonstration.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import UInt8

from robo_reward.data.actions import unit_actions
from robo_reward.types import UNKNOWN_STAGE, Episode

NEEDED = ("observation.state", "action")


def plain_episode_of(
    columns: Mapping[str, Any],
    instruction: str,
    number: int,
    where: str,
    frame_steps: np.ndarray,
    frames: Mapping[str, np.ndarray],
) -> Episode:
    """Episode `number` of a dataset that robo_reward did not write; `columns` are its table's columns, each of L rows.

    Raises ValueError, starting with `where`, for actions beyond [-1, 1] and for an episode of a single row.
    """
    length = len(columns["action"])
    if length < 2:
        raise ValueError(f"{where} has a single row, which is no movement: remove the episode")

    def vector(name: str) -> np.ndarray:
        return np.asarray(list(columns[name]), np.float32).reshape(length, -1)

    success, done = True, True
    if "next.reward" in columns:
        told = vector("next.reward")[:, 0]
        reward, success = fold_last(told), bool(told[-1] > 0)
    if "next.success" in columns:
        success = bool(vector("next.success")[-1, 0])
    if "next.done" in columns:
        done = bool(vector("next.done")[-1, 0])
    if "next.reward" not in columns:
        reward = sparse_reward(length - 1, success)
    return Episode(
        episode_id=str(columns["episode_id"][0]) if "episode_id" in columns else f"episode-{number}",
        instruction=instruction,
        source="human",
        seed=number,
        agent_pos=vector("observation.state"),
        estimate=np.zeros((length, 0), np.float32),
        action=unit_actions(vector("action")[:-1], where),
        reward=reward,
        stage=np.full(length, UNKNOWN_STAGE, np.int64),
        oracle=None,
        terminated=success and done,
        truncated=not (success and done),
        success=success,
        frame_steps=frame_steps,
        frames=frames,
    ).validate()


def fold_last(reward: np.ndarray) -> np.ndarray:
    """Rewards of one step fewer, the last one added to the one before it, so that the outcome's reward stays."""
    folded = np.array(reward[:-1], np.float32)
    folded[-1] += reward[-1]
    return folded


def sparse_reward(steps: int, success: bool) -> np.ndarray:
    """1 at the last step of a success, else 0; float32 (steps,)."""
    reward = np.zeros(steps, np.float32)
    reward[-1] = success
    return reward


def decode_pictures(column: Any, where: str) -> UInt8[np.ndarray, "L H W 3"]:
    """A column of still images, as LeRobot keeps them where it makes no video. Raises ValueError for a damaged one."""
    from PIL import Image, UnidentifiedImageError

    try:
        return np.stack([np.asarray(Image.open(BytesIO(cell["bytes"])).convert("RGB")) for cell in column])
    except (TypeError, KeyError, OSError, ValueError, UnidentifiedImageError) as error:
        raise ValueError(f"{where}: an image does not decode ({error}): copy the dataset again") from error
