"""Keyframes that people annotated: where one sub-task ends and the next begins.

Two kinds of JSON file are read. One episode: a list of sub-tasks in order,
`[{"annotation": "reach", "start_frame_id": 8, "end_frame_id": 147}, ...]` (the spelling "anotation" of
published data is taken too). A whole dataset: `{"<episode id or index>": [8, 147, 211, ...], ...}`.

N sub-tasks give N+1 keyframes K_0 < K_1 < ... < K_N: the start of the first and the end of each one, so a pause between
two sub-tasks counts to the second.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64


def load_keyframes(path: str | Path, length: int) -> Int64[np.ndarray, "N+1"]:
    """Keyframes of one episode of `length` frames, increasing, each in [0, length - 1].

    Raises FileNotFoundError when the file is missing; ValueError, naming file and sub-task, when it is no such list or
    holds frames that are no whole numbers, overlap, decrease or lie outside the episode.
    """
    path = Path(path)
    subtasks = read_keyframe_file(path)
    if not isinstance(subtasks, list) or not subtasks:
        raise ValueError(f"{path}: expected a list of sub-tasks with start_frame_id and end_frame_id")
    keyframes: list[Any] = []
    for number, subtask in enumerate(subtasks, start=1):
        if not isinstance(subtask, dict):
            raise ValueError(f"{path}: sub-task {number} is {subtask!r}, expected an object")
        name = str(subtask.get("annotation", subtask.get("anotation", number)))
        for key in ("start_frame_id", "end_frame_id"):
            if not _is_frame(subtask.get(key)):
                raise ValueError(f"{path}: sub-task {name!r} has {key} {subtask.get(key)!r}, expected a whole number")
        start, end = int(subtask["start_frame_id"]), int(subtask["end_frame_id"])
        if end <= start:
            raise ValueError(f"{path}: sub-task {name!r} ends at frame {end}, which is not after its start {start}")
        if keyframes and start < keyframes[-1]:
            raise ValueError(
                f"{path}: sub-task {name!r} starts at frame {start}, before the one ahead of it ends "
                f"({keyframes[-1]}): sub-tasks must follow each other without overlap"
            )
        keyframes += [end] if keyframes else [start, end]
    return check_keyframes(keyframes, length, str(path))


def load_dataset_keyframes(
    path: str | Path, lengths: Mapping[str, int] | Sequence[tuple[str, int]]
) -> dict[str, Int64[np.ndarray, "N+1"]]:
    """Keyframes of a dataset's episodes from one JSON mapping; episodes that the file leaves out have no entry.

    lengths: episode id and number of frames, in the dataset's order, which the file's indices refer to.
    Raises as `load_keyframes`, and ValueError for an unknown episode.
    """
    path = Path(path)
    table = read_keyframe_file(path)
    if not isinstance(table, dict):
        raise ValueError(f"{path}: expected an object that maps episode ids or indices to lists of frames")
    episodes = list(lengths.items()) if isinstance(lengths, Mapping) else list(lengths)
    by_name = {name: (name, length) for name, length in episodes}
    by_index = {str(index): episode for index, episode in enumerate(episodes)}
    keyframes: dict[str, Int64[np.ndarray, "N+1"]] = {}
    for key, frames in table.items():
        known = by_name.get(key) or by_index.get(key)
        if known is None:
            raise ValueError(f"{path}: no episode {key!r} in the dataset: use its id or an index below {len(episodes)}")
        name, length = known
        if name in keyframes:
            raise ValueError(f"{path}: episode {name} is listed twice, by id and by index")
        if not isinstance(frames, list):
            raise ValueError(f"{path}: episode {key} has {frames!r}, expected a list of frames")
        keyframes[name] = check_keyframes(frames, length, f"{path}: episode {key}")
    return keyframes


def read_keyframe_file(path: str | Path) -> Any:
    """The JSON in a keyframe file, unchecked. FileNotFoundError when it is missing, ValueError when it is no JSON."""
    path = Path(path)
    if path.is_dir():
        raise FileNotFoundError(f"keyframe file {path} is a folder: give the JSON file itself")
    if not path.is_file():
        raise FileNotFoundError(f"keyframe file {path} does not exist: check the path")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no JSON ({error}): expected a keyframe file") from error


def check_keyframes(frames: list[Any], length: int, where: str) -> Int64[np.ndarray, "N+1"]:
    """The keyframes of an episode of `length` frames; ValueError, naming `where`, as `load_keyframes` raises it."""
    if length < 2:
        raise ValueError(f"{where}: an episode of {length} frames has no room for keyframes")
    if len(frames) < 2:
        raise ValueError(f"{where}: {len(frames)} keyframes given, at least a first and a last one are needed")
    for frame in frames:
        if not _is_frame(frame):
            raise ValueError(f"{where}: keyframe {frame!r} is no whole number")
        if not 0 <= frame < length:
            raise ValueError(f"{where}: keyframe {frame} lies outside the episode, whose frames are 0 to {length - 1}")
    for before, after in pairwise(frames):
        if after <= before:
            raise ValueError(f"{where}: keyframe {after} follows {before}, keyframes must increase")
    return np.array(frames, np.int64)


def _is_frame(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
