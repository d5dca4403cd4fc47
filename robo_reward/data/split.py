"""One split of recorded rollouts: a LeRobotDataset with every frame, or a transition store with the queried ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from robo_reward.data.lerobot import DatasetWriter, iterate_dataset
from robo_reward.data.store import TransitionStore, is_store
from robo_reward.types import Episode

_ACTOR = "collect"


def iterate_split(path: Path, *, query_every: int = 1, views: Sequence[str] | None = None) -> Iterator[Episode]:
    """The split's episodes in order, one in memory at a time; none where the folder is missing.

    query_every: interval of the frames to keep, as in `iterate_dataset`; of a store, among those that were recorded.
    views: the views to read, default all. Raises as `iterate_dataset` and `TransitionStore` do.
    """
    if not path.exists():
        return
    if path.is_symlink():  # to the user's own dataset, which errors name
        path = path.readlink()
    if not is_store(path):
        yield from iterate_dataset(path, query_every=query_every, views=views)
        return
    with TransitionStore(path) as store:
        for entry in store.episodes():
            episode = _thinned(store.read(entry.episode_id, frames=views is None or len(views) > 0), query_every)
            if views is None:
                yield episode
                continue
            if missing := [view for view in views if view not in episode.frames]:
                raise ValueError(f"store {path} has no view {missing[0]!r}; it has {', '.join(episode.frames)}")
            yield replace(episode, frames={view: episode.frames[view] for view in views})


def _thinned(episode: Episode, every: int) -> Episode:
    """The episode with the frames of every such step and of the last one alone."""
    kept = (episode.frame_steps % every == 0) | (episode.frame_steps == len(episode))
    frames = {view: found[kept] for view, found in episode.frames.items()}
    return replace(episode, frame_steps=episode.frame_steps[kept], frames=frames)


@contextmanager
def dataset_recorder(
    path: Path, fps: int, robot_type: str, task_stages: Sequence[str]
) -> Iterator[tuple[int, Callable[[Episode], None]]]:
    """A LeRobotDataset to go on with: how many episodes it has, and what appends one."""
    with DatasetWriter(path, fps=fps, robot_type=robot_type, task_stages=task_stages, resume=True) as writer:
        yield len(writer.episode_ids), writer.append


@contextmanager
def store_recorder(path: Path) -> Iterator[tuple[int, Callable[[Episode], None]]]:
    """A transition store to go on with: how many episodes it has, and what appends one."""
    with TransitionStore(path, writable=True) as store:

        def append(episode: Episode) -> None:
            known = store.index.actors.get(_ACTOR)
            store.append_episode(_ACTOR, known.acknowledged + 1 if known else 0, episode)

        yield len(store.episodes()), append
