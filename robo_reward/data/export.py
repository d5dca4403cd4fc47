"""Episodes out to a LeRobotDataset v3 that LeRobot's tools read, one closed after the other.

LeRobot takes one row a control step, with its action and its picture. Episodes that hold the frames of every
observation give just that. Many hold only those that a reward model was asked about, every k-th. They are written at
the full control rate without videos: rows at the rate of the frames would need one action for k steps, and k relative
actions summed are beyond [-1, 1] and nothing that a controller took; repeated frames would show a robot that stands
still while its state moves.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from robo_reward.data.disk import DISK, Disk
from robo_reward.data.lerobot import iterate_dataset
from robo_reward.data.lerobot_repair import repair
from robo_reward.data.lerobot_video import Fidelity
from robo_reward.data.lerobot_writer import DatasetWriter
from robo_reward.data.store import TransitionStore
from robo_reward.types import Episode


def export_episodes(
    episodes: Iterable[Episode],
    folder: str | Path,
    *,
    fps: int,
    robot_type: str,
    task_stages: Sequence[str] = (),
    videos: bool | None = None,
    fidelity: Fidelity = "compact",
    resume: bool = False,
    disk: Disk = DISK,
) -> int:
    """Write episodes to a new LeRobotDataset v3; each is on the disk before the next one is asked for.

    Args:
        episodes: with the same sizes and views; a repeated `episode_id` is refused.
        folder: must not exist or be empty, unless `resume`.
        fps: control steps a second.
        robot_type: any name.
        task_stages: names of stages 1..N.
        videos: None makes videos when the first episode holds the frames of all its observations; True refuses
            episodes that do not; False writes none.
        fidelity: "compact" is LeRobot's own encoding, "exact" see `lerobot_video`.
        resume: go on after the last complete episode of `folder`, passing over those that are there.
        disk: where durability is promised.

    Returns:
        The number of episodes in the dataset.

    Raises:
        ValueError: no episodes, or one that does not fit; those before it stay readable.
    """
    folder = Path(folder)
    writer: DatasetWriter | None = None
    for episode in episodes:
        if writer is None:
            writer = DatasetWriter(
                folder, fps=fps, robot_type=robot_type, task_stages=task_stages, resume=resume, close_every=1,
                fidelity=fidelity, videos=has_all_frames(episode) if videos is None else videos,
            )  # fmt: skip
            kept = frozenset(writer.episode_ids)
        if episode.episode_id in kept:
            continue
        started = time.time_ns()
        writer.append(episode)
        _sync(folder, started, disk)
    if writer is None:
        raise ValueError(f"no episodes to export to {folder}: collect or train first")
    return len(writer.episode_ids)


def check_origin(folder: str | Path, store: TransitionStore) -> None:
    """Raises ValueError when the dataset in `folder` holds other episodes than the store's; none yet is no mistake.

    Episode ids follow the seed, so two runs share them: what the arm did in them tells the runs apart.
    """
    folder = Path(folder)
    if not folder.is_dir() or not any(folder.iterdir()) or not repair(folder):
        return
    known = {entry.episode_id for entry in store.episodes()}
    for there in iterate_dataset(folder, views=()):
        mine = store.read(there.episode_id, frames=False) if there.episode_id in known else None
        if mine is None or not (
            np.array_equal(mine.action, there.action) and np.array_equal(mine.agent_pos, there.agent_pos)
        ):
            raise ValueError(
                f"{folder} holds episode {there.episode_id} of another run than {store.folder}: choose another folder "
                "with to="
            )


def has_all_frames(episode: Episode) -> bool:
    """Whether it holds the frames of all its T+1 observations."""
    return bool(episode.frames) and np.array_equal(episode.frame_steps, np.arange(len(episode) + 1))


def _sync(folder: Path, since_ns: int, disk: Disk) -> None:
    """Bring what LeRobot wrote since then to the disk; it syncs nothing itself."""
    slack_ns = 1_000_000_000  # file times are coarser than the clock
    fresh = [path for path in folder.rglob("*") if path.stat().st_mtime_ns >= since_ns - slack_ns]
    fresh.sort(key=Path.is_dir)  # content first, then the names
    for path in (*fresh, folder, folder.parent):
        disk.sync_folder(path)  # which syncs a file just as well
