"""Episodes to and from LeRobotDataset v3, written and indexed by LeRobot's own package, offline.

The layout of the rows is described in `lerobot_schema`, the writer's guarantees in `lerobot_writer`, how datasets of
other tools are read in `lerobot_plain`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.data.lerobot_package import import_lerobot
from robo_reward.data.lerobot_plain import NEEDED, decode_pictures, plain_episode_of
from robo_reward.data.lerobot_repair import unreadable_parquet
from robo_reward.data.lerobot_schema import SCALARS, DatasetInfo, episode_of, read_info
from robo_reward.data.lerobot_video import Fidelity
from robo_reward.data.lerobot_writer import REPO_ID, DatasetWriter
from robo_reward.data.sparse import kept_steps
from robo_reward.data.video import resize
from robo_reward.types import UNKNOWN_STAGE, Episode

__all__ = [
    "DatasetInfo",
    "DatasetWriter",
    "iterate_clips",
    "iterate_dataset",
    "read_dataset",
    "read_info",
    "write_dataset",
]


def write_dataset(
    root: str | Path,
    episodes: Iterable[Episode],
    *,
    fps: int,
    robot_type: str,
    task_stages: Sequence[str] = (),
    fidelity: Fidelity = "exact",
) -> None:
    """Write `episodes`, each with the frames of all its observations, to a new dataset folder.

    fps: control steps a second. task_stages: names of stages 1..N. fidelity: see `lerobot_video`.
    Raises ValueError when the folder exists or an episode does not fit.
    """
    with DatasetWriter(root, fps=fps, robot_type=robot_type, task_stages=task_stages, fidelity=fidelity) as writer:
        for episode in episodes:
            writer.append(episode)


def read_dataset(root: str | Path, *, query_every: int = 1, views: Sequence[str] | None = None) -> list[Episode]:
    """All episodes of the dataset at `root`; arguments and errors as in `iterate_dataset`."""
    return list(iterate_dataset(root, query_every=query_every, views=views))


def iterate_dataset(
    root: str | Path, *, query_every: int = 1, views: Sequence[str] | None = None, only: Sequence[int] | None = None
) -> Iterator[Episode]:
    """Yield the episodes of the dataset at `root` in order, one in memory at a time.

    query_every: keep the frames of every k-th observation and of the last one (1 keeps all: 5 MB an episode of 90
    observations with three 84 px views). views: the views to decode, default all. only: numbers of the episodes to
    read, from 0, default all.
    Raises FileNotFoundError for a missing dataset or file; ValueError for another format version, a half-written
    dataset, a view or feature it lacks, actions beyond [-1, 1], and a video that does not decode.
    """
    info = read_info(root)
    needed = (*NEEDED, *(SCALARS if info.ours else ()))
    for name in needed:
        if name not in info.features:
            raise ValueError(f"dataset {root} has no feature {name!r}: it needs {', '.join(NEEDED)} at least")
    for number, columns, instruction, steps, frames in _recordings(info, query_every, views, only=only, needed=needed):
        if info.ours:
            yield episode_of(columns, instruction, steps, frames)
        else:
            where = f"dataset {root}, episode {number}"
            yield plain_episode_of(columns, instruction, number, where, steps, frames)


def iterate_clips(
    root: str | Path, *, query_every: int, views: Sequence[str], size: int | None, only: Sequence[int] | None = None
) -> Iterator[Episode]:
    """Yield what a reward model needs of every episode: an observation a row, its pictures and the instruction.

    States and actions are left out, so datasets whose actions have any unit, or none, will do.

    query_every, views, only: as in `iterate_dataset`. size: the frames are scaled to squares of this side [px]; None
    leaves them as they are. Errors as in `iterate_dataset`, those about features and actions excepted.
    """
    for number, columns, instruction, steps, frames in _recordings(read_info(root), query_every, views, size, only):
        rows = len(columns["episode_index"])
        nothing = np.zeros((rows, 0), np.float32)
        yield Episode(
            episode_id=f"episode-{number}",
            instruction=instruction,
            source="unknown",
            seed=number,
            agent_pos=nothing,
            estimate=nothing,
            action=nothing[1:],
            reward=np.zeros(rows - 1, np.float32),
            stage=np.full(rows, UNKNOWN_STAGE, np.int64),
            oracle=None,
            terminated=False,
            truncated=True,
            success=False,
            frame_steps=steps,
            frames=frames,
        )


def _recordings(
    info: DatasetInfo,
    query_every: int,
    views: Sequence[str] | None,
    size: int | None = None,
    only: Sequence[int] | None = None,
    needed: Sequence[str] = (),
) -> Iterator[tuple[int, dict[str, Any], str, np.ndarray, dict[str, np.ndarray]]]:
    """Number, column arrays, instruction, observation indices of the frames and frames of every episode."""
    root, wanted = info.root, info.views if views is None else tuple(views)
    for view in wanted:
        if view not in info.views:
            raise ValueError(f"dataset {root} has no view {view!r}: choose from {', '.join(info.views) or 'none'}")
    pictures = [key for key in map(info.view_feature, wanted) if info.features[key]["dtype"] == "image"]
    index = _index(info)
    tables: dict[Path, Any] = {}
    videos: dict[Path, Any] = {}
    for number in range(info.episodes) if only is None else only:
        row = index.episodes[number]
        path = info.root / index.get_data_file_path(number)
        columns = _columns(path, row, tables, ("episode_index", *needed, *pictures))
        length = int(row["length"])
        steps = kept_steps(length - 1, query_every)
        frames = {}
        for view in wanted:
            key = info.view_feature(view)
            if key in pictures:
                kept = decode_pictures(columns[key][steps], f"dataset {root}, episode {number}")
            else:
                path = info.root / index.get_video_file_path(number, key)
                first = round(row[f"videos/{key}/from_timestamp"] * info.fps)
                kept = _decode(path, first, length, videos)[steps]
            frames[view] = kept if size is None else resize(kept, size)
        yield number, columns, row["tasks"][0], steps, frames


def _index(info: DatasetInfo) -> Any:
    """LeRobot's own metadata object; every file it would otherwise look for on the hub is checked before."""
    cure = "resume its collection, or remove the folder and collect again"
    damaged = unreadable_parquet(info.root)
    if damaged:
        name = damaged[0].relative_to(info.root)
        raise ValueError(f"dataset {info.root} is half-written ({name} was never closed): {cure}")
    if not (info.root / "meta" / "tasks.parquet").is_file() or not any(
        (info.root / "meta/episodes").rglob("*.parquet")
    ):
        raise ValueError(f"dataset {info.root} is half-written (no closed episode): {cure}")
    index = import_lerobot().lerobot_dataset.LeRobotDatasetMetadata(REPO_ID, root=info.root)
    if len(index.episodes) != info.episodes:
        raise ValueError(
            f"dataset {info.root} is half-written ({len(index.episodes)} of {info.episodes} episodes closed): {cure}"
        )
    return index


