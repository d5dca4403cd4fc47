"""Demonstrations in a robomimic HDF5 file, as episodes.

`data/demo_N` holds `obs/*`, `next_obs/*`, `actions`, `rewards` and `dones` of T steps each. The observation after the
last action is `next_obs[-1]`; a file without `next_obs` loses its last action instead. An episode is a success when its
last reward is above 0 (without rewards: always, they are demonstrations); it has terminated when it is a success that
was done, and is truncated otherwise. `object`, the simulator's truth, is left out unless asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.data.actions import unit_actions
from robo_reward.data.lerobot_plain import fold_last, sparse_reward
from robo_reward.data.sparse import kept_steps
from robo_reward.extras import missing_extra
from robo_reward.types import UNKNOWN_STAGE, Episode

PROPRIOCEPTION = ("eef_pos", "eef_quat", "gripper_qpos", "joint_pos")
"""Of each robot (`robot0_...`), in this order, where they are there."""
MAX_BYTES = 8 << 30
"""Of one array of one demonstration: a damaged file may claim any size."""
FPS = 20
"""robosuite's, where the file does not tell it [Hz]."""


@dataclass(frozen=True)
class RobomimicInfo:
    """What a file tells about all its demonstrations."""

    demos: tuple[str, ...]
    views: tuple[str, ...]
    fps: int
    robot_type: str
    instruction: str


def read_robomimic_info(path: str | Path) -> RobomimicInfo:
    """Names, views, control rate and environment. Raises FileNotFoundError, or ValueError for another kind of file."""
    with _opened(path) as file:
        return _info(file, Path(path))


def iterate_robomimic(
    path: str | Path,
    *,
    query_every: int = 1,
    views: Sequence[str] | None = None,
    state_keys: Sequence[str] | None = None,
    privileged: bool = False,
    mask: str | None = None,
    instruction: str | None = None,
    source: str = "human",
) -> Iterator[Episode]:
    """Yield the demonstrations in the order of their numbers, one in memory at a time.

    query_every: keep the frames of every k-th observation and of the last one. views: default all, named as in the
    file less `_image`. state_keys: observations that make up `agent_pos`, default `PROPRIOCEPTION`. privileged: take
    `object` as the estimate, which no real robot has. mask: only the demonstrations of this filter key, such as
    `train`. instruction: default is the file's language, else its environment's name. source: who acted.
    Raises FileNotFoundError; ValueError, naming file and demonstration, for what is missing or damaged and for actions
    beyond [-1, 1].
    """
    path = Path(path)
    with _opened(path) as file:
        info = _info(file, path)
        wanted = info.views if views is None else tuple(views)
        for view in wanted:
            if view not in info.views:
                raise ValueError(f"{path} has no view {view!r}: choose from {', '.join(info.views) or 'none'}")
        for name in info.demos if mask is None else _masked(file, path, mask):
            demo = _demo(file, name, f"{path}, {name}")
            yield _episode(demo, wanted, query_every, state_keys, privileged, instruction or info.instruction, source)


@dataclass(frozen=True)
class _Demo:
    """One demonstration of an open file."""

    group: Any
    name: str
    where: str
    steps: int

    def array(self, name: str, rows: Any = slice(None)) -> np.ndarray:
        """Rows of `name`, which must be there, plain numbers, of T rows, and inside this file."""
        import h5py

        item = self.group.get(name)
        if not isinstance(item, h5py.Dataset) or item.file != self.group.file or item.is_virtual or item.external:
            raise ValueError(f"{self.where} has no array {name!r} in the file itself")
        if item.dtype.kind not in "biuf" or item.ndim < 1 or len(item) != self.steps or item.nbytes > MAX_BYTES:
            raise ValueError(
                f"{self.where}: {name} is {item.dtype} {item.shape}, expected {self.steps} rows of numbers"
            )
        try:
            found: np.ndarray = item[rows]
        except OSError as error:
            raise ValueError(f"{self.where}: {name} cannot be read ({error}): the file is damaged") from error
        return found

    def observations(self, key: str) -> np.ndarray:
        """All observations of `key`, the one after the last action included where it is known."""
        found = self.array(f"obs/{key}")
        return np.concatenate([found, self.array(f"next_obs/{key}", slice(-1, None))]) if self.complete else found

    @property
    def complete(self) -> bool:
        """Whether the observation after the last action is there."""
        return "next_obs" in self.group


