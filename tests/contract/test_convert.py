"""`dataset=` takes files of other projects: they are converted once, by content, with failures apart."""

from __future__ import annotations

import pickle  # noqa: TID251 - the test writes the files that the reader must read
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lerobot")
h5py = pytest.importorskip("h5py")

from robo_reward.config import load_config  # noqa: E402
from robo_reward.data.convert import convert_file, is_foreign_file  # noqa: E402
from robo_reward.data.lerobot import read_dataset, read_info  # noqa: E402
from robo_reward.runtime.collecting import dataset_stage  # noqa: E402
from robo_reward.runtime.steps import label_stage  # noqa: E402


def write_hil_serl(path: Path, outcomes: list[bool], steps: int = 4) -> Path:
    def observation(code: int) -> dict[str, np.ndarray]:
        return {"state": np.full((1, 3), code, np.float32), "side": np.full((1, 32, 32, 3), code, np.uint8)}

    transitions = [
        {
            "observations": observation(20 * n + t),
            "actions": np.full(4, 0.1),
            "next_observations": observation(20 * n + t + 1),
            "rewards": float(success and t == steps - 1),
            "masks": 1.0,
            "dones": t == steps - 1,
        }
        for n, success in enumerate(outcomes)
        for t in range(steps)
    ]
    path.write_bytes(pickle.dumps(transitions))
    return path


def write_robomimic(path: Path, outcomes: list[bool], steps: int = 4, images: bool = True) -> Path:
    with h5py.File(path, "w") as file:
        file.create_group("data").attrs["env_args"] = '{"env_name": "Lift", "env_kwargs": {"robots": "Panda"}}'
        for n, success in enumerate(outcomes):
            arrays = {
                "actions": np.zeros((steps, 7)),
                "rewards": np.eye(steps)[-1] * success,
                "dones": np.eye(steps)[-1],
            }
            for when in ("obs", "next_obs"):
                arrays[f"{when}/robot0_eef_pos"] = np.full((steps, 3), n, float)
                if images:
                    arrays[f"{when}/agentview_image"] = np.full((steps, 32, 32, 3), 30 * n, np.uint8)
            for key, value in arrays.items():
                file.create_dataset(f"data/demo_{n}/{key}", data=value)
    return path


def test_a_hil_serl_file_becomes_datasets_of_successes_and_failures(tmp_path):
    path = write_hil_serl(tmp_path / "plug.pkl", [True, False, True])
    summary = convert_file(path, tmp_path / "out")
    assert summary == {"demos_episodes": 2, "demos_success": 1.0, "weak_episodes": 1, "weak_success": 0.0}
    demos, weak = (read_dataset(tmp_path / "out" / split) for split in ("demos", "weak"))
    assert [e.episode_id for e in demos] == ["plug-0", "plug-2"] and [e.episode_id for e in weak] == ["plug-1"]
    assert all(e.success for e in demos) and not weak[0].success and weak[0].instruction == "plug"
    assert demos[1].agent_pos[:, 0].tolist() == [40, 41, 42, 43, 44] and read_info(tmp_path / "out/demos").fps == 10
    assert np.abs(demos[1].frames["side"][:, 9, 9, 0].astype(int) - [40, 41, 42, 43, 44]).max() <= 2


def test_a_robomimic_file_without_images_becomes_a_dataset_without_videos(tmp_path):
    convert_file(write_robomimic(tmp_path / "low_dim.hdf5", [True, True], images=False), tmp_path / "out")
    demos = read_dataset(tmp_path / "out/demos")
    assert len(demos) == 2 and not demos[0].frames and demos[1].agent_pos.tolist() == [[1, 1, 1]] * 5
    info = read_info(tmp_path / "out/demos")
    assert (info.fps, info.robot_type, info.views) == (20, "panda", ())
    assert not (tmp_path / "out/weak").exists()


def test_a_file_without_success_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"plug\.pkl holds 1 failures and no success"):
        convert_file(write_hil_serl(tmp_path / "plug.pkl", [False]), tmp_path / "out")


def test_files_are_known_by_their_names(tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    assert not is_foreign_file(tmp_path) and not is_foreign_file(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"a\.csv: give the folder of a LeRobotDataset, or a file named \.hdf5"):
        is_foreign_file(tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError, match="no file: check the path"):
        is_foreign_file(tmp_path / "nowhere.hdf5")


def test_the_command_line_converts_a_file_once_by_its_content(tmp_path):
    path = write_robomimic(tmp_path / "lift.hdf5", [True, False, True])

    def stage(file: Path):
        return dataset_stage(load_config([f"dataset={file}", f"run.root={tmp_path / 'runs'}", "quiet=true"]))

    first = stage(path)
    assert not first.reused and dict(first.summary)["weak_episodes"] == 1
    shutil.copy(path, tmp_path / "copy.h5")
    assert stage(tmp_path / "copy.h5").path == first.path and stage(tmp_path / "copy.h5").reused
    write_robomimic(path, [True, True, True])
    assert stage(path).path != first.path

    config = load_config([f"dataset={tmp_path / 'copy.h5'}", f"run.root={tmp_path / 'runs'}", "quiet=true"])
    labels = label_stage(config, first)
    assert labels.summary["labelled_episodes"] == 3
