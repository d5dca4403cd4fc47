"""How an `Episode` is laid out as the rows of a LeRobotDataset v3.

Row t holds observation t, the action taken there and what followed it (`next.*`), as everywhere in LeRobot. LeRobot
stores no observation after the last action, but a progress model needs the frame that shows the goal; so an episode of
T actions has T+1 rows, and the last one is marked by `is_final_observation`: its action is zero (no motion), its
reward 0, its `next.done`, `next.truncated` and `next.success` repeat the row before. A LeRobot policy can be trained on
the dataset as it is; drop the marked rows for the plain convention.

| feature | type | meaning |
| --- | --- | --- |
| observation.images.{view} | video (H, W, 3) | camera frames |
| observation.state | float32 (P,) | `Episode.agent_pos` |
| observation.estimate | float32 (E,) | `Episode.estimate`, absent when E = 0 |
| action | float32 (A,) | executed action in [-1, 1] |
| base_action | float32 (A,) | the base policy's action, only when recorded |
| next.reward, next.done, next.truncated, next.success | float32, bool | done is terminated or truncated |
| stage | int64 | stages reached by this observation, -1 where nobody told; the stages' names are in info.json |
| progress_oracle | float32 | the simulator's own progress in [0, 1]: for evaluation only, absent without a simulator |
| source, episode_id, episode_seed | string, string, int64 | of the whole episode, on every row |
| task | string | the instruction |
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.types import Episode

VERSION = "v3.0"
IMAGE_PREFIX = "observation.images."
ORACLE = "progress_oracle"
FINAL = "is_final_observation"
SCALARS = {
    "next.reward": "float32",
    "next.done": "bool",
    "next.truncated": "bool",
    "next.success": "bool",
    "stage": "int64",
    FINAL: "bool",
    "episode_seed": "int64",
    "source": "string",
    "episode_id": "string",
}


@dataclass(frozen=True)
class DatasetInfo:
    """What info.json tells about a dataset."""

    root: Path
    episodes: int
    rows: int
    fps: int
    robot_type: str
    views: tuple[str, ...]
    task_stages: tuple[str, ...]
    """Names of the stages, the first one being stage 1."""
    features: Mapping[str, Mapping[str, Any]]

    @property
    def ours(self) -> bool:
        """Whether robo_reward wrote it, so that its last row of an episode is a final observation."""
        return FINAL in self.features

    def view_feature(self, view: str) -> str:
        """The feature that holds a view's frames."""
        return next(n for n in (IMAGE_PREFIX + view, f"observation.{view}", view) if n in self.features)


def read_info(root: str | Path) -> DatasetInfo:
    """Read `root`/meta/info.json without importing LeRobot.

    Raises FileNotFoundError when there is no dataset, ValueError when it is of another version or damaged.
    """
    root = Path(root)
    path = root / "meta" / "info.json"
    if not path.is_file():
        what = "has no meta/info.json" if root.is_dir() else "does not exist"
        raise FileNotFoundError(f"dataset {root} {what}: collect it first, or point to the folder that holds meta/")
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        version = str(info["codebase_version"])
        if version != VERSION:
            raise ValueError(
                f"dataset {root} has format {version}, this reader needs {VERSION}: convert it with "
                "LeRobot's own converter (lerobot.datasets.v30), or collect it again"
            )
        features = info["features"]
        return DatasetInfo(
            root=root,
            episodes=int(info["total_episodes"]),
            rows=int(info["total_frames"]),
            fps=int(info["fps"]),
            robot_type=str(info["robot_type"]),
            views=tuple(_view_of(name) for name in features if features[name]["dtype"] in ("video", "image")),
            task_stages=tuple((features.get("stage", {}).get("info") or {}).get("task_stages", ())),
            features=features,
        )
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"dataset {root}: meta/info.json is damaged ({error}): remove the folder and collect again"
        ) from error


def _view_of(feature: str) -> str:
    return feature.removeprefix(IMAGE_PREFIX).removeprefix("observation.")


