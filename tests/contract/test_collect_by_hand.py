"""`collect robot= teleop=` over the real wire: simulated arm, bridge, a recorded hand; a dataset that LeRobot reads."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("cyclonedds")
pytest.importorskip("mujoco")
pytest.importorskip("lerobot")

from robo_reward.cli import main
from robo_reward.data.lerobot import read_dataset, read_info
from robo_reward.data.lerobot_package import import_lerobot

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
DOMAIN = 1 + os.getpid() % 100
STREAM = ROOT / "tests" / "data" / "teleop" / "session.jsonl"


@pytest.fixture(scope="module")
def robot(tmp_path_factory) -> Path:
    """A file of the simulated arm that knows how busy a test machine can be; the command starts the arm."""
    folder = tmp_path_factory.mktemp("robot")
    limits = yaml.safe_load((ROOT / "conf" / "safety" / "sim_arm.yaml").read_text())
    limits |= {"action_timeout_s": 1.0, "state_timeout_s": 0.5, "force": 1000.0, "torque": 100.0}
    (folder / "limits.yaml").write_text(yaml.safe_dump(limits))
    config = yaml.safe_load((ROOT / "conf" / "robot" / "sim_arm.yaml").read_text())
    config |= {"limits": str(folder / "limits.yaml"), "camera_hz": 3.0}
    (folder / "sim_arm.yaml").write_text(yaml.safe_dump(config))
    return folder / "sim_arm.yaml"


def collect(robot: Path, to: Path, *more: str) -> int:
    words = [f"robot={robot}", f"domain={DOMAIN}", f"teleop={STREAM}", f"to={to}", "episodes=2", "seed=3", *more]
    with pytest.raises(SystemExit) as end:
        main(["collect", *words])
    return end.value.code


def test_a_recorded_hand_makes_a_dataset_that_lerobot_reads(robot, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", open("/dev/null"))
    assert collect(robot, tmp_path / "pegs") == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "2 episodes" in said and "1 success, 1 discard, 1 re-record, 1 failure" in said
    info = read_info(tmp_path / "pegs")
    assert (info.episodes, info.fps, info.robot_type) == (2, 20, "sim_arm")
    assert set(info.views) == {"front", "side", "wrist"} and info.task_stages[-1] == "inserted"
    won, lost = read_dataset(tmp_path / "pegs")
    assert (won.success, lost.success) == (True, False) and won.source == "human" and won.oracle is not None
    # However little: on a busy machine the simulated arm loses time.
    assert won.agent_pos[-1, 9] < won.agent_pos[0, 9] - 0.0005, "the stick was pulled: the tool went down"
    assert won.action[:, 2].min() < -0.4 and won.action[:, 0].max() > 0.2 and not won.action[:, 3].any()

    dataset = import_lerobot().lerobot_dataset.LeRobotDataset("somebody/pegs", root=tmp_path / "pegs")
    assert dataset.num_episodes == 2 and len(dataset) == len(won) + len(lost) + 2
    row = dataset[0]
    assert row["observation.images.wrist"].shape == (3, 84, 84) and row["task"] == won.instruction
    np.testing.assert_allclose(row["action"].numpy(), won.action[0], atol=1e-6)

    assert collect(robot, tmp_path / "pegs") == 2, "there are as many as were asked for"
    assert "has 2 episodes already: for more of them set episodes= higher" in capsys.readouterr().err
