"""Recorded ROS 2 bags as episodes: what `ros2 bag record -s mcap` wrote.

A bag is played again on a wire that only it writes to, through the same readers as a live robot's. At every policy step
the newest state and pictures are taken; the action is where the last command of the step led, as seen from the pose
that was measured at its beginning.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.hardware.arm_state import ArmState
from robo_reward.hardware.commands import COMMANDS
from robo_reward.hardware.images import rgb_of, square
from robo_reward.hardware.messages import CompressedImage, Float64MultiArray, Image, JointState, Message
from robo_reward.hardware.poses import to_axes
from robo_reward.hardware.robot_config import JOINT_COMMANDS, RobotConfig
from robo_reward.hardware.robot_env import GRIPPER_OPENING
from robo_reward.hardware.transport import Inbox, Qos, Send, Transport
from robo_reward.safety.limits import Limits
from robo_reward.types import UNKNOWN_STAGE, Episode

HOLE_S = 0.5
"""Silence [s] of a topic over which no observation is made up."""
TWIST_S = 0.2
"""Age [s] at which a velocity no longer moves the arm."""


@dataclass(frozen=True)
class Import:
    """What a bag does not tell."""

    instruction: str
    success: bool = True
    fps: int = 20
    """Policy steps a second."""
    image_size: int | None = None
    """[px] pictures are cut square and shrunk to it; None leaves them as they are"""


class Replay(Transport):
    """A wire on which only a recording speaks; its clock is the recording's."""

    def __init__(self) -> None:
        super().__init__(lambda: self.now)
        self.now = 0.0
        self.kinds: dict[str, type[Message]] = {}
        self._readers: dict[str, Callable[[bytes], None]] = {}

    def play(self, topic: str, data: bytes, time_s: float) -> None:
        """The next message."""
        self.now = time_s
        self._readers[topic](data)

    def _open_reader(self, topic: str, kind: type[Message], qos: Qos, deliver: Callable[[bytes], None]) -> None:
        self.kinds[topic], self._readers[topic] = kind, deliver

    def _open_writer(self, topic: str, kind: type[Message], qos: Qos) -> Send:
        raise ValueError("nobody writes into a recording")

    def _peers(self, topic: str) -> int:
        return 0

    def _close(self) -> None: ...


@dataclass(frozen=True)
class _Step:
    """One observation and the command in force there."""

    time_s: float
    joints: np.ndarray
    pose: np.ndarray
    wrench: np.ndarray
    command: np.ndarray | None
    """Where the arm was told to go, or how fast, in the axes of the limits; None before the first command."""
    grip: float
    """The gripper's number in an action, as it was sent last; open before the first."""
    opening: float
    pixels: dict[str, np.ndarray]


def find_bags(path: Path) -> list[Path]:
    """The bag at a path, or all bags in a folder, by name: MCAP files and folders of `ros2 bag record`.

    Raises:
        ValueError: there is none.
    """
    if (path.suffix == ".mcap" and path.is_file()) or (path / "metadata.yaml").is_file():
        return [path]
    found = sorted({*path.glob("*.mcap"), *(file.parent for file in path.glob("*/metadata.yaml"))})
    if not found:
        raise ValueError(f"bag={path}: no recording there; give an .mcap file, a bag's folder, or a folder of them")
    return found


def _pieces(bag: Path) -> list[Path]:
    """A bag's files in the order of their numbers."""
    if bag.is_file():
        return [bag]
    files = sorted(bag.glob("*.mcap"), key=lambda file: (len(file.stem), file.stem))  # _10 comes behind _9
    if not files:
        raise ValueError("no .mcap file in it; `ros2 bag convert` makes one of another kind of bag")
    return files


def read_bag(path: Path, config: RobotConfig, limits: Limits, told: Import) -> tuple[Episode, float]:
    """One bag as one episode, and the share of its steps whose action was cut to [-1, 1].

    Raises:
        ValueError: a bag that cannot be read, without a topic that the robot's file names, with one that falls silent,
            or too short for a step. One line.
    """
    steps: list[_Step] = []
    replay = Replay()
    recorder = _Recorder(config, replay)
    due: float | None = None
    try:
        messages = _messages(path, recorder.subscribe, replay.kinds)
        for topic, time_s, data in messages:
            while due is not None and due < time_s:
                replay.now = due
                steps.append(recorder.look(due, told.image_size))
                due = steps[0].time_s + len(steps) / told.fps
            replay.play(topic, data, time_s)
            if due is None and recorder.complete():
                due = time_s
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    for topic, counts in replay.stats().items():
        if counts.malformed:
            raise ValueError(f"{path}: {counts.malformed} messages on /{topic} cannot be read")
    if len(steps) < 2:
        raise ValueError(
            f"{path}: too short for one step at {told.fps} Hz; {recorder.missing or 'everything is there'}"
        )
    return _episode(path, steps, config, limits, told)