def features_of(episode: Episode, task_stages: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The LeRobot feature table that fits `episode`."""
    features: dict[str, dict[str, Any]] = {}
    for view, frames in episode.frames.items():
        names = ["height", "width", "channels"]
        features[IMAGE_PREFIX + view] = {"dtype": "video", "shape": frames.shape[1:], "names": names}
    for name, array in _vectors(episode).items():
        names = [f"{name.rsplit('.')[-1]}_{i}" for i in range(array.shape[1])]
        features[name] = {"dtype": "float32", "shape": array.shape[1:], "names": names}
    for name, dtype in SCALARS.items():
        features[name] = {"dtype": dtype, "shape": (1,), "names": None}
    if episode.oracle is not None:
        features[ORACLE] = {"dtype": "float32", "shape": (1,), "names": None}
    features["stage"]["info"] = {"task_stages": list(task_stages)}
    return features


def rows_of(episode: Episode) -> Iterator[dict[str, Any]]:
    """The T+1 rows of an episode, each ready for `LeRobotDataset.add_frame`."""
    steps = len(episode)
    done = np.arange(steps + 1) >= steps - 1
    columns = {
        **_vectors(episode),
        "next.reward": np.append(episode.reward, 0).astype(np.float32)[:, None],
        "next.done": (done & (episode.terminated or episode.truncated))[:, None],
        "next.truncated": (done & episode.truncated)[:, None],
        "next.success": (done & episode.success)[:, None],
        "stage": episode.stage.astype(np.int64)[:, None],
        FINAL: (np.arange(steps + 1) == steps)[:, None],
        "episode_seed": np.full((steps + 1, 1), episode.seed, np.int64),
    }
    if episode.oracle is not None:
        columns[ORACLE] = episode.oracle.astype(np.float32)[:, None]
    for t in range(steps + 1):
        row: dict[str, Any] = {name: column[t] for name, column in columns.items()}
        row |= {IMAGE_PREFIX + view: frames[t] for view, frames in episode.frames.items()}
        yield row | {"source": episode.source, "episode_id": episode.episode_id, "task": episode.instruction}


def episode_of(
    columns: Mapping[str, Any], instruction: str, frame_steps: np.ndarray, frames: Mapping[str, np.ndarray]
) -> Episode:
    """The inverse of `rows_of`: `columns` are the table's columns, each with T+1 rows."""
    length = len(columns["action"])

    def vector(name: str) -> np.ndarray:
        return np.asarray(list(columns[name]), np.float32).reshape(length, -1)

    done, truncated = bool(columns["next.done"][length - 1]), bool(columns["next.truncated"][length - 1])
    return Episode(
        episode_id=str(columns["episode_id"][0]),
        instruction=instruction,
        source=str(columns["source"][0]),
        seed=int(columns["episode_seed"][0]),
        agent_pos=vector("observation.state"),
        estimate=vector("observation.estimate") if "observation.estimate" in columns else _empty(length),
        action=vector("action")[:-1],
        reward=np.asarray(columns["next.reward"][: length - 1], np.float32),
        stage=np.asarray(columns["stage"], np.int64),
        oracle=np.asarray(columns[ORACLE], np.float32) if ORACLE in columns else None,
        terminated=done and not truncated,
        truncated=truncated,
        success=bool(columns["next.success"][length - 1]),
        frame_steps=frame_steps,
        frames=frames,
        base_action=vector("base_action") if "base_action" in columns else None,
    ).validate()


def _vectors(episode: Episode) -> dict[str, np.ndarray]:
    vectors = {
        "observation.state": episode.agent_pos,
        "observation.estimate": episode.estimate,
        "action": np.concatenate([episode.action, np.zeros_like(episode.action[:1])]),
    }
    if episode.base_action is not None:
        vectors["base_action"] = episode.base_action
    return {name: array.astype(np.float32) for name, array in vectors.items() if array.shape[1]}


def _empty(length: int) -> np.ndarray:
    return np.zeros((length, 0), np.float32)
