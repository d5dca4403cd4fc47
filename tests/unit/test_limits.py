"""The limits of every robot: whole, slow, and refused in one line where they cannot be meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from robo_reward.safety.limits import FOLDER, check_limits, load_limits


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_limits_of_every_robot_are_whole_and_slow(path: Path):
    limits = load_limits(path.stem)
    a = limits.arrays
    if path.stem in ("so101", "so101_ros2", "joint_trajectory"):  # in joint space [rad]
        assert np.all(a["step"] <= 0.04) and np.all(a["velocity"] <= 0.5)
        low, high = np.array(limits.joint_low), np.array(limits.joint_high)
        assert np.all(a["low"] - low >= limits.joint_margin) and np.all(high - a["high"] >= limits.joint_margin)
        return
    assert np.all(a["step"][:3] <= 0.01) and np.all(a["velocity"][:3] <= 0.25) and np.all(a["high"][:3] < 1.0)
    assert a["low"][2] >= 0, "no target below the table"
    assert limits.action_timeout_s <= 0.2 and limits.state_timeout_s <= 0.1 and limits.stopping_s < 0.3
    assert limits.force <= 60 and limits.joint_velocity <= 2
    assert limits.own_timeout or path.stem == "franka"


@pytest.mark.parametrize(
    "change,words",
    [
        ({"low": [0.7, -0.25, 0.0, -0.4, -0.4, -0.6]}, r"low\[0\]=0.7 must lie below high\[0\]=0.65"),
        ({"step": [0.01] * 5}, "has 6 numbers, step has 5"),
        ({"velocity": [0.1, 0.1, 0.1, 1.0, 1.0, 0.0]}, "velocity=.*must be > 0"),
        ({"jerk": [float("inf")] * 6}, "jerk=.*finite"),
        ({"joint_low": [float("nan")] * 7}, r"joint_low\[0\]=nan"),
        ({"joint_low": [0.0]}, "joint_low has 1 numbers, joint_high has 7"),
        ({"jump": [0.01] * 6}, "jump=.*must exceed step"),
        ({"joint_margin": 0.01}, "joint_margin=0.01 is less than"),
        ({"force": float("nan")}, "force=nan"),
        ({"forze": 3.0}, "did you mean 'force'"),
        ({"rate_hz": 5.0}, "rate_hz=5.0: must be >= 20"),
        ({"own_timeout": "yes"}, "expected true or false"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_in_one_line(tmp_path, change, words):
    settings_ = yaml.safe_load((FOLDER / "sim_arm.yaml").read_text()) | change
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(settings_))
    with pytest.raises(ValueError, match=words) as error:
        load_limits(str(path))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_none_are_refused_in_one_line(tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [")
    (tmp_path / "list.yaml").write_text("- 1")
    for name, words in (
        ("frnka", "did you mean 'franka'"),
        (str(tmp_path / "bad.yaml"), "not YAML"),
        (str(tmp_path / "list.yaml"), "expected `name: value`"),
        (str(tmp_path / "none.yaml"), "there is no file"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            load_limits(name)
        assert "\n" not in str(error.value)
    limits = load_limits("sim_arm")
    assert check_limits(limits) is limits