class _Recorder:
    """The robot's readers on a recording."""

    def __init__(self, config: RobotConfig, replay: Replay) -> None:
        self._config, self._replay = config, replay
        self.missing = "nothing of it was recorded"

    def subscribe(self, topics: dict[str, str]) -> None:
        """Open what the robot's file names; ValueError where the bag has it not, or as another type."""
        self._state = ArmState(self._config, self._replay)
        self._cameras: dict[str, Inbox[Any]] = {}
        for view, topic in self._config.cameras.items():
            packed = topics.get(topic.lstrip("/")) == CompressedImage.ros
            self._cameras[view] = self._replay.subscribe(topic, CompressedImage if packed else Image)
        self._commands = self._replay.subscribe(self._config.command_topic, COMMANDS[self._config.command][0])
        grip, state = self._config.gripper, self._config.gripper_state
        self._grip = self._replay.subscribe(grip, Float64MultiArray) if grip else None
        self._opening = self._replay.subscribe(state, JointState) if grip and state else None
        for topic, kind in self._replay.kinds.items():
            if topic not in topics:
                there = ", ".join(f"/{name}" for name in sorted(topics)) or "nothing"
                raise ValueError(f"no topic /{topic} was recorded, only {there}; name it in the robot's file")
            if topics[topic] != kind.ros:
                raise ValueError(f"/{topic} holds {topics[topic]}, expected {kind.ros}")

    def complete(self) -> bool:
        """Whether a whole observation can be made."""
        silent = [view for view, inbox in self._cameras.items() if inbox.latest() is None]
        self.missing = f"no picture of {silent[0]}" if silent else ""
        if self._state.read() is None:
            self.missing = self._state.missing
        return not self.missing

    def look(self, now: float, image_size: int | None) -> _Step:
        """The newest of everything; ValueError when a topic has fallen silent."""
        sensed = self._state.read()
        if sensed is None:
            raise ValueError(self._state.missing)
        ages = {"the robot's state": now - sensed.time_s}
        pixels = {}
        for view, inbox in self._cameras.items():
            received = inbox.latest()
            assert received is not None
            ages[f"camera {view}"] = now - received.time_s
            rgb = _rgb(received.message)
            pixels[view] = rgb if image_size is None else square(rgb, image_size)
        for what, age in ages.items():
            if age > HOLE_S:
                raise ValueError(f"{what} is silent for {age:.2f} s; cut the recording there, or record it anew")
        return _Step(now, sensed.joints, sensed.pose, sensed.wrench, self._command(now), *self._gripper(), pixels)

    def _gripper(self) -> tuple[float, float]:
        """What it was told, from -1 for open to 1, and its opening: measured, or what was sent."""
        if self._grip is None:
            return 0.0, GRIPPER_OPENING
        opened, closed = self._config.gripper_open, self._config.gripper_closed
        said, measured = self._grip.latest(), self._opening.latest() if self._opening else None
        sent = float(said.message.data[0]) if said and len(said.message.data) else opened
        grip = float(np.clip(2 * (sent - opened) / (closed - opened) - 1, -1.0, 1.0))
        return grip, float(measured.message.position[0]) if measured and len(measured.message.position) else sent

    def _command(self, now: float) -> np.ndarray | None:
        """The newest command in the axes of the limits; None before the first one."""
        received = self._commands.latest()
        if received is None:
            return None
        message: Any = received.message
        config, topic = self._config, self._config.command_topic
        if config.command in ("target_pose", "twist") and message.header.frame_id.lstrip("/") != config.frame:
            raise ValueError(f"/{topic} is in frame '{message.header.frame_id}', expected '{config.frame}'")
        if config.command == "target_pose":
            command = to_axes(message.position, message.orientation, config.tool_down)
        elif config.command == "twist":
            command = np.concatenate([message.linear, message.angular]) * (now - received.time_s <= TWIST_S)
        elif config.command == "joint_positions":
            command = np.asarray(message.data, np.float64)
        else:
            last = message.points[-1].positions if message.points else ()
            places = dict(zip(message.joint_names, last, strict=False))
            command = np.array([places.get(joint, np.nan) for joint in config.joints])
        expected = len(config.joints) if config.command in JOINT_COMMANDS else 6
        if command.shape != (expected,) or not np.isfinite(command).all():
            raise ValueError(f"/{topic} says {command.round(3).tolist()}, expected {expected} finite numbers")
        return command


