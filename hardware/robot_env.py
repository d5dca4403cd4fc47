"""A robot as a gymnasium environment: the observation and the action of the simulated one, over the wire.

What an arm cannot know itself comes from a `Task`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from robo_reward.hardware.bridge import REPORTS, open_transport
from robo_reward.hardware.commands import COMMANDS
from robo_reward.hardware.images import square
from robo_reward.hardware.messages import JointState
from robo_reward.hardware.robot import RobotFault, RobotObservation, Ros2Robot
from robo_reward.hardware.robot_config import RobotConfig
from robo_reward.hardware.tasks import RESET_S, OperatorTask, SimArmTask, Task
from robo_reward.safety.gate import check_action
from robo_reward.safety.limits import Limits

GRIPPER_OPENING = 0.010
"""What the opening of a robot without a gripper on the wire reads [m]: PegInsert's, with the peg in hand."""
ARM_S = 3.0
"""Time within which arming is tried again: a state that came late is no reason to give up."""
RECOVERIES, RECOVERIES_OF_ITS_OWN = 3, 1
"""Episodes in a row that may end in a fault before a person has to look; fewer where the robot itself reports one."""


class RobotEnv(gymnasium.Env[dict[str, Any], np.ndarray]):
    """Actions at 20 Hz, in [-1, 1], one number for each driven axis; `info["executed_action"]` is what was executed.

    Observation: `agent_pos` (joints, pose, wrench, setpoint minus pose, gripper opening, last executed action),
    `estimate`, and `pixels` when the robot has cameras. A fault of the robot truncates the episode: `info["fault"]`
    says which, the arm holds, and the observation is the last good one.
    """

    metadata: dict[str, Any] = {"render_modes": [], "render_fps": 20}

    def __init__(
        self,
        robot: Ros2Robot,
        task: Task,
        horizon: int = 120,
        unguarded: bool = False,
        image_size: int | None = None,
        log: Path | None = None,
    ) -> None:
        """An environment over a connected robot, which it closes in the end.

        Args:
            robot: connected.
            task: what the arm cannot know itself.
            horizon: [steps]
            unguarded: arm a controller without a command time-out of its own.
            image_size: [px] pictures are cut square and shrunk to it; None leaves them as they come.
            log: file that takes one line of JSON an episode: actions requested and executed, ages, the fault.
        """
        self._robot, self._task, self.horizon, self._unguarded = robot, task, int(horizon), unguarded
        self._image_size, self._log, self._owned = image_size, log, ExitStack()
        self._period, actions = 1 / self.metadata["render_fps"], robot.config.actions
        self.action_space = spaces.Box(-1.0, 1.0, (actions,), np.float32)
        axes, joints = len(robot.limits.step), len(robot.config.joints)
        height, width = (image_size, image_size) if image_size else robot.config.image_size
        box: dict[str, spaces.Space[Any]] = {
            "agent_pos": spaces.Box(-np.inf, np.inf, (joints + 2 * axes + 6 + 1 + actions,), np.float32),
            "estimate": spaces.Box(-np.inf, np.inf, task.estimate().shape, np.float32),
        }
        if robot.config.cameras:
            frame = spaces.Box(0, 255, (height, width, 3), np.uint8)
            box["pixels"] = spaces.Dict(dict.fromkeys(robot.config.cameras, frame))
        self.observation_space = spaces.Dict(box)
        self._executed, self._due, self.instruction = np.zeros(actions), 0.0, ""
        self._last: dict[str, Any] = {}
        self._steps: list[tuple[np.ndarray, np.ndarray, float]] = []
        """Of the running episode: action requested, action executed, age of the state after it [s]."""
        self._faults, self._age_s, self._resting = 0, 0.0, False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """A new scene, the arm armed at rest. ValueError when that is not possible, or after too many faults."""
        super().reset(seed=seed)
        self._write_log(False, "")  # of an episode that was cut off
        self._seed = int(self.np_random.integers(2**31)) if seed is None else seed
        try:
            self._robot.disarm("reset")
            self.instruction = self._task.reset(self._seed, options or {})
            time.sleep(self._robot.limits.state_timeout_s)  # a state that is not refused now is that of the new scene
            seen = self._armed()
        except RobotFault as error:
            raise ValueError(str(error)) from None
        self._executed, self._resting, self._due = np.zeros(self.action_space.shape or ()), False, time.monotonic()
        self._last = self._observe(seen)
        return self._last, self._info()

    def _armed(self) -> RobotObservation:
        """The first observation after arming."""
        deadline = time.monotonic() + ARM_S
        while True:
            try:
                self._robot.arm(self._unguarded)
                return self._robot.observe()
            except (ValueError, RobotFault) as error:
                if time.monotonic() > deadline:
                    raise ValueError(f"the robot does not get ready: {error}") from None
                time.sleep(0.1)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One period. Reward 1 on success, which terminates; the horizon and faults truncate.

        Raises ValueError when `RECOVERIES` episodes before this one have ended in a fault too.
        """
        action, fault = check_action(action, len(self._executed)), ""
        if self._resting:
            self._armed()
            self._resting, self._due = False, time.monotonic()
        try:
            self._executed = self._robot.send(action)
            self._due = max(self._due + self._period, time.monotonic())  # late: the next period starts now
            time.sleep(max(0.0, self._due - time.monotonic()))
            seen = self._robot.observe()
            self._last = self._observe(seen)
            self._steps.append((action, self._executed, seen.age_s))
        except RobotFault as error:
            fault, self._executed = str(error), np.zeros(len(action))
        info = self._info()
        success = info["is_success"] and not fault
        truncated = not success and (bool(fault) or len(self._steps) >= self.horizon)
        info["executed_action"] = self._executed.astype(np.float32)
        info["gated"] = bool(np.abs(self._executed - action).max() > 1e-6)
        if fault:
            info["fault"] = fault
        if success or truncated:
            self._end(bool(success), fault)
        return self._last, float(success), success, truncated, info

    def hold(self, reason: str) -> None:
        """Let the arm rest in the middle of an episode; the next step arms it again."""
        self._robot.hold(reason)
        self._resting = True

    def render_views(self) -> dict[str, np.ndarray]:
        """The pictures of the newest observation."""
        return dict(self._last.get("pixels", {}))

    def while_waiting(self, show: Callable[[Mapping[str, np.ndarray]], None]) -> None:
        """Show the live pictures, view -> uint8 (H, W, 3), while the operator sets the next scenes up."""
        if not isinstance(self._task, OperatorTask):
            return

        def look() -> None:
            try:
                show(self._observe(self._robot.observe()).get("pixels", {}))
            except RobotFault:
                show({})

        self._task.waiting = look

    def close(self) -> None:
        """Hold, and leave the wire."""
        self._robot.close()
        self._task.close()
        self._owned.close()

    def _end(self, success: bool, fault: str) -> None:
        """Come to rest, write the log; ValueError when the robot had faults too often."""
        if not fault:
            self._robot.hold("the episode is over")
        self._faults = self._faults + 1 if fault else 0
        self._write_log(success, fault)
        if self._faults > (RECOVERIES_OF_ITS_OWN if REPORTS in fault else RECOVERIES):
            raise ValueError(
                f"{self._faults} episodes in a row ended in a fault of the robot, at last: {fault}; put it right and "
                "run the same command again"
            )

    def _write_log(self, success: bool, fault: str) -> None:
        """A line of the running episode, which ends it; nothing of one without a step or a fault."""
        steps, self._steps = self._steps, []
        if self._log is None or not (steps or fault):
            return
        requested, executed, ages = zip(*steps, strict=True) if steps else ((), (), ())
        line = {
            "seed": self._seed, "steps": len(steps), "success": success, "fault": fault,
            "requested": np.round(requested, 3).tolist(), "executed": np.round(executed, 3).tolist(),
            "age_ms": np.round(1e3 * np.array(ages), 2).tolist(),
        }  # fmt: skip
        with open(self._log, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _observe(self, seen: RobotObservation) -> dict[str, Any]:
        sensed, self._age_s = seen.sensed, seen.age_s
        setpoint = np.where(np.isfinite(seen.setpoint), seen.setpoint, sensed.pose)
        opening = GRIPPER_OPENING if seen.opening is None else seen.opening
        parts = [sensed.joints, sensed.pose, sensed.wrench, setpoint - sensed.pose, [opening], self._executed]
        observation = {"agent_pos": np.concatenate(parts).astype(np.float32), "estimate": self._task.estimate()}
        size = self._image_size
        pixels = {name: square(rgb, size) if size else rgb for name, rgb in seen.pixels.items()}
        return {**observation, "pixels": pixels} if pixels else observation

    def _info(self) -> dict[str, Any]:
        stage, progress, success = self._task.judge()
        return {
            "stage": stage,
            "progress_oracle": progress,
            "is_success": success,
            "instruction": self.instruction,
            "trips": self._robot.status().trips,
            "age_s": self._age_s,
        }


def open_robot_env(
    config: RobotConfig, limits: Limits, *, horizon: int, image_size: int, unguarded: bool = False,
    log: Path | None = None,
) -> RobotEnv:  # fmt: skip
    """The robot as an environment, the simulated arm started where it is not on the wire yet.

    Raises:
        ValueError: what is missing, or who else writes to the arm.
    """
    streams, written = _look(config)
    if written:
        raise ValueError(f"somebody else writes to /{config.command_topic}: end the other bridge first")
    with ExitStack() as stack:
        if config.simulated and not streams:
            stack.callback(start_sim_arm(config))
        robot = Ros2Robot(config, limits)
        robot.connect(timeout_s=RESET_S)
        stack.callback(robot.close)
        task = SimArmTask(config) if config.simulated else OperatorTask(robot, unguarded)
        env = RobotEnv(robot, task, horizon, unguarded, image_size, log)
        env._owned = stack.pop_all()
        return env


def _look(config: RobotConfig) -> tuple[bool, bool]:
    """Whether an arm says where it is, and whether somebody tells it where to go."""
    transport = open_transport(config)
    try:
        states = transport.subscribe(config.joint_states, JointState)
        transport.subscribe(config.command_topic, COMMANDS[config.command][0])
        time.sleep(1.5)  # long enough to meet, and for an arm whose owner was killed to leave
        streams = (state := states.latest()) is not None and time.monotonic() - state.time_s < 0.2
        return streams, transport.stats()[config.command_topic.lstrip("/")].peers > 0
    finally:
        transport.close()


def start_sim_arm(config: RobotConfig) -> Callable[[], None]:
    """Start the simulated arm as a process of its own; returns what ends it."""
    words = [f"settings={json.dumps(asdict(config))}", f"parent={os.getpid()}"]
    process = subprocess.Popen([sys.executable, "-m", "robo_reward.hardware.sim_arm", *words])

    def end() -> None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    return end
