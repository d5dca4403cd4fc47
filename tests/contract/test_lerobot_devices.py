"""LeRobot both ways: its robots behind our bridge as a node on the wire, our bridge and devices as its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import yaml

pytest.importorskip("lerobot")

from robo_reward.data.torchvision_cure import cure
from robo_reward.hardware.lerobot_driver import LeRobotNode, check_driven, main, make_lerobot_robot
from robo_reward.hardware.memory_transport import MemoryNetwork, MemoryTransport
from robo_reward.hardware.messages import Float64MultiArray, Image, JointState, String
from robo_reward.hardware.robot_config import load_robot
from robo_reward.hardware.transport import LATCHED

cure()
ROOT = Path(__file__).parents[2]
DOMAIN = 1 + os.getpid() % 100
SO101, LIMITS = load_robot("so101")

PACKAGE = '''
from dataclasses import dataclass
import numpy as np
from lerobot.robots import Robot, RobotConfig

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")

@RobotConfig.register_subclass("toy_arm")
@dataclass(kw_only=True)
class ToyArmConfig(RobotConfig):
    lag: float = 0.5

class ToyArm(Robot):
    """SO-101's joints without motors: degrees, the gripper in percent, a camera that is never twice the same."""
    config_class, name = ToyArmConfig, "toy_arm"
    observation_features = {f"{joint}.pos": float for joint in JOINTS} | {"front": (48, 64, 3)}
    action_features = {f"{joint}.pos": float for joint in JOINTS}
    is_connected, is_calibrated, broken = False, True, None
    def __init__(self, config):
        super().__init__(config)
        self.lag, self.at, self.goal = config.lag, np.array([0.0] * 5 + [50.0]), np.array([0.0] * 5 + [50.0])
        self.rng, self.sent = np.random.default_rng(0), []
    def connect(self, calibrate=True): self.is_connected = True
    def disconnect(self): self.is_connected = False
    def calibrate(self): pass
    def configure(self): pass
    def get_observation(self):
        if self.broken: raise self.broken
        self.at = self.at + self.lag * (self.goal - self.at)
        frame = self.rng.integers(50, 250, (48, 64, 3), np.uint8)
        return {f"{joint}.pos": float(value) for joint, value in zip(JOINTS, self.at)} | {"front": frame}
    def send_action(self, action):
        self.goal = np.array([action[f"{joint}.pos"] for joint in JOINTS])
        self.sent.append(self.goal)
        return action
