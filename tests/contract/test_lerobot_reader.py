"""Datasets are LeRobot's: its own reader and ours see the same episodes, and damage is told in one line."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lerobot")

from robo_reward.data.lerobot import DatasetWriter, iterate_dataset, read_dataset, read_info, write_dataset
from robo_reward.types import Episode

VIEWS = ("front", "wrist")
SETTINGS = {"fps": 20, "robot_type": "panda", "task_stages": ("above", "inserted")}


def episode(number: int, steps: int = 12, size: int = 84) -> Episode:
    rng = np.random.default_rng(number)
    frames = {}
    for view in VIEWS:
        shape = (steps + 1, size, size, 3)
        frames[view] = np.broadcast_to(rng.integers(40, 200, (1, size, size, 3), np.uint8), shape).copy()
        for t in range(steps + 1):  # a thin coloured thing that moves by one pixel a step
            frames[view][t, 10 + t : 12 + t, 5 : 5 + number + 2] = (250, 30, 30)
    success = number % 2 == 0
    return Episode(
        episode_id=f"episode-{number}",
        instruction=f"insert the peg into the {('red', 'blue')[number % 2]} socket",
        source=("expert", "weak")[number % 2],
        seed=2**40 + number,
        agent_pos=rng.normal(size=(steps + 1, 7)).astype(np.float32),
        estimate=rng.normal(size=(steps + 1, 3)).astype(np.float32),
        action=rng.uniform(-1, 1, (steps, 4)).astype(np.float32),
        reward=np.eye(steps, dtype=np.float32)[-1] * success,
        stage=np.sort(rng.integers(0, 3, steps + 1)),
        oracle=rng.uniform(size=steps + 1).astype(np.float32),
        terminated=success,
        truncated=not success,
        success=success,
        frame_steps=np.arange(steps + 1),
        frames=frames,
    )


EPISODES = [episode(0, 12), episode(1, 30), episode(2, 1), episode(3, 17)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "pegs"
    with DatasetWriter(root, **SETTINGS, close_every=3) as writer:
        for one in EPISODES:
            writer.append(one)
    return root


@pytest.fixture
def copy(dataset, tmp_path) -> Path:
    return Path(shutil.copytree(dataset, tmp_path / "pegs"))


def assert_same(left: Episode, right: Episode) -> None:
    for field in fields(Episode):
        mine, other = getattr(left, field.name), getattr(right, field.name)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == other.dtype and np.array_equal(mine, other), field.name
        elif field.name != "frames":
            assert mine == other, field.name
    assert left.frames.keys() == right.frames.keys()


def test_episodes_come_back(dataset):
    read = read_dataset(dataset)
    assert len(read) == len(EPISODES)
    for before, after in zip(EPISODES, read, strict=True):
        assert_same(before, after)
        for view in VIEWS:  # colours survive to a grey level, so a model sees in the lab what it was trained on
            assert np.abs(before.frames[view].astype(int) - after.frames[view]).max() <= 2


def test_lerobots_own_reader_sees_the_same(dataset):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    theirs = LeRobotDataset("any/name", root=dataset)
    ours = read_dataset(dataset)
    assert theirs.meta.total_episodes == 4 and len(theirs) == sum(len(e) + 1 for e in ours)
    row = 0
    for number, one in enumerate(ours):
        for t in range(len(one) + 1):
            item = theirs[row]
            final = t == len(one)
            assert int(item["episode_index"]) == number and int(item["frame_index"]) == t
            assert item["task"] == one.instruction and item["source"] == one.source
            assert int(item["episode_seed"]) == one.seed
            assert bool(item["is_final_observation"]) == final
            assert np.array_equal(item["observation.state"].numpy(), one.agent_pos[t])
            assert np.array_equal(item["action"].numpy(), 0 * one.action[0] if final else one.action[t])
            assert bool(item["next.done"]) == (t >= len(one) - 1)
            assert bool(item["next.success"]) == (one.success and t >= len(one) - 1)
            assert int(item["stage"]) == one.stage[t]
            for view in VIEWS:
                pixels = np.round(item[f"observation.images.{view}"].numpy() * 255).transpose(1, 2, 0)
                assert np.array_equal(pixels, one.frames[view][t])
            row += 1


def test_a_lerobot_policy_finds_its_inputs(dataset):
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
    from lerobot.datasets.utils import dataset_to_policy_features

    meta = LeRobotDatasetMetadata("any/name", root=dataset)
    features = dataset_to_policy_features(meta.features)
    assert features["action"].shape == (4,) and features["observation.images.front"].shape == (3, 84, 84)
    assert features["observation.state"].shape == (7,)
    assert not any("oracle" in name or "stage" in name for name in features)  # the simulator's truth is no input
    for name in features:
        assert np.isfinite(meta.stats[name]["mean"]).all()
    assert 0 < meta.stats["observation.images.front"]["mean"].mean() < 1


def test_query_frames_and_views_can_be_chosen(dataset):
    full = read_dataset(dataset)[1]
    sparse = list(iterate_dataset(dataset, query_every=4, views=("wrist",)))[1]
    assert list(sparse.frames) == ["wrist"] and sparse.frame_steps.tolist() == [0, 4, 8, 12, 16, 20, 24, 28, 30]
    assert np.array_equal(sparse.frames["wrist"], full.frames["wrist"][sparse.frame_steps])
    assert_same(replace(full, frame_steps=sparse.frame_steps, frames=sparse.frames), sparse)


def test_base_actions_are_kept_and_a_missing_estimate_stays_missing(tmp_path):
    rng = np.random.default_rng(0)
    one = replace(
        episode(0), base_action=rng.uniform(-1, 1, (13, 4)).astype(np.float32), estimate=np.zeros((13, 0), np.float32)
    )
    write_dataset(tmp_path / "d", [one], fps=10, robot_type="arm")
    assert_same(one, read_dataset(tmp_path / "d")[0])


def test_compact_videos_read_back_too(tmp_path):
    write_dataset(tmp_path / "d", [episode(1)], **SETTINGS, fidelity="compact")
    assert read_dataset(tmp_path / "d")[0].frames["front"].shape == (13, 84, 84, 3)


def test_info_is_told_without_reading_the_episodes(dataset):
    info = read_info(dataset)
    assert (info.episodes, info.rows, info.fps, info.robot_type) == (4, 64, 20, "panda")
    assert info.views == VIEWS and info.task_stages == ("above", "inserted")


def test_an_existing_folder_is_not_overwritten(dataset):
    with pytest.raises(ValueError, match="exists already: choose another folder, remove it, or resume it"):
        DatasetWriter(dataset, **SETTINGS)


def test_a_collection_is_resumed(copy):
    with DatasetWriter(copy, **SETTINGS, resume=True) as writer:
        assert writer.episode_ids == [e.episode_id for e in EPISODES]
        writer.append(episode(4))
    assert [e.seed - 2**40 for e in read_dataset(copy, query_every=9)] == [0, 1, 2, 3, 4]
    for other in ({"fps": 30}, {"robot_type": "ur5"}, {"task_stages": ("above",)}):
        with pytest.raises(ValueError, match="cannot resume it with"):
            DatasetWriter(copy, **{**SETTINGS, **other}, resume=True)


def test_a_failure_inside_an_episode_costs_only_that_episode(tmp_path, monkeypatch):
    import robo_reward.data.lerobot_video as lerobot_video

    def disk_full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    with DatasetWriter(tmp_path / "d", **SETTINGS) as writer:
        for number in (0, 1):
            writer.append(episode(number))
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
            patch.setattr(lerobot_video, "encode", disk_full)
            writer.append(episode(2))
        assert writer.episode_ids == ["episode-0", "episode-1"]
        writer.append(episode(3))
    assert [e.episode_id for e in read_dataset(tmp_path / "d")] == ["episode-0", "episode-1", "episode-3"]
    assert {path.name for path in (tmp_path / "d").iterdir()} == {"data", "meta", "videos"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frame_steps": np.arange(0, 13, 2)}, "holds frames of 7 of its 13 observations"),
        ({"instruction": ""}, "empty instruction"),
        ({"episode_id": "episode-0"}, "is in dataset .* already"),
        ({"agent_pos": np.zeros((13, 9), np.float32)}, r"observation.state of shape \(9,\), dataset .* has \(7,\)"),
        ({"frames": {"front": np.zeros((13, 84, 84, 3), np.uint8)}}, "observation.images.wrist of shape None"),
        ({"action": np.full((12, 4), 1.5, np.float32)}, r"actions reach 1.5, allowed is \[-1, 1\]"),
        ({"frames": {}}, "no camera views"),
    ],
)
def test_an_episode_that_does_not_fit_is_refused(tmp_path, change, words):
    one = episode(5)
    if "frame_steps" in change:
        change = {**change, "frames": {view: frames[::2] for view, frames in one.frames.items()}}
    with DatasetWriter(tmp_path / "d", **SETTINGS) as writer:
        writer.append(episode(0))
        with pytest.raises(ValueError, match=words):
            writer.append(replace(one, **change))
        writer.append(episode(1))
    assert len(read_dataset(tmp_path / "d")) == 2


def test_missing_datasets_and_views_are_told(dataset, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist: collect it first"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no meta/info\.json"):
        read_dataset(tmp_path)
    with pytest.raises(ValueError, match="no view 'side': choose from front, wrist"):
        read_dataset(dataset, views=("front", "side"))
    with pytest.raises(ValueError, match="query_every must be at least 1 step, got 0"):
        read_dataset(dataset, query_every=0)


def change_info(root: Path, **changes: object) -> None:
    path = root / "meta" / "info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_other_formats_are_told(copy):
    change_info(copy, codebase_version="v2.1")
    with pytest.raises(ValueError, match="has format v2.1, this reader needs v3.0: convert it"):
        read_dataset(copy)
    (copy / "meta" / "info.json").write_text("{")
    with pytest.raises(ValueError, match=r"info\.json is damaged"):
        read_dataset(copy)


def test_another_tools_dataset_is_told(copy):
    features = json.loads((copy / "meta" / "info.json").read_text())["features"]
    del features["next.success"]
    change_info(copy, features=features)
    with pytest.raises(ValueError, match=r"has no feature 'next\.success'"):
        read_dataset(copy)


def first(root: Path, pattern: str) -> Path:
    return sorted(root.rglob(pattern))[0]


def test_half_written_datasets_are_told_and_resumed(copy):
    last = sorted((copy / "data").rglob("*.parquet"))[-1]
    last.write_bytes(last.read_bytes()[:-100])  # no footer: the writer was killed
    index = sorted((copy / "meta" / "episodes").rglob("*.parquet"))[-1]
    index.unlink()
    with pytest.raises(ValueError, match=r"half-written \(data/chunk-000/file-001\.parquet was never closed\): resume"):
        read_dataset(copy)
    with DatasetWriter(copy, **SETTINGS, resume=True) as writer:
        assert writer.episode_ids == ["episode-0", "episode-1", "episode-2"]  # those closed before
    for before, after in zip(EPISODES[:3], read_dataset(copy), strict=True):
        assert_same(before, after)


def test_an_index_that_lacks_episodes_is_told(copy):
    change_info(copy, total_episodes=9)
    with pytest.raises(ValueError, match=r"half-written \(4 of 9 episodes closed\)"):
        read_dataset(copy)


def test_missing_files_are_told(copy):
    first(copy, "*wrist/*/*.mp4").unlink()
    with pytest.raises(FileNotFoundError, match=r"video .*wrist.* is missing"):
        read_dataset(copy)
    assert len(read_dataset(copy, views=("front",))) == 4
    first(copy / "data", "*.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"file-000\.parquet is missing"):
        read_dataset(copy, views=("front",))


def test_a_column_that_only_info_json_knows_is_told(copy):
    import pyarrow.parquet as pq

    (path,) = sorted((copy / "data").rglob("*.parquet"))[:1]
    pq.write_table(pq.read_table(path).drop_columns(["next.done"]), path)
    with pytest.raises(ValueError, match=r"file-000.parquet lacks the column 'next.done' that meta/info.json lists"):
        read_dataset(copy, views=())


@pytest.mark.parametrize("damage", ["garbage", "cut", "empty"])
def test_a_video_that_does_not_decode_is_told(copy, damage):
    path = first(copy, "*front/*/*.mp4")
    data = path.read_bytes()
    path.write_bytes({"garbage": bytes(reversed(data)), "cut": data[: len(data) * 2 // 3], "empty": b""}[damage])
    with pytest.raises(ValueError, match=r"video .*front.*\.mp4 does not decode") as caught:
        read_dataset(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"fps": 0}, {"fps": 12.5}, {"close_every": 0}, {"fidelity": "best"}])
def test_wrong_settings_are_told(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DatasetWriter(tmp_path / "d", **{**SETTINGS, **wrong})