def _episode(
    path: Path, steps: list[_Step], config: RobotConfig, limits: Limits, told: Import
) -> tuple[Episode, float]:
    driven, count = list(config.axes), len(steps) - 1
    pose = np.array([step.pose for step in steps])
    command = np.array([np.full(pose.shape[1], np.nan) if step.command is None else step.command for step in steps])
    velocity = config.command == "twist"
    # What was commanded last during a step is what the step was about: the observation behind it has that command.
    aimed = pose[:-1] + command[1:] / told.fps if velocity else command[1:]
    aimed = np.where(np.isfinite(aimed), aimed, pose[:-1])
    setpoint = np.where(np.isfinite(command), pose if velocity else command, pose)
    wanted = ((aimed - pose[:-1]) / limits.arrays["step"])[:, driven]
    cut = float(np.mean(np.abs(wanted).max(axis=1) > 1 + 1e-6))
    action = np.clip(wanted, -1.0, 1.0)
    if config.gripper:
        action = np.concatenate([action, [[step.grip] for step in steps[1:]]], axis=1)
    before = np.concatenate([np.zeros((1, config.actions)), action])
    columns = [
        [step.joints for step in steps], pose, [step.wrench for step in steps], setpoint - pose,
        [[step.opening] for step in steps], before,
    ]  # fmt: skip
    reward = np.zeros(count, np.float32)
    reward[-1] = told.success
    episode = Episode(
        episode_id=path.stem, instruction=told.instruction, source="human", seed=0,
        agent_pos=np.concatenate(columns, axis=1).astype(np.float32), estimate=np.zeros((count + 1, 0), np.float32),
        action=action.astype(np.float32), reward=reward, stage=np.full(count + 1, UNKNOWN_STAGE, np.int64), oracle=None,
        terminated=told.success, truncated=not told.success, success=told.success, frame_steps=np.arange(count + 1),
        frames={view: np.stack([step.pixels[view] for step in steps]) for view in config.cameras},
    )  # fmt: skip
    return episode.validate(), cut


def _rgb(message: Image | CompressedImage) -> np.ndarray:
    if isinstance(message, Image):
        return rgb_of(message)
    import cv2

    decoded = cv2.imdecode(np.asarray(message.data), cv2.IMREAD_COLOR)
    if decoded is None:
        raise ValueError(f"a picture of format '{message.format}' cannot be decoded")
    return np.ascontiguousarray(decoded[..., ::-1])


def _messages(
    path: Path, opened: Callable[[dict[str, str]], None], wanted: Mapping[str, Any]
) -> Iterator[tuple[str, float, bytes]]:
    """Topic, time [s] and bytes of a bag's messages in order; before the first one `opened` is told topics and types,
    and says with what is in `wanted` then which of them it wants."""
    from mcap.exceptions import McapError, UnsupportedCompressionError
    from mcap.reader import make_reader

    files = _pieces(path)
    try:
        with ExitStack() as stack:
            readers = [make_reader(stack.enter_context(file.open("rb")), validate_crcs=True) for file in files]
            topics: dict[str, str] = {}
            for file, reader in zip(files, readers, strict=True):
                summary = reader.get_summary()
                if summary is None:
                    raise ValueError(f"{file.name} has no index: `mcap recover` makes one")
                for channel in summary.channels.values():
                    schema = summary.schemas.get(channel.schema_id)
                    topics[channel.topic.lstrip("/")] = schema.name if schema else "no known type"
            opened(topics)
            for reader in readers:
                for _, channel, message in reader.iter_messages():
                    if (topic := channel.topic.lstrip("/")) in wanted:
                        yield topic, message.log_time * 1e-9, message.data
    except UnsupportedCompressionError as error:
        raise ValueError(f"{error}: pip install lz4 zstandard") from None
    except (McapError, OSError, struct.error, KeyError, AssertionError, EOFError) as error:
        raise ValueError(
            f"the bag cannot be read ({type(error).__name__} {error}); if it was cut off, `mcap recover` mends it"
        ) from None
