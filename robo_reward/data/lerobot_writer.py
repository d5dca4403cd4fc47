"""Writes episodes into a LeRobotDataset v3, a part at a time, so that a crash costs little."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np

from robo_reward.data.lerobot_package import import_lerobot
from robo_reward.data.lerobot_repair import repair
from robo_reward.data.lerobot_schema import features_of, read_info, rows_of
from robo_reward.data.lerobot_video import SETTINGS, EpisodeEncoder, Fidelity
from robo_reward.types import Episode

REPO_ID = "robo_reward/local"  # LeRobot wants a hub name even for a local folder; nothing is ever uploaded
VIDEO_FILE_MB = 1  # LeRobot appends an episode's video by copying the whole file, which must therefore stay small


class DatasetWriter:
    """Context manager that appends episodes to the dataset at `root`.

    `root` must not exist (or be an empty folder) unless `resume` is set, which repairs what a crash left and continues
    after the last closed episode: ask `episode_ids` which ones are there. Every `close_every` episodes, on leaving the
    context and on Ctrl-C, everything appended so far is closed; only a killed process loses the part it was in.

    fps: control steps a second. robot_type: any name. task_stages: names of stages 1..N.
    fidelity: see `lerobot_video`. videos: whether frames are written; without, an episode needs none.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        fps: int,
        robot_type: str,
        task_stages: Sequence[str] = (),
        resume: bool = False,
        close_every: int = 25,
        fidelity: Fidelity = "exact",
        videos: bool = True,
    ) -> None:
        if fps != int(fps) or fps < 1:
            raise ValueError(f"fps must be a whole number of at least 1, got {fps}")
        if close_every < 1:
            raise ValueError(f"close_every must be at least 1 episode, got {close_every}")
        if fidelity not in SETTINGS:
            raise ValueError(f"fidelity must be one of {', '.join(SETTINGS)}, got {fidelity!r}")
        self.root = Path(root)
        self.fps, self.robot_type, self.task_stages = int(fps), robot_type, tuple(task_stages)
        self.close_every, self.fidelity, self.videos = close_every, fidelity, videos
        self.episode_ids: list[str] = []
        """Episodes of the dataset, in order."""
        self._dataset: Any = None
        self._features: dict[str, dict[str, Any]] | None = None
        self._unclosed = 0
        if self.root.exists() and not (self.root.is_dir() and not any(self.root.iterdir())):
            if not resume:
                raise ValueError(f"{self.root} exists already: choose another folder, remove it, or resume it")
            self.episode_ids = repair(self.root)
            if self.episode_ids:
                self._check_same_settings()

    def __enter__(self) -> DatasetWriter:
        return self

    def append(self, episode: Episode) -> None:
        """Add one episode that holds the frames of all its T+1 observations (any or none when `videos` is off).

        Raises ValueError for an invalid or repeated episode, missing frames, and views or shapes that differ from
        those of the dataset.
        """
        episode.validate()
        if not self.videos:
            episode = replace(episode, frames={}, frame_steps=np.zeros(0, np.int64))
        features = features_of(episode, self.task_stages)
        self._check(episode, features)
        with _interrupt_deferred():  # LeRobot's files would be left half-updated
            try:
                dataset = self._opened(features)
                for row in rows_of(episode):
                    dataset.add_frame(row)
                with _plain_saving():
                    dataset.save_episode()
            except BaseException:
                self._give_up_episode()
                raise
            self.episode_ids.append(episode.episode_id)
            self._features = features
            self._unclosed += 1
            if self._unclosed >= self.close_every:
                self.close()

    def close(self) -> None:
        """Make everything appended so far durable and readable; the writer can be used on."""
        if self._dataset is not None:
            self._dataset.finalize()
        self._dataset, self._unclosed = None, 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with _interrupt_deferred():
            self.close()

    def _give_up_episode(self) -> None:
        """After a failure inside an episode: close the ones before it and remove its traces."""
        if self._dataset is not None:
            self._dataset.clear_episode_buffer()
            self.close()
            self.episode_ids = repair(self.root)

    def _opened(self, features: dict[str, dict[str, Any]]) -> Any:
        if self._dataset is not None:
            return self._dataset
        lerobot = import_lerobot()
        if self.episode_ids:
            # LeRobot cannot go on with a closed file; opened anew it begins the next one.
            dataset = lerobot.lerobot_dataset.LeRobotDataset(REPO_ID, root=self.root, streaming_encoding=True)
        else:
            if self.root.is_dir():
                self.root.rmdir()  # empty; LeRobot insists on making it
            dataset = lerobot.lerobot_dataset.LeRobotDataset.create(
                REPO_ID,
                self.fps,
                features,
                root=self.root,
                robot_type=self.robot_type,
                streaming_encoding=True,
            )
            dataset.meta.update_chunk_settings(video_files_size_in_mb=VIDEO_FILE_MB)
        dataset._streaming_encoder = EpisodeEncoder(self.fps, self.fidelity)
        self._dataset = dataset
        return dataset

    def _check(self, episode: Episode, features: dict[str, dict[str, Any]]) -> None:
        name = f"episode {episode.episode_id}"
        if self.videos and not np.array_equal(episode.frame_steps, np.arange(len(episode) + 1)):
            raise ValueError(
                f"{name} holds frames of {len(episode.frame_steps)} of its {len(episode) + 1} observations: "
                "a dataset needs the frames of all of them, or videos=False"
            )
        if self.videos and not episode.frames:
            raise ValueError(f"{name} has no camera views: record at least one")
        if not episode.instruction:
            raise ValueError(f"{name} has an empty instruction: a dataset needs one in words")
        if episode.episode_id in self.episode_ids:
            raise ValueError(f"{name} is in dataset {self.root} already: give every episode its own id")
        if self._features is None:
            return
        shapes = {key: tuple(value["shape"]) for key, value in features.items()}
        expected = {key: tuple(value["shape"]) for key, value in self._features.items()}
        for key in sorted(shapes.keys() | expected.keys()):
            if shapes.get(key) != expected.get(key):
                raise ValueError(
                    f"{name} has {key} of shape {shapes.get(key)}, dataset {self.root} has {expected.get(key)}: "
                    "all episodes of a dataset need the same views and sizes"
                )

    def _check_same_settings(self) -> None:
        info = read_info(self.root)
        for name, here, there in (
            ("fps", self.fps, info.fps),
            ("robot_type", self.robot_type, info.robot_type),
            ("task_stages", self.task_stages, info.task_stages),
        ):
            if here != there:
                raise ValueError(f"dataset {self.root} has {name} {there}, cannot resume it with {here}")
        ours = ("timestamp", "frame_index", "episode_index", "index", "task_index")
        self._features = {key: dict(value) for key, value in info.features.items() if key not in ours}


@contextmanager
def _plain_saving() -> Iterator[None]:
    """Keep LeRobot from copying every row of an episode in search of still images, of which our datasets have none (two
    thirds of the time that writing takes), and from warning about its own arithmetic."""
    module = import_lerobot().lerobot_dataset
    original = module.embed_images
    module.embed_images = lambda rows: rows
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        module.embed_images = original


@contextmanager
def _interrupt_deferred() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done (signals reach the main thread only)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if pressed:
        raise KeyboardInterrupt
