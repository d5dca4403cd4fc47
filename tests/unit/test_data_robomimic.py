"""robomimic's HDF5 files become episodes; the simulator's truth only comes along when asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

from robo_reward.data.robomimic import iterate_robomimic, read_robomimic_info  # noqa: E402
from robo_reward.types import UNKNOWN_STAGE  # noqa: E402

ENV = {"env_name": "NutAssemblySquare", "type": 1, "env_kwargs": {"control_freq": 25, "robots": ["Panda"]}}
SIZES = {
    "robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2, "robot0_joint_pos": 7, "robot0_joint_vel": 7,
    "object": 14,
}  # fmt: skip


def observations(steps: int, first: float, images: bool) -> dict[str, np.ndarray]:
    codes = first + np.arange(steps)
    found: dict[str, Any] = {key: np.tile(codes[:, None], (1, size)) for key, size in SIZES.items()}
    if images:
        found["agentview_image"] = np.tile(codes.astype(np.uint8)[:, None, None, None], (1, 8, 8, 3))
        found["agentview_depth"] = np.zeros((steps, 8, 8, 1), np.float32)
    return found


def write(path: Path, lengths: dict[str, int], *, images: bool = True, next_obs: bool = True, **changes: Any) -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps(ENV)
        for number, (name, steps) in enumerate(lengths.items()):
            demo = data.create_group(name)
            demo.attrs["num_samples"] = steps
            arrays: dict[str, Any] = {
                "actions": np.full((steps, 7), 0.5),
                "rewards": np.eye(steps)[-1],
                "dones": np.eye(steps)[-1].astype(np.int64),
                "states": np.zeros((steps, 30)),
            }
            arrays |= {f"obs/{key}": value for key, value in observations(steps, 10 * number, images).items()}
            if next_obs:
                following = observations(steps, 10 * number + 1, images)
                arrays |= {f"next_obs/{key}": value for key, value in following.items()}
            for key, value in (arrays | changes).items():
                if value is not None:
                    demo.create_dataset(key, data=value)
        file.create_dataset("mask/train", data=np.array([b"demo_10", b"demo_1"]))
    return path


@pytest.fixture
def path(tmp_path) -> Path:
    return write(tmp_path / "square.hdf5", {"demo_10": 4, "demo_2": 6, "demo_1": 5})


def test_demonstrations_become_episodes_in_the_order_of_their_numbers(path):
    first, second, third = iterate_robomimic(path)
    assert [e.episode_id for e in (first, second, third)] == ["demo-1", "demo-2", "demo-10"]
    assert (len(first), len(second), len(third)) == (5, 6, 4) and third.seed == 10
    assert first.instruction == "nut assembly square" and first.source == "human"
    assert first.agent_pos.shape == (6, 3 + 4 + 2 + 7) and first.agent_pos[:, 0].tolist() == [20, 21, 22, 23, 24, 25]
    assert first.estimate.shape == (6, 0) and first.oracle is None and (first.stage == UNKNOWN_STAGE).all()
    assert first.reward.tolist() == [0, 0, 0, 0, 1] and first.success and first.terminated
    assert list(first.frames) == ["agentview"]
    assert first.frames["agentview"][:, 0, 0, 0].tolist() == [20, 21, 22, 23, 24, 25]


def test_the_file_tells_rate_robot_and_views(path):
    info = read_robomimic_info(path)
    assert (info.fps, info.robot_type, info.views, len(info.demos)) == (25, "panda", ("agentview",), 3)


def test_what_is_read_can_be_chosen(path):
    (one, _) = iterate_robomimic(
        path, query_every=4, state_keys=("robot0_joint_vel", "robot0_eef_pos"), privileged=True, mask="train",
        instruction="fit the nut",
    )  # fmt: skip
    assert one.episode_id == "demo-1" and one.instruction == "fit the nut"
    assert one.agent_pos.shape == (6, 10) and one.estimate.shape == (6, 14) and one.estimate[-1, 0] == 25
    assert one.frame_steps.tolist() == [0, 4, 5] and one.frames["agentview"][:, 0, 0, 0].tolist() == [20, 24, 25]
    assert not next(iterate_robomimic(path, views=())).frames


def test_without_the_next_observations_the_last_action_is_dropped_and_its_reward_kept(tmp_path):
    (one,) = iterate_robomimic(write(tmp_path / "a.hdf5", {"demo_0": 5}, next_obs=False))
    assert len(one) == 4 and one.agent_pos[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert one.frames["agentview"][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert one.reward.tolist() == [0, 0, 0, 1] and one.success and one.terminated


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"rewards": np.zeros(5)}, (False, False, True)),
        ({"rewards": np.eye(5)[1]}, (False, False, True)),  # had it, and lost it again
        ({"dones": np.zeros(5)}, (True, False, True)),
        ({"dones": None}, (True, True, False)),
        ({"rewards": None}, (True, True, False)),  # a demonstration
    ],
)
def test_the_outcome(tmp_path, changes, outcome):
    (one,) = iterate_robomimic(write(tmp_path / "a.hdf5", {"demo_0": 5}, images=False, **changes))
    assert (one.success, one.terminated, one.truncated) == outcome
    assert not one.frames


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"actions": np.full((5, 7), 2.0)}, r"demo_0: actions reach 2 in column 0, allowed is \[-1, 1\]: normalise"),
        ({"actions": np.full((5, 7), np.nan)}, "not finite"),
        ({"actions": np.zeros((1, 7))}, "has 1 actions, expected at least 2"),
        ({"actions": None}, "has 0 actions"),
        ({"rewards": np.zeros(4)}, r"rewards is float64 \(4,\), expected 5 rows"),
        ({"obs/robot0_eef_pos": np.zeros((9, 3))}, r"robot0_eef_pos is float64 \(9, 3\), expected 5 rows"),
        ({"next_obs/robot0_eef_quat": None}, "has no array 'next_obs/robot0_eef_quat'"),
        ({"actions": np.array([b"a"] * 5)}, "expected 5 rows of numbers"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(tmp_path, changes, words):
    path = write(tmp_path / "a.hdf5", {"demo_0": 5}, **changes)
    with pytest.raises(ValueError, match=words) as caught:
        list(iterate_robomimic(path))
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_unknown_names_are_told(path):
    with pytest.raises(ValueError, match="no view 'wrist': choose from agentview"):
        list(iterate_robomimic(path, views=("wrist",)))
    with pytest.raises(ValueError, match="no filter key 'valid': choose from train"):
        list(iterate_robomimic(path, mask="valid"))
    with pytest.raises(ValueError, match="no array 'obs/robot0_pose'"):
        list(iterate_robomimic(path, state_keys=("robot0_pose",)))


def test_other_files_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="check the path"):
        read_robomimic_info(tmp_path / "nowhere.hdf5")
    (tmp_path / "text.hdf5").write_text("no")
    with pytest.raises(ValueError, match="no readable HDF5 file"):
        read_robomimic_info(tmp_path / "text.hdf5")
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file.create_group("data/episode_1")
    with pytest.raises(ValueError, match="it is no robomimic dataset"):
        read_robomimic_info(tmp_path / "other.hdf5")
    with h5py.File(tmp_path / "raw.hdf5", "w") as file:
        file.create_dataset("data/demo_0/actions", data=np.zeros((3, 7)))
    with pytest.raises(ValueError, match="dataset_states_to_obs"):
        read_robomimic_info(tmp_path / "raw.hdf5")


def test_arrays_that_live_in_another_file_or_claim_too_much_are_not_read(tmp_path):
    other = write(tmp_path / "other.hdf5", {"demo_0": 5})
    path = write(tmp_path / "a.hdf5", {"demo_0": 5}, **{"obs/robot0_eef_pos": None})
    with h5py.File(path, "a") as file:
        file["data/demo_0/obs/robot0_eef_pos"] = h5py.ExternalLink(other, "data/demo_0/obs/robot0_eef_pos")
    with pytest.raises(ValueError, match="no array 'obs/robot0_eef_pos' in the file itself"):
        list(iterate_robomimic(path))
    path = write(tmp_path / "b.hdf5", {"demo_0": 5}, **{"obs/robot0_eef_pos": None})
    with h5py.File(path, "a") as file:
        file.create_dataset("data/demo_0/obs/robot0_eef_pos", shape=(5, 1 << 40), chunks=(1, 1024), dtype="f4")
    assert path.stat().st_size < 200_000
    with pytest.raises(ValueError, match="expected 5 rows of numbers"):
        list(iterate_robomimic(path))