'''


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Iterator[Path]:
    """A LeRobot plugin with a robot in it, importable here and by children."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "toy_arm_plugin").mkdir()
    (folder / "toy_arm_plugin" / "__init__.py").write_text("from toy_arm_plugin.toy import ToyArm, ToyArmConfig\n")
    (folder / "toy_arm_plugin" / "toy.py").write_text(PACKAGE)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def words(tmp_path: Path, *more: str) -> list[str]:
    plugin = "--robot.discover_packages_path=toy_arm_plugin"
    return ["--robot.type=toy_arm", plugin, f"--robot.calibration_dir={tmp_path}", *more]


# ------------------------------------------------------------------ its robots as ours


class Wire:
    """The driver and somebody beside it, on a clock that is set by hand."""

    def __init__(self, robot, **changes) -> None:
        network, self.now, self.robot = MemoryNetwork(), 10.0, robot
        config = replace(SO101, image_size=(48, 64), **changes)
        ours, other = (MemoryTransport(network, lambda: self.now) for _ in range(2))
        self.node = LeRobotNode(robot, config, ours, clock=lambda: self.now)
        self.joints, self.front = other.subscribe("joint_states", JointState), other.subscribe("front/image_raw", Image)
        self.fault = other.subscribe("robot_fault", String, LATCHED)
        self.command = other.advertise("joint_commands", Float64MultiArray)


@pytest.fixture
def wire(package, tmp_path) -> Wire:
    return Wire(make_lerobot_robot(words(tmp_path)))


def test_a_robot_of_lerobots_speaks_radians_and_pictures(wire):
    wire.robot.at = wire.robot.goal = np.array([90.0, 0, 0, 0, -180.0, 25.0])
    wire.node.step()
    said = wire.joints.latest().message
    assert said.name == SO101.joints
    assert said.position == pytest.approx([np.pi / 2, 0, 0, 0, -np.pi, 0.25])
    picture = wire.front.latest().message
    assert (picture.height, picture.width, picture.encoding) == (48, 64, "rgb8")


def test_it_follows_fresh_commands_once_and_no_others(wire):
    wire.command(Float64MultiArray(data=np.array([0.1, 0, 0, 0, 0, 0.75])))
    wire.node.step()
    wire.node.step()
    assert len(wire.robot.sent) == 1 and wire.robot.sent[0] == pytest.approx([np.rad2deg(0.1), 0, 0, 0, 0, 75.0])
    for bad in (np.full(6, np.nan), np.zeros(5)):
        wire.command(Float64MultiArray(data=bad))
        wire.node.step()
    wire.command(Float64MultiArray(data=np.zeros(6)))
    wire.now += 0.3
    wire.node.step()
    assert len(wire.robot.sent) == 1, "not finite, too few, too old"


def test_a_motor_that_does_not_answer_is_a_fault_until_it_does(wire):
    wire.node.step()
    assert wire.fault.latest() is None
    wire.robot.broken = ConnectionError("Failed to sync read 'Present_Position'\non ids=[1]")
    wire.node.step()
    before = wire.joints.latest().number
    wire.node.step()
    assert "sync read" in wire.fault.latest().message.data and wire.joints.latest().number == before
    wire.robot.broken = None
    wire.node.step()
    assert wire.fault.latest().message.data == "" and wire.joints.latest().number == before + 1


@pytest.mark.parametrize(
    "changes,line",
    [
        ({"command": "target_pose"}, "LeRobot's robots take joint positions"),
        ({"joints": ("shoulder_pen", *SO101.joints[1:])}, "unknown joint 'shoulder_pen': did you mean 'shoulder_pan'"),
        ({"cameras": {"top": "top"}}, "no camera 'top', only front: see --robot.cameras"),
        ({"joints": SO101.joints[:5]}, "unknown percent joint 'gripper'"),
    ],
)
def test_a_robot_that_does_not_fit_its_file_is_refused(package, tmp_path, changes, line):
    with pytest.raises(ValueError, match=line):
        Wire(make_lerobot_robot(words(tmp_path)), **changes)


@pytest.mark.parametrize(
    "said,line",
    [
        (["robot=so101"], "LeRobot's own words"),
        (["robot=so11", "--robot.type=so101_follower"], "unknown robot 'so11': did you mean 'so101'?"),
        (["robt=so101", "--robot.type=so101_follower"], "did you mean 'robot'?"),
        (["--robot.type=so999"], "LeRobot does not take --robot.type=so999"),
        (["--robot.type=toy_arm", "--robot.discover_packages_path=nowhere"], "Failed to load plugin 'nowhere'"),
    ],
)
def test_a_mistake_ends_in_one_line(said, line, capsys, package):
    with pytest.raises(SystemExit) as end:
        main(said)
    error = capsys.readouterr().err.strip().splitlines()
    assert end.value.code == 2 and line in error[-1]


def test_lerobots_own_so101_fits_our_file(tmp_path, monkeypatch):
    """Its class, its names and units; the motors' library is a stand-in, and no port is opened before `connect`."""
    from lerobot.utils import import_utils

    monkeypatch.setitem(sys.modules, "scservo_sdk", MagicMock())
    monkeypatch.setattr(import_utils, "_transformers_available", True)
    camera = "{front: {type: opencv, index_or_path: 0, width: 640, height: 480, fps: 30}}"
    said = ["--robot.type=so101_follower", "--robot.port=/dev/null", f"--robot.calibration_dir={tmp_path}"]
    robot = make_lerobot_robot([*said, f"--robot.cameras={camera}"])
    check_driven(robot, SO101, ("gripper",))
    assert not import_utils._transformers_available  # LeRobot's GR00T does not load beside transformers 5
    assert robot.config.use_degrees and robot.bus.motors["gripper"].norm_mode.name == "RANGE_0_100"


def test_a_motor_library_that_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "scservo_sdk", None)
    with pytest.raises(ValueError, match=r"needs the package scservo_sdk: .* pip install 'lerobot\[feetech\]'"):
        make_lerobot_robot(["--robot.type=so101_follower", "--robot.port=/dev/null"])


def test_a_robot_that_does_not_answer_ends_in_one_line(monkeypatch, capsys):
    robot = MagicMock()
    robot.connect.side_effect = ConnectionError("could not open port\n/dev/ttyACM0")
    for name, stand_in in (("make_lerobot_robot", lambda said: robot), ("check_driven", MagicMock()),
                           ("open_transport", MagicMock()), ("signal.signal", MagicMock())):  # fmt: skip
        monkeypatch.setattr(f"robo_reward.hardware.lerobot_driver.{name}", stand_in)
    with pytest.raises(SystemExit) as end:
        main(["robot=so101", "--robot.type=so101_follower"])
    assert end.value.code == 2
    assert capsys.readouterr().err == "the robot does not answer: could not open port /dev/ttyACM0\n"


# ------------------------------------------------------------------ our bridge and devices as its own


def make(config):
    from lerobot.robots.utils import make_robot_from_config
    from lerobot.teleoperators.utils import make_teleoperator_from_config

    return (make_robot_from_config if hasattr(config, "unguarded") else make_teleoperator_from_config)(config)


def test_lerobot_loads_our_plugin_and_makes_our_classes(tmp_path):
    from lerobot.configs.parser import load_plugin
    from lerobot.robots import RobotConfig
    from lerobot.teleoperators import TeleoperatorConfig

    load_plugin("robo_reward.lerobot_plugin")
    kind = RobotConfig.get_choice_class("robo_reward")
    robot = make(kind(robot="franka", id="arm", calibration_dir=tmp_path))
    assert robot.name == "robo_reward" and not robot.is_connected
    assert list(robot.action_features) == [f"delta.{axis}" for axis in ("x", "y", "z", "rx", "ry", "rz")]
    assert list(robot.observation_features)[:1] == ["fr3_joint1.pos"] and "tool.z" in robot.observation_features
    kind = TeleoperatorConfig.get_choice_class("robo_reward")
    device = make(kind(teleop="gamepad", robot="franka", calibration_dir=tmp_path))
    assert device.action_features == robot.action_features and device.feedback_features == {}
    with pytest.raises(ConnectionError, match="connect"):
        robot.get_observation()


def test_a_recorded_hand_is_a_teleoperator(tmp_path):
    from lerobot.teleoperators.utils import TeleopEvents

    from robo_reward.lerobot_plugin import RoboRewardTeleop, RoboRewardTeleopConfig

    stream = tmp_path / "hand.jsonl"
    lines = [{"device": "twist", "source": "t"}]
    lines += [{"t": i / 100, "axes": [1, 0, 0, 0, 0, 0], "keys": "y" if i == 5 else ""} for i in range(400)]
    stream.write_text("\n".join(map(json.dumps, lines)))
    device = RoboRewardTeleop(RoboRewardTeleopConfig(teleop=str(stream), calibration_dir=tmp_path))
    device.connect()
    try:
        for _ in range(20):
            action = device.get_action()
            time.sleep(0.01)
        assert action == {"delta.x": 1.0, "delta.y": 0.0, "delta.z": 0.0, "delta.rz": 0.0}
        events = device.get_teleop_events()
        assert events[TeleopEvents.IS_INTERVENTION] and events[TeleopEvents.SUCCESS]
        assert not device.get_teleop_events()[TeleopEvents.SUCCESS]
    finally:
        device.disconnect()


@pytest.mark.slow
def test_there_and_back_over_the_wire(package, tmp_path):
    """LeRobot's robot in a driver process, our bridge before it, and LeRobot's interface to that bridge."""
    pytest.importorskip("cyclonedds")
    from robo_reward.lerobot_plugin import RoboRewardRobot, RoboRewardRobotConfig

    limits = yaml.safe_load((ROOT / "conf" / "safety" / "so101.yaml").read_text())
    limits |= {"action_timeout_s": 1.0, "state_timeout_s": 0.5}
    (tmp_path / "limits.yaml").write_text(yaml.safe_dump(limits))
    config = yaml.safe_load((ROOT / "conf" / "robot" / "so101.yaml").read_text())
    config |= {"limits": str(tmp_path / "limits.yaml"), "image_size": [48, 64], "camera_hz": 3.0, "domain": DOMAIN}
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "robo_reward.hardware.lerobot_driver", f"robot={tmp_path / 'toy.yaml'}"]
    path = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", str(ROOT))])
    driver = subprocess.Popen([*command, *words(tmp_path)], env=os.environ | {"PYTHONPATH": path})
    robot = RoboRewardRobot(RoboRewardRobotConfig(robot=str(tmp_path / "toy.yaml"), calibration_dir=tmp_path))
    try:
        deadline = time.monotonic() + 300  # LeRobot's imports take long on a busy machine
        while not robot.is_connected:
            try:
                robot.connect()
            except ValueError:
                assert time.monotonic() < deadline and driver.poll() is None
        action = dict.fromkeys(robot.action_features, 0.0) | {"delta.shoulder_pan": 0.5}
        for _ in range(200):
            assert robot.send_action(action)["delta.shoulder_pan"] == pytest.approx(0.5)
            seen = robot.get_observation()
            if seen["shoulder_pan.pos"] > 0.05:
                break
            time.sleep(0.02)
        assert seen["shoulder_pan.pos"] > 0.05 and abs(seen["elbow_flex.pos"]) < 0.01
        assert seen["gripper.pos"] == pytest.approx(0.5, abs=0.02) and seen["front"].shape == (48, 64, 3)
    finally:
        robot.disconnect()
        driver.terminate()
        assert driver.wait(20) == 0
