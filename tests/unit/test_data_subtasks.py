"""Sub-task columns of LeRobotDatasets as keyframes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from robo_reward.data.subtasks import read_subtasks  # noqa: E402


def dataset(root: Path, files: list[dict[str, list[Any]]]) -> Path:
    """A dataset's tables and info.json, as LeRobot lays them out."""
    (root / "meta").mkdir(parents=True)
    (root / "data" / "chunk-000").mkdir(parents=True)
    features = {name: {"dtype": "int64", "shape": [1]} for name in files[0]}
    info = {
        "codebase_version": "v3.0", "total_episodes": 2, "total_frames": 9, "fps": 10, "robot_type": "arm",
        "features": features,
    }  # fmt: skip
    (root / "meta" / "info.json").write_text(json.dumps(info))
    for number, columns in enumerate(files):
        pq.write_table(pa.table(columns), root / "data" / "chunk-000" / f"file-{number:03d}.parquet")
    return root


def test_a_keyframe_is_where_the_sub_task_changes(tmp_path):
    first = {"episode_index": [0] * 6 + [1] * 4, "subtask_index": [3, 3, 0, 0, 0, 7] + [3, 3, 3, 3]}
    second = {"episode_index": [2] * 3, "subtask_index": [3, 0, 3]}
    found = read_subtasks(dataset(tmp_path / "d", [first, second]))
    assert {name: keys.tolist() for name, keys in found.items()} == {
        "episode-0": [0, 2, 5],  # the last row is the end, also where its label is new
        "episode-1": [0, 3],
        "episode-2": [0, 1, 2],
    }


def test_names_of_sub_tasks_and_episode_ids_serve_too(tmp_path):
    columns = {"episode_index": [0] * 4, "episode_id": ["drawer-7"] * 4, "subtask": ["reach", "reach", "pull", "pull"]}
    found = read_subtasks(dataset(tmp_path / "d", [columns]))
    assert {name: keys.tolist() for name, keys in found.items()} == {"drawer-7": [0, 2, 3]}


def test_a_dataset_without_the_column_says_so(tmp_path):
    assert read_subtasks(dataset(tmp_path / "d", [{"episode_index": [0, 0], "action": [1, 2]}])) is None
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_subtasks(tmp_path / "nowhere")


def test_a_damaged_table_is_named(tmp_path):
    root = dataset(tmp_path / "d", [{"episode_index": [0, 0], "subtask_index": [1, 2]}])
    (root / "data" / "chunk-000" / "file-000.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ValueError, match=r"file-000\.parquet does not read"):
        read_subtasks(root)
