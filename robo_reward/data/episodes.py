"""One episode as one .npz file, written whole or not at all, read without executing anything in it."""

from __future__ import annotations

import io
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.data.disk import replace_file
from robo_reward.types import Episode

_VIEW = "view."
_SINGLE = {"episode_id", "instruction", "source", "seed", "terminated", "truncated", "success"}


def save_episode(path: Path, episode: Episode) -> None:
    """Write the episode compressed, synced, under its final name only when complete."""
    arrays: dict[str, Any] = {f"{_VIEW}{view}": frames for view, frames in episode.frames.items()}
    for item in fields(Episode):
        value = getattr(episode, item.name)
        if item.name != "frames" and value is not None:
            arrays[item.name] = np.asarray(value)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    replace_file(path, buffer.getvalue())


def load_episode(path: Path) -> Episode:
    """Read what `save_episode` wrote. Raises FileNotFoundError, or ValueError for a damaged or foreign file."""
    if not path.is_file():
        raise FileNotFoundError(f"no episode at {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        frames = {name[len(_VIEW) :]: value for name, value in arrays.items() if name.startswith(_VIEW)}
        single = {name: value.item() for name, value in arrays.items() if value.ndim == 0}
        rest = {name: value for name, value in arrays.items() if value.ndim and not name.startswith(_VIEW)}
        if single.keys() - {"base_id"} != _SINGLE:
            raise ValueError(f"its single values are {sorted(single)}")
        episode = Episode(**{"oracle": None, **rest}, **single, frames=frames)
    except Exception as error:  # zipfile and numpy raise many types for a damaged file
        raise ValueError(f"{path} is not a readable episode ({error}); delete it and run the command again") from error
    return episode.validate()
