"""Recorded bags: MCAP files as `ros2 bag record` lays them out, read back as episodes; damaged ones in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mcap")

from mcap.writer import CompressionType, Writer

from robo_reward.cli import main
from robo_reward.hardware.bags import Import, find_bags, read_bag
from robo_reward.hardware.cdr import encode
from robo_reward.hardware.images import image_of
from robo_reward.hardware.messages import (
    CompressedImage,
    Float64MultiArray,
    Header,
    JointState,
    JointTrajectory,
    JointTrajectoryPoint,
    Message,
    PoseStamped,
    TwistStamped,
    WrenchStamped,
)
from robo_reward.hardware.poses import from_axes
from robo_reward.hardware.robot_config import load_robot
from robo_reward.hardware.robot_env import GRIPPER_OPENING

SIM, LIMITS = load_robot("sim_arm")
CONFIG = replace(SIM, cameras={"front": "front/image_raw"})
TOLD = Import("push")
START = 1_700_000_000.0
HOME = np.array([0.5, 0.0, 0.12, 0, 0, 0])
BASE = Header(frame_id="base")


def write_bag(path: Path, messages: list[tuple[float, str, Message]], start: float = START) -> Path:
    """A bag of messages with their times [s]."""
    with path.open("wb") as file:
        writer = Writer(file, compression=CompressionType.NONE, chunk_size=4096)
        writer.start(profile="ros2", library="test")
        channels: dict[str, int] = {}
        for time_s, topic, message in sorted(messages, key=lambda entry: entry[0]):
            if topic not in channels:
                schema = writer.register_schema(name=message.ros, encoding="ros2msg", data=b"")
                channels[topic] = writer.register_channel(topic=topic, message_encoding="cdr", schema_id=schema)
            now = round((start + time_s) * 1e9)
            writer.add_message(channels[topic], log_time=now, publish_time=now, data=bytes(encode(message)))
        writer.finish()
    return path


def drive(seconds: float = 1.0, speed: float = 0.1, without: tuple[str, ...] = ()) -> list[tuple[float, str, Message]]:
    """An arm that moves along x at some speed [m/s], told so 50 times a second; its joints come in another order."""
    said: list[tuple[float, str, Message]] = []
    names = CONFIG.joints[::-1]
    for tick in range(round(seconds * 100)):
        t = tick / 100
        pose = HOME + [speed * t, 0, 0, 0, 0, 0]
        said.append((t, "/joint_states", JointState(BASE, names, np.arange(7.0)[::-1] * 0.1 + t)))
        said.append((t + 0.001, "/current_pose", PoseStamped(BASE, *from_axes(pose, CONFIG.tool_down))))
        said.append((t + 0.002, "/wrench", WrenchStamped(BASE, np.array([1.0, 2.0, 3.0]), np.zeros(3))))
        if tick % 2:
            target = pose + [speed * 0.05, 0, 0, 0, 0, 0]
            said.append((t + 0.003, "/target_pose", PoseStamped(BASE, *from_axes(target, CONFIG.tool_down))))
        if tick % 3 == 0:
            said.append((t + 0.004, "/front/image_raw", image_of(np.full((12, 16, 3), tick, np.uint8), BASE)))
    return [entry for entry in said if entry[1] not in without]


@pytest.fixture
def bag(tmp_path) -> Path:
    return write_bag(tmp_path / "push_1.mcap", drive())


def test_a_bag_becomes_an_episode_with_everything_in_its_place(bag):
    episode, cut = read_bag(bag, CONFIG, LIMITS, TOLD)
    assert (episode.episode_id, episode.instruction, episode.source) == ("push_1", "push", "human")
    assert len(episode) == 19 and episode.success and episode.terminated and episode.reward[-1] == 1
    columns = episode.agent_pos
    t = 0.004 + np.arange(20) / 20  # the first whole observation, then every 50 ms
    # Nearest before: the last joints at or before the step, reordered by name, at most 10 ms old.
    joints = columns[:, :7]
    np.testing.assert_allclose(np.diff(joints, axis=1), 0.1, atol=1e-5)
    assert np.all(joints[:, 0] <= t + 1e-6) and np.all(joints[:, 0] > t - 0.0101)
    np.testing.assert_allclose(columns[:, 7], 0.5 + 0.1 * joints[:, 0], atol=1.1e-3)
    np.testing.assert_allclose(columns[:, 13:16], [[1.0, 2.0, 3.0]] * 20)
    np.testing.assert_allclose(columns[:, 25], GRIPPER_OPENING, atol=1e-6)
    # Told to be a step's way ahead of where it is, at a tenth of a metre a second; a step of 1 is 10 mm.
    np.testing.assert_allclose(episode.action[:, 0], 1.0, atol=0.15)
    assert not episode.action[:, 1:].any() and 0 <= cut <= 0.9
    np.testing.assert_allclose(columns[1:, 26], episode.action[:, 0], atol=1e-6)
    shown = episode.frames["front"][:, 0, 0, 0] / 100
    assert np.all(shown + 0.004 <= t + 1e-6) and np.all(shown + 0.004 > t - 0.0301), "the newest picture before"


def test_the_layout_is_that_of_a_live_robot(bag):
    episode, _ = read_bag(bag, CONFIG, LIMITS, TOLD)
    joints, axes = len(CONFIG.joints), len(LIMITS.step)
    assert episode.agent_pos.shape[1] == joints + 2 * axes + 6 + 1 + len(CONFIG.axes)


def test_an_action_beyond_the_step_is_cut_and_told(tmp_path):
    bag = write_bag(tmp_path / "fast.mcap", drive(speed=0.4))
    episode, cut = read_bag(bag, CONFIG, LIMITS, replace(TOLD, success=False))
    assert cut > 0.9 and episode.action[:, 0].tolist() == [1.0] * 19
    assert episode.truncated and not episode.success and not episode.reward.any()


def test_pictures_are_cut_square_and_shrunk_and_jpegs_are_read(tmp_path, bag):
    cv2 = pytest.importorskip("cv2")
    episode, _ = read_bag(bag, CONFIG, LIMITS, replace(TOLD, image_size=8))
    assert episode.frames["front"].shape == (20, 8, 8, 3)
    messages = drive(without=("/front/image_raw",))
    red = np.zeros((12, 16, 3), np.uint8)
    red[..., 2] = 200  # OpenCV's order
    data = cv2.imencode(".jpg", red)[1].reshape(-1)
    messages += [(i / 30, "/front/image_raw", CompressedImage(BASE, "bgr8; jpeg compressed", data)) for i in range(30)]
    episode, _ = read_bag(write_bag(tmp_path / "jpeg.mcap", messages), CONFIG, LIMITS, TOLD)
    assert abs(int(episode.frames["front"][0, 0, 0, 0]) - 200) < 8 and episode.frames["front"][..., 2].max() < 8


def test_a_bag_in_pieces_is_one_recording(tmp_path):
    messages, whole = drive(), tmp_path / "whole"
    whole.mkdir()
    (whole / "metadata.yaml").touch()
    for number in range(11):
        part = [entry for entry in messages if number / 11 <= entry[0] < (number + 1) / 11]
        write_bag(whole / f"whole_{number}.mcap", part)
    episode, _ = read_bag(whole, CONFIG, LIMITS, TOLD)
    expected, _ = read_bag(write_bag(tmp_path / "one.mcap", messages), CONFIG, LIMITS, TOLD)
    np.testing.assert_array_equal(episode.agent_pos, expected.agent_pos)
    assert episode.episode_id == "whole" and find_bags(tmp_path) == [tmp_path / "one.mcap", whole]


@pytest.mark.parametrize("command", ["twist", "joint_positions", "joint_trajectory"])
def test_every_kind_of_command_is_understood(tmp_path, command):
    messages = drive(without=("/target_pose",))
    if command == "twist":
        config, limits = replace(CONFIG, command="twist"), LIMITS
        messages += [(i / 50, "/target_pose", TwistStamped(BASE, np.array([0.1, 0, 0]))) for i in range(30)]
        expected = np.where(np.arange(19) < 12, 0.5, np.nan)  # 5 mm a step; then silence, and 0.2 s later rest
    else:
        config = replace(CONFIG, command=command, axes=(0, 1))
        limits = replace(LIMITS, step=(0.1,) * 7)
        at = np.arange(7.0) * 0.1
        goal = at + 10.0
        for i in range(50):
            if command == "joint_positions":
                messages.append((i / 50, "/target_pose", Float64MultiArray(data=goal)))
            else:
                point = JointTrajectoryPoint(positions=goal[::-1].copy())
                messages.append((i / 50, "/target_pose", JointTrajectory(BASE, CONFIG.joints[::-1], (point,))))
        expected = np.ones(19)
    episode, _ = read_bag(write_bag(tmp_path / "b.mcap", messages), config, limits, TOLD)
    known = np.isfinite(expected)
    np.testing.assert_allclose(episode.action[known, 0], expected[known], atol=1e-3)
    if command == "twist":
        assert not episode.action[-2:].any()


def test_a_gripper_is_the_last_number_of_the_action(tmp_path):
    config = replace(CONFIG, gripper="grip", gripper_open=0.08, gripper_closed=0.0, gripper_state="fingers")
    messages = [*drive(), (0.5, "/grip", Float64MultiArray(data=np.array([0.0])))]
    messages += [(i / 50, "/fingers", JointState(position=np.array([0.08 if i < 30 else 0.02]))) for i in range(50)]
    episode, _ = read_bag(write_bag(tmp_path / "b.mcap", messages), config, LIMITS, TOLD)
    assert episode.action.shape == (19, 5) and episode.action[:, 4].tolist() == [-1.0] * 9 + [1.0] * 10
    assert episode.agent_pos[0, 25] == pytest.approx(0.08) and episode.agent_pos[-1, 25] == pytest.approx(0.02)
    np.testing.assert_array_equal(episode.agent_pos[1:, -1], episode.action[:, -1])


def test_before_the_first_command_the_arm_was_told_nothing(tmp_path):
    messages = [entry for entry in drive() if entry[1] != "/target_pose" or entry[0] > 0.5]
    episode, _ = read_bag(write_bag(tmp_path / "late.mcap", messages), CONFIG, LIMITS, TOLD)
    assert not episode.action[:9].any() and episode.action[12:, 0].min() > 0.5


# ------------------------------------------------------------------ what is wrong with a bag


def test_a_truncated_bag_gives_one_line_wherever_it_was_cut(bag):
    whole = bag.read_bytes()
    for size in [0, 4, 100, *range(200, len(whole), len(whole) // 25), len(whole) - 1]:
        bag.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="push_1.mcap") as error:
            read_bag(bag, CONFIG, LIMITS, TOLD)
        assert "\n" not in str(error.value) and "mcap recover" in str(error.value)


def test_a_bag_with_a_flipped_byte_gives_one_line_or_the_same_episode(bag):
    whole, expected = bag.read_bytes(), read_bag(bag, CONFIG, LIMITS, TOLD)[0]
    for at in np.random.default_rng(0).integers(0, len(whole), 25):
        broken = bytearray(whole)
        broken[at] ^= 0x41
        bag.write_bytes(broken)
        try:
            episode, _ = read_bag(bag, CONFIG, LIMITS, TOLD)
        except ValueError as error:
            assert "\n" not in str(error)
        else:
            np.testing.assert_array_equal(episode.agent_pos, expected.agent_pos)


@pytest.mark.parametrize(
    "change,words",
    [
        (lambda said: [m for m in said if m[1] != "/wrench"], "no topic /wrench was recorded, only /current_pose, "),
        (lambda said: [m for m in said if m[1] != "/joint_states" or m[0] < 0.3], "state is silent for 0.5"),
        (lambda said: [m for m in said if m[1] != "/front/image_raw" or m[0] < 0.2], "camera front is silent for 0.5"),
        (lambda said: [m for m in said if m[0] < 0.03], "too short for one step at 20 Hz"),
        (lambda said: [(t, k, Header()) if k == "/wrench" else (t, k, m) for t, k, m in said], "holds std_msgs"),
        (
            lambda said: [(t, k, replace(m, header=Header()) if "target" in k else m) for t, k, m in said],
            "/target_pose is in frame '', expected 'base'",
        ),
        (
            lambda said: [(t, k, replace(m, position=np.full(3, np.nan)) if "target" in k else m) for t, k, m in said],
            "expected 6 finite numbers",
        ),
        (
            lambda said: [(t, k, replace(m, position=np.full(7, np.nan)) if "joint" in k else m) for t, k, m in said],
            "agent_pos holds a non-finite value",
        ),
        (
            lambda said: [(t, k, replace(m, encoding="yuv") if "image" in k else m) for t, k, m in said],
            "image encoding 'yuv' is not read",
        ),
    ],
)  # fmt: skip
def test_a_bag_that_lacks_something_says_what(tmp_path, change, words):
    bag = write_bag(tmp_path / "push.mcap", change(drive()))
    with pytest.raises(ValueError, match=words) as error:
        read_bag(bag, CONFIG, LIMITS, TOLD)
    assert "\n" not in str(error.value) and "push" in str(error.value)


@pytest.mark.parametrize(
    "words,line",
    [
        (["bag=none", "robot=sim_arm", "to=x", "instruction=push"], "bag=none: no recording there"),
        (["bag=none", "robot=sim_arm", "to=x"], "say what the robot is to do"),
        (["bag=none", "teleop=joy", "robot=sim_arm", "to=x"], "give one of them"),
        (["bag=none", "robot=sim_arm"], "bag= needs to="),
        (["bag=none", "robot=sim_arm", "to=x", "episodes=["], "episodes=[: cannot be read"),
        (["bag=old", "robot=sim_arm", "to=x", "instruction=push"], "old: no .mcap file in it; `ros2 bag convert`"),
    ],
)
def test_a_mistake_ends_in_one_line(words, line, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "metadata.yaml").touch()
    with pytest.raises(SystemExit) as end:
        main(["collect", *words])
    error = capsys.readouterr().err
    assert end.value.code == 2 and line in error and error.count("\n") == 1 and not (tmp_path / "x").exists()


def test_bags_become_a_dataset_and_those_that_are_there_are_passed_over(tmp_path, capsys):
    pytest.importorskip("lerobot")
    from robo_reward.data.lerobot import read_dataset

    config = tmp_path / "bench.yaml"  # without cameras: no videos to encode
    text = (Path(__file__).parents[2] / "conf" / "robot" / "sim_arm.yaml").read_text()
    config.write_text("\n".join(line for line in text.splitlines() if not line.startswith("cameras")))
    bags = tmp_path / "bags"
    for name in ("a", "b"):
        (bags / name).mkdir(parents=True)
        (bags / name / "metadata.yaml").touch()
        write_bag(bags / name / f"{name}_0.mcap", drive(0.5))
    words = ["collect", f"robot={config}", f"to={tmp_path / 'out'}", "instruction=push it"]
    for bag, success in ((bags / "a", "false"), (bags, "true")):
        with pytest.raises(SystemExit) as end:
            main([*words, f"bag={bag}", f"success={success}"])
        assert end.value.code == 0, capsys.readouterr().err
    assert "a: in " in capsys.readouterr().out
    episodes = read_dataset(tmp_path / "out")
    assert [(e.episode_id, e.success, e.instruction) for e in episodes] == [
        ("a", False, "push it"), ("b", True, "push it"),
    ]  # fmt: skip
