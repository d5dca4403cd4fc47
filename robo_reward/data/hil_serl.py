"""Transitions that HIL-SERL recorded (`*.pkl`), as episodes.

The file is a pickled list of dicts with observations, actions, next_observations, rewards, dones and more. It is read
by `pickled`, which executes nothing. Transitions belong to one episode as long as each begins with the observation that
the one before ended with, up to `dones`. An episode is a success when its last reward is above 0; it has terminated
when it is a success that was done, and is truncated otherwise (HIL-SERL marks its time-outs as done too).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.data.actions import unit_actions
from robo_reward.data.pickled import MAX_BYTES, PickledArray, read_pickle
from robo_reward.data.sparse import kept_steps
from robo_reward.types import UNKNOWN_STAGE, Episode

FIELDS = ("observations", "actions", "next_observations", "rewards", "dones")


def read_hil_serl(
    path: str | Path,
    *,
    query_every: int = 1,
    views: Sequence[str] | None = None,
    state_keys: Sequence[str] = ("state",),
    instruction: str | None = None,
    source: str = "human",
) -> list[Episode]:
    """All episodes of a file of transitions.

    query_every: keep the frames of every k-th observation and of the last one. views: image keys, default all.
    state_keys: whose values, in this order, are `agent_pos`. instruction: default is the file's name in words.
    source: who acted. An observation may have a leading history axis of length 1.
    Raises FileNotFoundError, or ValueError, naming file and transition, for anything that is no such file, for what
    would have to be executed, and for actions beyond [-1, 1].
    """
    path = Path(path)
    transitions = read_pickle(path)
    if type(transitions) is not list or not transitions:
        raise ValueError(f"{path} holds a {type(transitions).__name__}, expected a list of transitions")
    for number, transition in enumerate(transitions):
        _check(f"{path}, transition {number}", transition)
    first = transitions[0]["observations"]
    wanted = [key for key in first if _is_image(first[key])] if views is None else list(views)
    for key in (*state_keys, *wanted):
        if key not in first:
            raise ValueError(f"{path} has no observation {key!r}: choose from {', '.join(first)}")
    if (used := sum(_bytes(t["observations"], wanted) for t in transitions)) > MAX_BYTES:
        raise ValueError(f"{path} unfolds to {used} bytes of images, allowed are {MAX_BYTES}: choose fewer views")
    words = instruction or path.stem.replace("_", " ").replace("-", " ")
    return [
        _episode(path, number, span, transitions, query_every, wanted, state_keys, words, source)
        for number, span in enumerate(_spans(path, transitions, state_keys))
    ]


def _check(where: str, transition: Any) -> None:
    if type(transition) is not dict or not all(key in transition for key in FIELDS):
        raise ValueError(f"{where} is no dict with {', '.join(FIELDS)}")
    for key in ("observations", "next_observations"):
        values = transition[key]
        if type(values) is not dict or not all(
            type(v) is PickledArray and v.value is not None for v in values.values()
        ):
            raise ValueError(f"{where}: {key} is no dict of arrays")


def _spans(path: Path, transitions: list[Any], state_keys: Sequence[str]) -> Iterator[range]:
    """Runs of contiguous transitions."""
    begin = 0
    for t, transition in enumerate(transitions):
        last = t + 1 == len(transitions) or _number(transition["dones"], f"{path}, transition {t}: dones") > 0
        if not last:
            after = _vector(path, t, transition["next_observations"], state_keys)
            last = not np.array_equal(after, _vector(path, t + 1, transitions[t + 1]["observations"], state_keys))
        if last:
            yield range(begin, t + 1)
            begin = t + 1


def _episode(
    path: Path, number: int, span: range, transitions: list[Any], query_every: int, views: Sequence[str],
    state_keys: Sequence[str], instruction: str, source: str,
) -> Episode:  # fmt: skip
    own = [transitions[t] for t in span]
    observations = [t["observations"] for t in own] + [own[-1]["next_observations"]]
    indices = [*span, span[-1]]
    steps = kept_steps(len(own), query_every)
    reward = np.array(
        [_number(t["rewards"], f"{path}, transition {i}: rewards") for t, i in zip(own, span, strict=True)]
    )
    success = bool(reward[-1] > 0)
    terminated = success and _number(own[-1]["dones"], f"{path}: dones") > 0
    action = [_flat(t["actions"], f"{path}, transition {i}: actions") for t, i in zip(own, span, strict=True)]
    state = [_vector(path, i, o, state_keys) for o, i in zip(observations, indices, strict=True)]
    where = f"{path}, transitions {span[0]} to {span[-1]}"
    return Episode(
        episode_id=f"{path.stem}-{number}",
        instruction=instruction,
        source=source,
        seed=number,
        agent_pos=_stacked(state, f"{where}: {', '.join(state_keys)}").astype(np.float32),
        estimate=np.zeros((len(state), 0), np.float32),
        action=unit_actions(_stacked(action, f"{where}: actions"), where),
        reward=reward.astype(np.float32),
        stage=np.full(len(state), UNKNOWN_STAGE, np.int64),
        oracle=None,
        terminated=terminated,
        truncated=not terminated,
        success=success,
        frame_steps=steps,
        frames={
            view: _stacked([_image(path, indices[t], observations[t], view) for t in steps], f"{where}: {view}")
            for view in views
        },
    ).validate()


def _vector(path: Path, index: int, observation: dict[str, PickledArray], keys: Sequence[str]) -> np.ndarray:
    """The named values behind each other, float64 (P,)."""
    where = f"{path}, transition {index}: observation"
    for key in keys:
        if key not in observation:
            raise ValueError(f"{where} has no {key!r}")
    return np.concatenate([_flat(observation[key], f"{where} {key!r}") for key in keys])


def _flat(value: Any, where: str) -> np.ndarray:
    """An array of shape (P,), or (1, P) with the history axis."""
    array = value.value if type(value) is PickledArray else None
    if array is not None and array.ndim == 2 and len(array) == 1:
        array = array[0]
    if array is None or array.ndim != 1:
        shape = "no array" if array is None else f"an array of shape {array.shape}"
        raise ValueError(f"{where} is {shape}, expected shape (P,) or (1, P): record with a history of 1")
    return array.astype(np.float64)


def _number(value: Any, where: str) -> float:
    if type(value) is PickledArray and value.value is not None and value.value.size == 1:
        value = value.value.item()
    if type(value) not in (bool, int, float):
        raise ValueError(f"{where} is a {type(value).__name__}, expected one number")
    return float(value)


def _is_image(value: PickledArray) -> bool:
    array = value.value
    return array is not None and array.dtype == np.uint8 and array.ndim in (3, 4) and array.shape[-1] == 3


def _image(path: Path, index: int, observation: dict[str, PickledArray], view: str) -> np.ndarray:
    """A uint8 frame of shape (H, W, 3)."""
    value = observation.get(view)
    if value is None or not _is_image(value) or value.value is None:
        raise ValueError(f"{path}, transition {index}: observation {view!r} is no uint8 image of shape (H, W, 3)")
    if value.value.ndim == 3:
        return value.value
    if len(value.value) != 1:
        raise ValueError(f"{path}, transition {index}: {view!r} holds {len(value.value)} frames: record a history of 1")
    frame: np.ndarray = value.value[0]
    return frame


def _bytes(observation: dict[str, PickledArray], views: Sequence[str]) -> int:
    return sum(v.value.nbytes for k, v in observation.items() if k in views and v.value is not None)


def _stacked(arrays: list[np.ndarray], where: str) -> np.ndarray:
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ValueError(f"{where} changes its shape within an episode: {sorted(shapes)[:2]}")
    return np.stack(arrays)
