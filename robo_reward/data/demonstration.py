"""One demonstration of a task that a reward model has never seen: videos with keyframes, or a dataset's episode.

A folder of videos holds one file a camera, all of the same moments, and annotated_keyframes.json. A camera is called
as its file, without `observation.images.` and `cam_`; `cam_high` is called `front`, as in Robo-Dopamine's format (arXiv
2512.23703).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from robo_reward.data.keyframes import load_keyframes
from robo_reward.data.lerobot import iterate_clips, iterate_dataset, read_info
from robo_reward.data.lerobot_schema import IMAGE_PREFIX
from robo_reward.data.sparse import kept_steps
from robo_reward.data.subtasks import read_subtasks
from robo_reward.data.video import read_video, resize
from robo_reward.progress.blank import shows_nothing
from robo_reward.progress.labels import keyframes_from_stages
from robo_reward.types import UNKNOWN_STAGE, Episode

KEYFRAMES = "annotated_keyframes.json"
VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm")


@dataclass(frozen=True)
class Recording:
    """Videos of the same moments as an episode without actions, and what their files say."""

    episode: Episode
    fps: float
    file_sizes: Mapping[str, tuple[int, int]]
    """Camera -> height and width of its file's frames [px]."""


def read_recording(
    videos: Mapping[str, str], size: int | None, instruction: str, *, every: int = 1, success: bool = False
) -> Recording:
    """The videos as an episode whose every frame is an observation.

    videos: camera -> file, at least one. size: the pictures are scaled to squares of this side [px], if any.
    every: pictures kept, beside the last.
    Raises FileNotFoundError for a missing file; ValueError, naming it, when it is damaged, holds a single frame, or has
    another length or rate than the first.
    """
    frames, sizes = {}, {}
    first, length, fps = "", 0, 0.0
    for view, path in videos.items():
        video = read_video(path, size=size)
        if video.length < 2:
            raise ValueError(f"video.{view}={path} has a single frame, which is no movement: give a recording")
        if not first:
            first, length, fps = view, video.length, video.fps
        elif video.length != length or abs(video.fps - fps) > 0.01 * fps:
            raise ValueError(
                f"video.{view}={path} has {video.length} frames at {video.fps:g} a second, video.{first} has {length} "
                f"at {fps:g}: give videos of the same moments"
            )
        frames[view], sizes[view] = video.frames[kept_steps(length - 1, every)], video.file_size
    nothing = np.zeros((length, 0), np.float32)
    episode = Episode(
        episode_id=str(videos[first]), instruction=instruction, source="human" if success else "unknown", seed=0,
        agent_pos=nothing, estimate=nothing, action=nothing[1:], reward=np.zeros(length - 1, np.float32),
        stage=np.full(length, UNKNOWN_STAGE, np.int64), oracle=None, terminated=success, truncated=not success,
        success=success, frame_steps=kept_steps(length - 1, every), frames=frames,
    )  # fmt: skip
    return Recording(episode, fps or 20.0, sizes)


def read_demonstration(
    demo: str, size: int | None, instruction: str | None, *, every: int
) -> tuple[Episode, list[int] | None]:
    """The demonstration and its keyframes, None where its own stages, or nothing but its outcome, are known.

    demo: a folder of videos with annotated_keyframes.json, or DATASET:EPISODE, an episode of a LeRobotDataset by its
    number from 0. size: the pictures are scaled to squares of this side [px], if any. instruction: in place of the
    dataset's own; a folder of videos has none. every: frames between two that are kept.
    Raises FileNotFoundError or ValueError, in one line, for whatever cannot be learned from.
    """
    if instruction is not None and not instruction.strip():
        raise ValueError(
            "instruction is empty: say what the robot is told in demo=, such as instruction='open the box'"
        )
    dataset, colon, number = demo.rpartition(":")
    if colon and number.isdigit() and not Path(demo).exists():
        episode, keyframes = _from_dataset(dataset, int(number), size, instruction, every)
    else:
        episode, keyframes = _from_videos(Path(demo), size, instruction, every)
    if not episode.success:
        raise ValueError(f"demo={demo} is a failure: give a demonstration that reaches the goal")
    if not episode.frames:
        raise ValueError(f"demo={demo} has no camera views: give an episode with video")
    if all((pictures == pictures[0]).all() for pictures in episode.frames.values()):
        raise ValueError(f"demo={demo}: nothing moves in any camera: give a recording of the task")
    for which, at in (("first", 0), ("last", -1)):
        if all(shows_nothing(pictures[[at]])[0] for pictures in episode.frames.values()):
            raise ValueError(f"demo={demo}: the {which} frame is of a single colour in all cameras: cut it off")
    return episode, keyframes


def demonstration_files(demo: str) -> list[Path]:
    """The files that decide what `read_demonstration` returns."""
    folder = Path(demo)
    if folder.is_dir():
        return [*_videos(folder).values(), folder / KEYFRAMES]
    dataset = Path(demo.rpartition(":")[0])
    return sorted(path for part in ("meta", "data") for path in (dataset / part).rglob("*.*"))


def _videos(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEOS):
        name = path.stem.removeprefix(IMAGE_PREFIX).removeprefix("cam_")
        name = "front" if name == "high" else name
        if name in found:
            raise ValueError(f"demo={folder}: {found[name].name} and {path.name} are both camera {name!r}: rename one")
        found[name] = path
    return found


def _from_videos(folder: Path, size: int | None, instruction: str | None, every: int) -> tuple[Episode, list[int]]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"demo={folder} does not exist: give a folder with videos and {KEYFRAMES}, or DATASET:EPISODE"
        )
    if not (videos := _videos(folder)):
        raise ValueError(f"demo={folder} holds no videos: give one file a camera, such as front.mp4, and {KEYFRAMES}")
    if instruction is None:
        raise ValueError(f"demo={folder} does not say what the robot was told: add instruction='...'")
    recording = read_recording({v: str(p) for v, p in videos.items()}, size, instruction, every=every, success=True)
    keyframes = load_keyframes(folder / KEYFRAMES, len(recording.episode) + 1)
    return replace(recording.episode, episode_id=folder.name), keyframes.tolist()


def _from_dataset(
    dataset: str, number: int, size: int | None, instruction: str | None, every: int
) -> tuple[Episode, list[int] | None]:
    info = read_info(dataset)
    if number >= info.episodes:
        raise ValueError(f"demo={dataset}:{number}: the dataset has {info.episodes} episodes, numbered from 0")
    if info.ours:
        (episode,) = iterate_dataset(dataset, query_every=every, only=(number,))
        if size is not None:
            episode = replace(episode, frames={v: resize(f, size) for v, f in episode.frames.items()})
    else:
        (clip,) = iterate_clips(dataset, query_every=every, views=info.views, size=size, only=(number,))
        episode = replace(clip, success=True, source="human", terminated=True, truncated=False)
    subtasks = read_subtasks(dataset)
    keyframes = None if subtasks is None else list(subtasks.values())[number].tolist()
    if keyframes is None and (episode.stage != UNKNOWN_STAGE).any():
        keyframes = list(keyframes_from_stages(episode.stage))
    told = episode.instruction if instruction is None else instruction
    if not told.strip():
        raise ValueError(f"demo={dataset}:{number} has an empty instruction: add instruction='...'")
    if len(episode) == 0:
        raise ValueError(f"demo={dataset}:{number} has a single frame, which is no movement: choose another episode")
    return replace(episode, instruction=told), keyframes
