"""Any robot of LeRobot's as a node on the wire, so that bridge, gate, teleoperation and training take it as they are.

    python -m robo_reward.hardware.lerobot_driver robot=so101 --robot.type=so101_follower --robot.port=/dev/ttyACM0

`robot=NAME` is one of `conf/robot`, with command joint_positions; `--robot.` are LeRobot's own words, cameras included
(`--robot.cameras='{front: {type: opencv, index_or_path: 0, width: 640, height: 480, fps: 30}}'`). Degrees become
radians; joints named in `percent=gripper` go from 0 to 1. It stops following when commands stay out.
"""

from __future__ import annotations

import importlib
import io
import pkgutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import make_dataclass, replace
from typing import Any

import numpy as np

from robo_reward.extras import missing_extra
from robo_reward.hardware.bridge import open_transport
from robo_reward.hardware.commands import now_header
from robo_reward.hardware.images import image_of
from robo_reward.hardware.messages import Float64MultiArray, Image, JointState, String
from robo_reward.hardware.robot_config import RobotConfig, load_robot
from robo_reward.hardware.transport import LATCHED, Transport
from robo_reward.settings import unknown

RATE_HZ = 60.0
COMMAND_TIMEOUT_S = 0.2
"""Age of a command that is no longer followed [s]; position servos then stay where they were sent last."""
BROKEN = (OSError, RuntimeError, TimeoutError)
"""What LeRobot's drivers raise when a motor or a camera does not answer."""


