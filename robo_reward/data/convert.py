"""Files of other projects made into LeRobotDatasets, successes and failures apart, as the commands read them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from robo_reward.data.hil_serl import read_hil_serl
from robo_reward.data.lerobot_writer import DatasetWriter
from robo_reward.data.robomimic import iterate_robomimic, read_robomimic_info
from robo_reward.types import Episode

ROBOMIMIC, HIL_SERL = (".hdf5", ".h5"), (".pkl", ".pickle")
HIL_SERL_FPS = 10
"""HIL-SERL's control rate, which its files do not tell [Hz]."""


def is_foreign_file(path: str | Path) -> bool:
    """Whether `convert_file` is for it: by its name, whether it is there or not. Raises ValueError for other files."""
    path = Path(path)
    if path.suffix.lower() in (*ROBOMIMIC, *HIL_SERL):
        if not path.is_file():
            raise FileNotFoundError(f"dataset={path} is no file: check the path")
        return True
    if path.is_file():
        known = ", ".join((*ROBOMIMIC, *HIL_SERL))
        raise ValueError(f"dataset={path}: give the folder of a LeRobotDataset, or a file named {known}")
    return False


def convert_file(path: str | Path, folder: str | Path) -> dict[str, Any]:
    """Write the episodes of a robomimic or HIL-SERL file as LeRobotDatasets `demos` (successes) and `weak` (failures).

    Returns counts and success rate by split. Raises ValueError for a file without any success, and as its reader.
    """
    path, folder = Path(path), Path(folder)
    if path.suffix.lower() in ROBOMIMIC:
        info = read_robomimic_info(path)
        return write_splits(folder, iterate_robomimic(path), fps=info.fps, robot_type=info.robot_type, where=str(path))
    return write_splits(folder, read_hil_serl(path), fps=HIL_SERL_FPS, robot_type="unknown", where=str(path))


def write_splits(folder: Path, episodes: Iterable[Episode], *, fps: int, robot_type: str, where: str) -> dict[str, Any]:
    """Datasets `folder`/demos and `folder`/weak. Episodes without camera views give datasets without videos."""
    counts = {"demos": 0, "weak": 0}
    with ExitStack() as stack:
        writers: dict[str, DatasetWriter] = {}
        for episode in episodes:
            split = "demos" if episode.success else "weak"
            if split not in writers:
                writer = DatasetWriter(folder / split, fps=fps, robot_type=robot_type, videos=bool(episode.frames))
                writers[split] = stack.enter_context(writer)
            writers[split].append(episode)
            counts[split] += 1
    if not counts["demos"]:
        raise ValueError(f"{where} holds {counts['weak']} failures and no success: a reward model needs one at least")
    return {
        "demos_episodes": counts["demos"],
        "demos_success": 1.0,
        "weak_episodes": counts["weak"],
        "weak_success": 0.0,
    }
