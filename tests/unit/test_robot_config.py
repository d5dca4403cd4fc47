"""The files of robots: every one loads, and one that cannot be meant is refused."""

from __future__ import annotations

import pytest

from robo_reward.hardware.robot_config import FOLDER, load_robot


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_robot_loads_and_stays_on_the_loopback(path):
    config, limits = load_robot(path.stem)
    assert config.interface == "127.0.0.1" and config.trusted_interface == "" and limits.rate_hz >= 50


@pytest.mark.parametrize(
    "text,words",
    [
        ("limits: franka\njoints: [a, b]", "joints names 2 different joints, franka has limits for 7"),
        ("limits: frnka\njoints: [a]", "did you mean 'franka'"),
        ("joints: [a]", "limits is missing"),
        ("limits: ur5e\njoints: [a, b, c, d, e, f]\ncommand: twits", "did you mean 'twist'"),
        ("limits: ur5e\njoints: [a, b, c, d, e, f]\naxes: [0, 0]", "choose different numbers from 0 to 5"),
        ("limits: ur5e\njoints: [a, b, c, d, e, f]\ntool_down: [0, 0, 0, 0]", "quaternion"),
        ("limits: ur5e\njoints: [a, b, c, d, e, f]\ndomain: 102", "domain=102: must be"),
        ("limits: franka\njoints: [a, b, c, d, e, f, g]\ncommand: joint_positions", "needs limits of 7 axes"),
    ],
)
def test_a_robot_file_that_cannot_be_meant_is_refused_in_one_line(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        load_robot(str(path))
    assert str(path) in str(error.value) and "\n" not in str(error.value)