def _columns(path: Path, row: dict[str, Any], tables: dict[Path, Any], needed: Sequence[str]) -> dict[str, Any]:
    """The episode's rows as column arrays, those that are needed among them."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if path not in tables:
        if not path.is_file():
            raise FileNotFoundError(f"dataset file {path} is missing: copy the dataset again, or collect it again")
        tables.clear()  # episodes come in order: one file at a time
        tables[path] = pq.read_table(path)
    table = tables[path]
    if missing := [name for name in needed if name not in table.column_names]:
        raise ValueError(
            f"{path} lacks the column {missing[0]!r} that meta/info.json lists: copy the dataset again, or collect it "
            "again"
        )
    part = table.filter(pc.equal(table["episode_index"], row["episode_index"]))
    if len(part) != row["length"]:
        raise ValueError(f"{path} holds {len(part)} of {row['length']} rows of episode {row['episode_index']}: damaged")
    return {name: part[name].to_numpy(zero_copy_only=False) for name in part.column_names}


def _decode(path: Path, first: int, length: int, videos: dict[Path, Any]) -> np.ndarray:
    """Frames first .. first+length-1 of a video file, uint8 (length, H, W, 3), decoded in one sequential pass."""
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, RuntimeError, OSError) as error:
        raise ValueError(
            "reading videos needs torchcodec and FFmpeg's libraries: pip install 'robo_reward[lerobot]' and install "
            "ffmpeg (Debian: apt-get install ffmpeg)"
        ) from error
    try:
        if path not in videos:
            if not path.is_file():
                raise FileNotFoundError(f"video {path} is missing: copy the dataset again, or collect it again")
            for other in [other for other in videos if other.parent.parent == path.parent.parent]:
                del videos[other]  # this view's last file is done
            # The settings of LeRobot's reader, so that both see the same pixels.
            videos[path] = VideoDecoder(str(path), dimension_order="NHWC", seek_mode="approximate")
        frames: np.ndarray = videos[path].get_frames_in_range(first, first + length).data.numpy()
    except (RuntimeError, IndexError, ValueError) as error:
        raise ValueError(
            f"video {path} does not decode (frames {first} to {first + length - 1}): the file is damaged; copy the "
            "dataset again, or collect it again"
        ) from error
    return frames
