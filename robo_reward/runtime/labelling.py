"""Where keyframes come from (`label.source`), and what the label command writes of them.

Stage predicates and a person's file speak of failures too. A method that only saw an episode can say where its
sub-tasks end once it is known that it did them all: so the others give keyframes to successes, and of a failure only
the start is known, whatever the simulator could have told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.config import Config
from robo_reward.data.keyframes import load_dataset_keyframes, read_keyframe_file
from robo_reward.data.split import iterate_split
from robo_reward.data.subtasks import COLUMNS, read_subtasks
from robo_reward.progress.agreement import agreement, even_keyframes
from robo_reward.progress.labels import keyframes_from_stages, label_episode
from robo_reward.progress.segmentation import event_keyframes, pixel_embedding, uvd_keyframes, variance_keyframes
from robo_reward.runtime.run_folder import write_atomic
from robo_reward.runtime.stages import file_digest
from robo_reward.runtime.tasks import SPLITS, task_of
from robo_reward.types import UNKNOWN_STAGE, Episode

Keyframes = Mapping[str, Sequence[int]]
"""Episode id -> observation indices, the start first; episodes without an entry have none."""


def label_source(config: Config) -> str:
    """`label.source`, which `keyframes=FILE` decides where it is given."""
    return config.label.source if config.keyframes is None else "file"


def label_key(config: Config) -> dict[str, Any]:
    """What decides the labels: what the task is made of, and the content of the file and of the model, not names."""
    task = task_of(config.env)
    key: dict[str, Any] = {
        "task": [task.stages, task.events],
        "keyframes": None if config.keyframes is None else read_keyframe_file(config.keyframes),
    }
    if not _knows_stages(config):
        model = None
        if config.label.model is not None:
            path = Path(config.label.model) / "compact.json"  # holds its weights' checksum
            if not path.is_file():
                raise FileNotFoundError(f"label.model={config.label.model}: no trained reward model here")
            model = file_digest(path)
        settings = {name: value for name, value in asdict(config.label).items() if name not in ("pictures", "model")}
        key["label"] = {**settings, "model": model, "views": config.reward.views}
    return key


def find_keyframes(config: Config, data: Path) -> Keyframes:
    """Keyframes of the dataset's episodes by `label.source`; none where stage predicates decide.

    data: a collected stage's folder, one dataset a split; the indices of a keyframe file count the episodes of all
    splits in order, demonstrations first.
    Raises ValueError where the dataset or the task has nothing that the source could look at.
    """
    source = label_source(config)
    if source == "predicates":
        return {}
    if source == "file":
        return _from_file(config, data)
    if source == "subtask":
        return _from_subtasks(config, data)
    if source == "events":
        return _from_events(config, data)
    return _from_pixels(config, data)


def known_stages(config: Config, episode: Episode) -> Episode:
    """The episode as labels may see it: without stage predicates where keyframes come from another source."""
    return episode if _knows_stages(config) else replace(episode, stage=np.full_like(episode.stage, UNKNOWN_STAGE))


def write_labels(config: Config, data: Path, folder: Path) -> dict[str, Any]:
    """labels.json, a row an episode, and pictures of the first ones; returns the summary."""
    stages, given = len(task_of(config.env).stages), find_keyframes(config, data)
    rows: dict[str, Any] = {}
    exact, found, even, true = [], {}, {}, {}
    for split, original in episodes_of(data):
        name, keys, steps = original.episode_id, given.get(original.episode_id), len(original)
        episode = known_stages(config, original)
        label = label_episode(episode, stages, keys)
        told = (original.stage != UNKNOWN_STAGE).any()
        rows[name] = {
            "split": split,
            "source": _row_source(config, episode, keys),
            "keyframes": [int(key) for key in (keyframes_from_stages(episode.stage) if keys is None else keys)],
            "phi": label.phi.round(4).tolist(),
            "low": label.low.round(4).tolist(),
            "high": label.high.round(4).tolist(),
        }
        exact.append(float(np.mean(label.low == label.high)))
        if told and original.success and label_source(config) != "predicates":
            true[name] = _inner(keyframes_from_stages(original.stage), steps)
            found[name] = _inner(keys or (), steps)
            even[name] = even_keyframes(len(found[name]), steps)
    write_atomic(folder / "labels.json", json.dumps(rows))
    return {
        "labelled_episodes": len(rows),
        "exact_share": float(np.mean(exact)),
        "label_source": label_source(config),
        **{f"agreement_{key}": value for key, value in agreement(found, true).items()},
        **{f"agreement_even_{key}": value for key, value in agreement(even, true).items() if "steps" in key},
        "label_pictures": _write_pictures(config, data, rows, true, folder),
    }


def episodes_of(data: Path, views: tuple[str, ...] | None = ()) -> Iterator[tuple[str, Episode]]:
    """Split and episode, of all splits in order; with every frame of `views` (null: of all views)."""
    for split in SPLITS:
        for episode in iterate_split(data / split, views=views):
            yield split, episode


def _knows_stages(config: Config) -> bool:
    return label_source(config) in ("predicates", "file")


def _row_source(config: Config, episode: Episode, keys: Sequence[int] | None) -> str:
    if keys is not None:
        return label_source(config)
    return "outcome" if (episode.stage == UNKNOWN_STAGE).all() else "predicates"


def _inner(keys: Sequence[int], steps: int) -> tuple[int, ...]:
    """The keyframes that had to be found: every episode has a start and an end."""
    return tuple(sorted({int(key) for key in keys if 0 < key < steps}))


def _whole(inner: Iterable[int], steps: int) -> tuple[int, ...]:
    """A success's keyframes: its start, the inner ones, its end."""
    return (0, *(int(key) for key in inner if 0 < key < steps), steps)


