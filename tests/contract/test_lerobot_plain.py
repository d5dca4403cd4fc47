"""Datasets that LeRobot's own recorder makes are read as they are; what they do not tell stays unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lerobot")

from robo_reward.data.lerobot import DatasetWriter, read_dataset, write_dataset
from robo_reward.data.lerobot_package import import_lerobot
from robo_reward.data.subtasks import read_subtasks
from robo_reward.progress.labels import label_episode
from robo_reward.types import UNKNOWN_STAGE

ROWS = 5
NAMES = ["height", "width", "channels"]


def make(
    root: Path, rows: int = ROWS, episodes: int = 2, features: dict[str, Any] | None = None, **columns: Any
) -> Path:
    """A dataset written by LeRobot alone; a column is a function of episode and row."""
    table = {
        "observation.state": {"dtype": "float32", "shape": (3,), "names": None},
        "action": {"dtype": "float32", "shape": (2,), "names": None},
        **(features or {}),
    }
    values = {
        "observation.state": lambda e, t: np.full(3, 10 * e + t, np.float32),
        "action": lambda e, t: np.full(2, 0.1 * t, np.float32),
        **columns,
    }
    dataset = import_lerobot().lerobot_dataset.LeRobotDataset.create(
        "someone/push", 10, table, root=root, robot_type=None, vcodec="h264"
    )
    for e in range(episodes):
        for t in range(rows):
            dataset.add_frame({**{name: value(e, t) for name, value in values.items()}, "task": "push the block"})
        dataset.save_episode()
    dataset.finalize()
    return root


def scalar(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "shape": (1,), "names": None}


def test_a_dataset_of_states_and_actions_alone_is_one_of_demonstrations(tmp_path):
    first, second = read_dataset(make(tmp_path / "d"))
    assert (first.episode_id, second.episode_id) == ("episode-0", "episode-1")
    assert first.instruction == "push the block" and first.source == "human"
    assert len(first) == ROWS - 1  # the last row's action has no observation after it
    assert second.agent_pos[:, 0].tolist() == [10, 11, 12, 13, 14]
    np.testing.assert_allclose(first.action[:, 0], [0, 0.1, 0.2, 0.3], atol=1e-6)
    assert first.success and first.terminated and first.reward.tolist() == [0, 0, 0, 1]
    assert first.oracle is None and (first.stage == UNKNOWN_STAGE).all() and first.estimate.shape == (ROWS, 0)


def test_labels_of_such_a_demonstration_are_linear_in_time_and_of_a_failure_unknown(tmp_path):
    success, _ = read_dataset(make(tmp_path / "d"))
    label = label_episode(success, stages=4)
    np.testing.assert_allclose(label.phi, [0, 0.25, 0.5, 0.75, 1])
    assert np.array_equal(label.low, label.high)
    label = label_episode(replace(success, success=False), stages=4)
    assert label.high.tolist() == [0, 1, 1, 1, 1] and not label.low.any()
    label = label_episode(success, stages=2, keyframes=[0, 3, 4])
    assert label.phi[3] == 0.5


def test_rewards_tell_the_outcome_and_the_last_one_is_kept(tmp_path):
    root = make(
        tmp_path / "d",
        features={"next.reward": scalar("float32"), "next.done": scalar("bool")},
        **{
            "next.reward": lambda e, t: np.float32([0.5 if e == 0 and t == ROWS - 1 else 0]),
            "next.done": lambda e, t: np.array([t == ROWS - 1]),
        },
    )
    won, lost = read_dataset(root)
    assert won.reward.tolist() == [0, 0, 0, 0.5] and won.success and won.terminated and not won.truncated
    assert not lost.success and lost.truncated and not lost.terminated


@pytest.mark.parametrize(("before", "last", "success"), [(1, 0, False), (-1, 0.5, True)])
def test_the_last_row_s_reward_alone_tells_the_outcome(tmp_path, before, last, success):
    values = [0] * (ROWS - 2) + [before, last]
    column = {"next.reward": lambda e, t: np.float32([values[t]])}
    one, _ = read_dataset(make(tmp_path / "d", features={"next.reward": scalar("float32")}, **column))
    assert one.success == success and one.reward.tolist() == [0, 0, 0, before + last]


def test_next_success_goes_before_the_reward(tmp_path):
    root = make(
        tmp_path / "d",
        features={"next.reward": scalar("float32"), "next.success": scalar("bool"), "next.done": scalar("bool")},
        **{
            "next.reward": lambda e, t: np.float32([1]),
            "next.success": lambda e, t: np.array([e == 1]),
            "next.done": lambda e, t: np.array([False]),
        },
    )
    lost, won = read_dataset(root)
    assert not lost.success and won.success
    assert won.truncated and not won.terminated  # it was never said to be done


def test_videos_and_still_images_are_both_views(tmp_path):
    picture = {"shape": (32, 32, 3), "names": NAMES}
    root = make(
        tmp_path / "d",
        features={
            "observation.images.front": {"dtype": "video", **picture},
            "observation.image": {"dtype": "image", **picture},
        },
        **{
            "observation.images.front": lambda e, t: np.full((32, 32, 3), 100 * e + 10 * t, np.uint8),
            "observation.image": lambda e, t: np.full((32, 32, 3), 100 * e + 10 * t, np.uint8),
        },
    )
    second = read_dataset(root, query_every=3)[1]
    assert second.frame_steps.tolist() == [0, 3, 4]
    assert second.frames["image"][:, 0, 0, 0].tolist() == [100, 130, 140]
    assert np.abs(second.frames["front"][:, 16, 16, 0].astype(int) - [100, 130, 140]).max() <= 2
    assert list(read_dataset(root, views=("image",))[0].frames) == ["image"]


def test_actions_in_other_units_are_told_in_one_line(tmp_path):
    root = make(tmp_path / "d", action=lambda e, t: np.float32([0, 7.5 if e == 1 else 0]))
    with pytest.raises(
        ValueError, match=r"episode 1: actions reach 7.5 in column 1, allowed is \[-1, 1\]: normalise"
    ) as caught:
        read_dataset(root)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_told(tmp_path):
    with pytest.raises(ValueError, match="single row"):
        read_dataset(make(tmp_path / "short", rows=1))
    root = make(tmp_path / "d")
    with pytest.raises(ValueError, match="was not written by robo_reward"):
        DatasetWriter(root, fps=10, robot_type="arm", resume=True)
    assert len(read_dataset(root)) == 2  # and nothing of it was removed
    path = root / "meta" / "info.json"
    path.write_text(path.read_text().replace('"observation.state"', '"state"'))
    with pytest.raises(ValueError, match=r"no feature 'observation\.state'"):
        read_dataset(root)


def test_an_episode_without_oracle_and_stages_survives_our_own_dataset(tmp_path):
    picture = {"dtype": "video", "shape": (32, 32, 3), "names": NAMES}
    root = make(
        tmp_path / "theirs",
        features={"observation.images.front": picture},
        **{"observation.images.front": lambda e, t: np.full((32, 32, 3), 9 * t, np.uint8)},
    )
    read = read_dataset(root)
    write_dataset(tmp_path / "ours", read, fps=10, robot_type="arm")
    for before, after in zip(read, read_dataset(tmp_path / "ours"), strict=True):
        assert after.oracle is None and (after.stage == UNKNOWN_STAGE).all() and after.success
        assert np.array_equal(before.action, after.action) and before.terminated == after.terminated


def test_a_dataset_without_videos_holds_episodes_without_frames(tmp_path):
    read = read_dataset(make(tmp_path / "theirs"))
    with pytest.raises(ValueError, match="no camera views"):
        write_dataset(tmp_path / "ours", [replace(read[0], frame_steps=np.arange(ROWS))], fps=10, robot_type="arm")
    with DatasetWriter(tmp_path / "plain", fps=10, robot_type="arm", videos=False, close_every=1) as writer:
        for one in read:
            writer.append(one)
    again = read_dataset(tmp_path / "plain")
    assert len(again) == 2 and not again[0].frames and np.array_equal(again[1].agent_pos, read[1].agent_pos)


def test_a_sub_task_column_gives_keyframes_to_the_episodes_that_are_read(tmp_path):
    columns = {"subtask_index": lambda e, t: np.int64([t >= 2 + e])}
    root = make(tmp_path / "d", features={"subtask_index": scalar("int64")}, **columns)
    keyframes = read_subtasks(root)
    assert keyframes is not None
    assert [keyframes[e.episode_id].tolist() for e in read_dataset(root)] == [[0, 2, 4], [0, 3, 4]]
    assert read_subtasks(make(tmp_path / "without")) is None