class LeRobotNode:
    """A connected LeRobot robot and its topics; `step` is one cycle.

    Arguments:
        robot: of LeRobot's class `Robot`, with an action `JOINT.pos` for every joint of the config.
        config: the wire's names.
        transport: where they are.
        percent: joints that LeRobot gives from 0 to 100; the others are in degrees.
        clock: monotonic seconds.

    Raises:
        ValueError: the robot has not what the config names.
    """

    def __init__(
        self,
        robot: Any,
        config: RobotConfig,
        transport: Transport,
        percent: tuple[str, ...] = ("gripper",),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_driven(robot, config, percent)
        self._robot, self._config, self._clock = robot, config, clock
        self._keys = [f"{joint}.pos" for joint in config.joints]
        self._unit = np.array([0.01 if joint in percent else np.pi / 180 for joint in config.joints])
        self._publish_joints = transport.advertise(config.joint_states, JointState)
        self._publish_fault = transport.advertise(config.fault, String, LATCHED) if config.fault else None
        self._views = {view: transport.advertise(topic, Image) for view, topic in config.cameras.items()}
        self._commands = transport.subscribe(config.command_topic, Float64MultiArray)
        self._taken, self._fault = 0, ""

    def step(self) -> None:
        """Tell where the robot is and what its cameras see, then follow the newest command."""
        try:
            seen = self._robot.get_observation()
            header = now_header(self._config.frame)
            positions = np.array([float(seen[key]) for key in self._keys]) * self._unit
            self._publish_joints(JointState(header, self._config.joints, positions))
            for view, publish in self._views.items():
                publish(image_of(np.ascontiguousarray(seen[view], np.uint8), header))
            self._follow()
        except BROKEN as error:
            self._tell(f"{type(error).__name__}: {error}")
        else:
            self._tell("")

    def _follow(self) -> None:
        received = self._commands.latest()
        if received is None or received.number == self._taken or self._clock() - received.time_s > COMMAND_TIMEOUT_S:
            return
        self._taken = received.number
        targets = np.asarray(received.message.data, np.float64)
        if targets.shape == self._unit.shape and np.isfinite(targets).all():
            self._robot.send_action(dict(zip(self._keys, (targets / self._unit).tolist(), strict=True)))

    def _tell(self, fault: str) -> None:
        """The bridge holds while there is a fault."""
        if fault != self._fault:
            self._fault = fault
            print(f"robot fault: {' '.join(fault.split()) or 'mended'}", file=sys.stderr, flush=True)
            if self._publish_fault is not None:
                self._publish_fault(String(data=" ".join(fault.split())))


def check_driven(robot: Any, config: RobotConfig, percent: tuple[str, ...] = ()) -> None:
    """ValueError when LeRobot's robot and the robot's file do not go together."""
    if config.command != "joint_positions":
        raise ValueError(f"LeRobot's robots take joint positions, and the file says command: {config.command}")
    for joint in config.joints:
        for features in (robot.action_features, robot.observation_features):
            if f"{joint}.pos" not in features:
                raise ValueError(unknown("joint", joint, [key.removesuffix(".pos") for key in features]))
    for view in config.cameras:
        shape = robot.observation_features.get(view)
        if not isinstance(shape, tuple):
            there = [key for key, kind in robot.observation_features.items() if isinstance(kind, tuple)]
            raise ValueError(
                f"the robot has no camera '{view}', only {', '.join(there) or 'none'}: see --robot.cameras"
            )
        if shape[:2] != config.image_size:
            raise ValueError(f"camera {view} gives {shape[0]} x {shape[1]}, image_size says {list(config.image_size)}")
    for joint in percent:
        if joint not in config.joints:
            raise ValueError(unknown("percent joint", joint, config.joints))


def make_lerobot_robot(words: list[str]) -> Any:
    """LeRobot's robot of its own command line words, `--robot.type=...`; not connected yet.

    Raises:
        ValueError: LeRobot is missing, or says that the words are wrong.
    """
    try:
        from robo_reward.data.lerobot_package import hide_transformers
        from robo_reward.data.torchvision_cure import cure

        cure()
        hide_transformers()  # one of LeRobot's robots loads all its policies
        import draccus
        import lerobot.robots.utils
        from lerobot import robots
        from lerobot.configs import parser
    except ImportError as error:
        raise ValueError(missing_extra(error) or f"LeRobot does not load: {error}") from error
    plugins, said = parser.parse_plugin_args(parser.PLUGIN_DISCOVERY_SUFFIX, words), io.StringIO()
    try:
        for package in plugins.values():
            parser.load_plugin(package)
        kind = next((word.partition("=")[2] for word in words if word.startswith("--robot.type=")), "")
        unknown_yet = kind not in robots.RobotConfig.get_known_choices()
        for module in pkgutil.iter_modules(robots.__path__) if unknown_yet else ():  # each registers its type
            try:
                importlib.import_module(f"lerobot.robots.{module.name}")
            except ImportError:
                continue  # it lacks a library of its own
        plain = [word for word in words if parser.PLUGIN_DISCOVERY_SUFFIX not in word]
        whole = make_dataclass("Driver", [("robot", robots.RobotConfig)])
        with redirect_stderr(said):
            return lerobot.robots.utils.make_robot_from_config(draccus.parse(whole, args=plain).robot)
    except SystemExit:
        raise ValueError(f"LeRobot does not take {' '.join(words)}: {said.getvalue().splitlines()[-1:]}") from None
    except ModuleNotFoundError as error:
        raise ValueError(
            f"this robot of LeRobot's needs the package {error.name}: install LeRobot's extra for it, such as "
            "pip install 'lerobot[feetech]' for the SO-101"
        ) from None
    except (parser.PluginLoadError, draccus.utils.DecodingError) as error:
        raise ValueError(f"LeRobot does not take {' '.join(words)}: {error}") from None


def run(node: LeRobotNode, stop: threading.Event) -> None:
    """Cycle until `stop`."""
    due = time.monotonic()
    while not stop.is_set():
        node.step()
        due = max(due + 1 / RATE_HZ, time.monotonic())
        stop.wait(due - time.monotonic())


def main(words: list[str]) -> None:
    """`robot=`, `domain=`, `percent=` and LeRobot's `--robot.` words; exit code 2 and one line on a mistake."""
    own = dict(word.split("=", 1) for word in words if "=" in word and not word.startswith("--"))
    theirs = [word for word in words if word.startswith("--robot.")]
    try:
        for name in own:
            if name not in ("robot", "domain", "percent"):
                raise ValueError(unknown("setting", name, ("robot", "domain", "percent")))
        if len(own) + len(theirs) != len(words) or not theirs:
            raise ValueError("write robot=NAME, such as robot=so101, and LeRobot's own words, such as --robot.type=...")
        config, _ = load_robot(own.get("robot", "so101"))
        config = replace(config, domain=int(own.get("domain", config.domain)))
        robot = make_lerobot_robot(theirs)
        percent = tuple(own.get("percent", "gripper").split(",")) if own.get("percent", "gripper") else ()
        check_driven(robot, config, percent)
        transport = open_transport(config)
    except (ValueError, ModuleNotFoundError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        raise SystemExit(2) from None
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        try:
            robot.connect()  # may ask to calibrate
        except BROKEN as error:
            print(f"the robot does not answer: {' '.join(str(error).split())}", file=sys.stderr)
            raise SystemExit(2) from None
        try:
            run(LeRobotNode(robot, config, transport, percent), stop)
        finally:
            robot.disconnect()
    finally:
        transport.close()


if __name__ == "__main__":
    main(sys.argv[1:])