def _episode(
    demo: _Demo, views: Sequence[str], query_every: int, state_keys: Sequence[str] | None, privileged: bool,
    instruction: str, source: str,
) -> Episode:  # fmt: skip
    action = unit_actions(demo.array("actions"), demo.where)
    steps = demo.steps if demo.complete else demo.steps - 1
    success, reward = True, sparse_reward(demo.steps, True)
    if "rewards" in demo.group:
        reward = demo.array("rewards").reshape(demo.steps).astype(np.float32)
        success = bool(reward[-1] > 0)
    done = bool(demo.array("dones").reshape(demo.steps)[-1]) if "dones" in demo.group else True
    keys = _state_keys(demo) if state_keys is None else state_keys
    kept = kept_steps(steps, query_every)
    frames = {}
    for view in views:
        key = view if view in demo.group["obs"] else f"{view}_image"
        inside = kept[kept < demo.steps]
        stored = demo.array(f"obs/{key}", inside)
        frames[view] = (
            np.concatenate([stored, demo.array(f"next_obs/{key}", slice(-1, None))]) if demo.complete else stored
        )
    rows = steps + 1
    return Episode(
        episode_id=demo.name.replace("_", "-"),
        instruction=instruction,
        source=source,
        seed=int(demo.name.rpartition("_")[2]),
        agent_pos=_joined(demo, keys, rows),
        estimate=_joined(demo, ("object",) if privileged else (), rows),
        action=action[:steps],
        reward=reward if demo.complete else fold_last(reward),
        stage=np.full(rows, UNKNOWN_STAGE, np.int64),
        oracle=None,
        terminated=success and done,
        truncated=not (success and done),
        success=success,
        frame_steps=kept,
        frames=frames,
    ).validate()


def _joined(demo: _Demo, keys: Sequence[str], rows: int) -> np.ndarray:
    parts = [demo.observations(key).reshape(rows, -1) for key in keys]
    return np.concatenate([np.zeros((rows, 0)), *parts], axis=1).astype(np.float32)


def _state_keys(demo: _Demo) -> list[str]:
    robots = sorted({match[1] for key in demo.group["obs"] if (match := re.match(r"(robot\d+)_", key))})
    keys = [f"{robot}_{name}" for robot in robots for name in PROPRIOCEPTION if f"{robot}_{name}" in demo.group["obs"]]
    if not keys:
        raise ValueError(f"{demo.where} has no robot0_eef_pos or the like: choose state_keys from its observations")
    return keys


def _opened(path: str | Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ValueError(missing_extra(error) or f"h5py does not load: {error}") from error
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist: check the path")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is no readable HDF5 file ({error}): copy it again") from error


def _info(file: Any, path: Path) -> RobomimicInfo:
    data = file.get("data")
    demos = sorted((name for name in data or () if re.fullmatch(r"demo_\d+", name)), key=lambda n: int(n[5:]))
    if not demos:
        raise ValueError(f"{path} has no data/demo_0 or the like: it is no robomimic dataset")
    try:
        env = json.loads(data.attrs.get("env_args", "{}"))
        settings = env.get("env_kwargs") or {}
        fps = round(float(settings.get("control_freq", FPS)))
        robots = settings.get("robots", "unknown")
        language = json.loads(data[demos[0]].attrs.get("ep_meta", "{}")).get("lang")
        env_name = str(env.get("env_name", path.stem))
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: env_args or ep_meta is no readable JSON ({error})") from error
    obs = _demo(file, demos[0], f"{path}, {demos[0]}").group["obs"]
    images = [key for key, item in obs.items() if getattr(item, "dtype", None) == np.uint8 and item.shape[3:] == (3,)]
    return RobomimicInfo(
        demos=tuple(demos),
        views=tuple(key.removesuffix("_image") for key in images),
        fps=max(1, fps),
        robot_type=str(robots if isinstance(robots, str) else "+".join(map(str, robots))).lower(),
        instruction=str(language) if language else re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", env_name).lower(),
    )


def _demo(file: Any, name: str, where: str) -> _Demo:
    import h5py

    group = file["data"].get(name)
    if not isinstance(group, h5py.Group) or not isinstance(group.get("obs"), h5py.Group):
        raise ValueError(f"{where} has no observations: extract them with robomimic's dataset_states_to_obs.py first")
    actions = group.get("actions")
    steps = len(actions) if isinstance(actions, h5py.Dataset) and actions.ndim else 0
    if steps < 2:
        raise ValueError(f"{where} has {steps} actions, expected at least 2: remove the demonstration")
    return _Demo(group, name, where, steps)


def _masked(file: Any, path: Path, mask: str) -> list[str]:
    group = file.get("mask")
    if group is None or mask not in group:
        known = ", ".join(group or ()) or "none"
        raise ValueError(f"{path} has no filter key {mask!r}: choose from {known}")
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in group[mask][:]]
    return sorted(names, key=lambda name: int(name.rpartition("_")[2]))