def _from_file(config: Config, data: Path) -> Keyframes:
    stages = len(task_of(config.env).stages)
    lengths = [(episode.episode_id, len(episode) + 1) for _, episode in episodes_of(data)]
    found = load_dataset_keyframes(config.keyframes or "", lengths)
    for name, keys in found.items():
        if len(keys) > stages + 1:
            raise ValueError(
                f"{config.keyframes}: episode {name} has {len(keys) - 1} keyframes after the start, but the task has "
                f"{stages} stages: give at most {stages + 1} keyframes"
            )
    return {name: keys.tolist() for name, keys in found.items()}


def _from_subtasks(config: Config, data: Path) -> Keyframes:
    """The dataset's sub-task column, else the episodes' own stages."""
    stages, keys, successes = len(task_of(config.env).stages), {}, set()
    columns = {split: read_subtasks(data / split) for split in SPLITS if (data / split).exists()}
    for split, episode in episodes_of(data):
        column = columns[split]
        if column is None and (episode.stage == UNKNOWN_STAGE).all():
            raise ValueError(
                f"{(data / split).resolve()} has no column {' or '.join(COLUMNS)} and its episodes have no stages: "
                "annotate it, or choose label.source=uvd, events or variance"
            )
        found = keyframes_from_stages(episode.stage) if column is None else tuple(map(int, column[episode.episode_id]))
        keys[episode.episode_id] = found
        if episode.success:
            successes.add(episode.episode_id)
        elif column is not None:
            keys[episode.episode_id] = found[:-1]  # its last sub-task was begun, not done
    # What a failure reached counts only against a known number of sub-tasks: the task's own.
    complete = all(len(keys[name]) == stages + 1 for name in successes)
    return {name: k for name, k in keys.items() if name in successes or (complete and len(k) <= stages)}


def _from_events(config: Config, data: Path) -> Keyframes:
    signals = task_of(config.env).events
    if not signals:
        raise ValueError(f"{config.env.id} names no column of contact or gripper events: choose another label.source")
    found = {}
    for _, episode in episodes_of(data):
        if not episode.success:
            continue
        width = episode.agent_pos.shape[1]
        if missing := [signal.column for signal in signals if signal.column >= width]:
            raise ValueError(
                f"label.source=events reads column {missing[0]} of the state, where {config.env.id} has its events, "
                f"and episode {episode.episode_id} has {width} columns: choose another label.source or env="
            )
        keys = event_keyframes(episode.agent_pos, signals, apart=config.label.apart)
        found[episode.episode_id] = _whole(keys, len(episode))
    return found


def _from_pixels(config: Config, data: Path) -> Keyframes:
    """uvd and variance: on the frames of all successes, embedded one episode at a time."""
    names, embeddings, at, lengths = [], [], [], []
    model = _load_model(config)
    for _, episode in episodes_of(data, config.reward.views):
        if not episode.success:
            continue
        if not episode.frames:
            raise ValueError(f"episode {episode.episode_id} has no camera view: choose label.source=events or subtask")
        rows = pixel_embedding(episode.frames) if model is None else model.features(episode.frames, episode.instruction)
        names.append(episode.episode_id)
        embeddings.append(rows)
        at.append(episode.frame_steps)
        lengths.append(len(episode))
    apart = config.label.apart
    if config.label.source == "uvd":
        found = [uvd_keyframes(rows, apart=apart) for rows in embeddings]
    else:
        found = variance_keyframes(embeddings, config.label.segments or len(task_of(config.env).stages), apart=apart)
    return {
        name: _whole(steps[list(inner)], length)
        for name, inner, steps, length in zip(names, found, at, lengths, strict=True)
    }


def _load_model(config: Config) -> Any:
    if config.label.model is None:
        return None
    from robo_reward.progress.models.compact import CompactModel

    return CompactModel.load(Path(config.label.model))


def _write_pictures(config: Config, data: Path, rows: dict[str, Any], true: Keyframes, folder: Path) -> int:
    """Pictures of the first episodes, demonstrations first; returns how many."""
    from robo_reward.evaluation.label_picture import label_picture

    count = 0
    for count, (split, episode) in enumerate(islice(episodes_of(data, None), config.label.pictures), start=1):
        row = rows[episode.episode_id]
        picture = label_picture(
            row["keyframes"], np.array(row["phi"]), np.array(row["low"]), np.array(row["high"]),
            frames=episode.frames, frame_steps=episode.frame_steps, true=true.get(episode.episode_id, ()),
            title=f"{split}, {'success' if episode.success else 'failure'}: {episode.instruction} ({row['source']})",
        )  # fmt: skip
        (folder / f"label-{count}-{split}.png").write_bytes(picture)
    return count
