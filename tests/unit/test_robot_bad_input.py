"""What a robot, its files or its messages may have wrong: one clear line each, and nothing is ever sent to the arm."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from robo_reward.cli import main
from robo_reward.hardware import bridge
from robo_reward.hardware.memory_transport import MemoryNetwork, MemoryTransport
from robo_reward.hardware.messages import Header, Image, JointState, PoseStamped, TwistStamped, WrenchStamped
from robo_reward.hardware.poses import from_axes
from robo_reward.hardware.robot import Ros2Robot
from robo_reward.hardware.robot_config import load_robot
from robo_reward.safety.limits import FOLDER

CONFIG, LIMITS = load_robot("sim_arm")
CONFIG = replace(CONFIG, cameras={"front": "front/image_raw"})
POSE = PoseStamped(Header(frame_id="base"), *from_axes(np.array([0.5, 0.0, 0.12, 0.0, 0.0, 0.0]), CONFIG.tool_down))
JOINTS = JointState(name=CONFIG.joints, position=np.array([0.0, 0.15, 0.0, -2.2, 0.0, 2.35, 0.785]))
PICTURE = Image(Header(), 84, 84, "rgb8", 0, 252, np.full(84 * 252, 90, np.uint8))


@pytest.fixture
def arm(monkeypatch) -> Iterator[Callable[..., list[object]]]:
    """Starts an arm that says these messages, by topic, 100 times a second; returns what it has been sent."""
    network, over, sent = MemoryNetwork(), threading.Event(), []
    monkeypatch.setattr(bridge, "open_transport", lambda config: MemoryTransport(network))
    threads = []

    def start(**changes: object) -> list[object]:
        said = {"joint_states": JOINTS, "current_pose": POSE, "wrench": WrenchStamped(), "front/image_raw": PICTURE}
        said = {topic: message for topic, message in {**said, **changes}.items() if message is not None}
        node = MemoryTransport(network)
        publish = {topic: node.advertise(topic, type(message)) for topic, message in said.items()}
        node.subscribe(CONFIG.command_topic, PoseStamped, heard=sent.append)

        def speak() -> None:
            while not over.wait(0.01):
                for topic, message in said.items():
                    publish[topic](message)

        threads.append(threading.Thread(target=speak, daemon=True))
        threads[-1].start()
        return sent

    yield start
    over.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"wrench": None}, "no WrenchStamped on /wrench yet: start the arm, python -m robo_reward.hardware.sim_arm"),
        ({"current_pose": TwistStamped()}, "no PoseStamped on /current_pose yet"),
        ({"joint_states": replace(JOINTS, name=("a", *CONFIG.joints[1:]))}, "has no joint 'joint1', only a, joint2"),
        ({"joint_states": replace(JOINTS, position=np.zeros(3))}, "names 7 joints and has 3 positions"),
        ({"current_pose": replace(POSE, header=Header(frame_id="world"))}, "is in frame 'world', expected 'base'"),
        ({"front/image_raw": replace(PICTURE, height=42)}, "camera front: frames of 42 x 84, expected 84 x 84"),
        ({"front/image_raw": replace(PICTURE, encoding="bayer_rggb8")}, "image encoding 'bayer_rggb8' is not read"),
        ({"front/image_raw": replace(PICTURE, data=PICTURE.data * 0)}, "camera front: black"),
    ],
)  # fmt: skip
def test_a_robot_whose_messages_are_wrong_is_not_connected(arm, said, words):
    sent = arm(**said)
    with pytest.raises(ValueError, match=words) as error:
        Ros2Robot(CONFIG, LIMITS).connect(timeout_s=0.3)
    time.sleep(0.05)
    assert "\n" not in str(error.value) and sent == []


def test_joints_in_another_order_are_put_into_ours(arm, monkeypatch):
    arm(joint_states=JointState(name=CONFIG.joints[::-1], position=JOINTS.position[::-1].copy()))
    robot = Ros2Robot(CONFIG, LIMITS)
    monkeypatch.setattr(robot, "_start", lambda: None)
    robot.connect(timeout_s=5)
    np.testing.assert_allclose(robot._state.read().joints, JOINTS.position)
    robot.close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["robot=sim_am"], "unknown robot 'sim_am': did you mean 'sim_arm'?"),
        (["robot=sim_arm", "robot.limits={tmp}/turned.yaml"], "low[0]=0.7 must lie below high[0]=0.65"),
        (["robot=sim_arm", "robot.interface=eth0"], "interface eth0 is not the loopback, and DDS is unauthenticated"),
        (["robot={tmp}/nowhere.yaml"], "nowhere.yaml of robot"),
        (["robot=sim_arm", "robot.command=twits"], "did you mean 'twist'"),
        (["robot=sim_arm", "robot.transport=rclpy"], "rclpy"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_exit_code_2(words, message, tmp_path, capsys, monkeypatch):
    pytest.importorskip("cyclonedds")
    monkeypatch.setitem(sys.modules, "rclpy", None)
    limits = (FOLDER / "sim_arm.yaml").read_text()
    (tmp_path / "turned.yaml").write_text(limits.replace("low: [0.35", "low: [0.7"))
    words = [word.replace("{tmp}", str(tmp_path)) for word in words]
    with pytest.raises(SystemExit) as left:
        main(["collect", "experiment=smoke", f"run.root={tmp_path}", *words])
    lines = capsys.readouterr().err.strip().splitlines()
    assert left.value.code == 2 and message in lines[-1] and "Traceback" not in "".join(lines)
