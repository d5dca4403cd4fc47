"""PegInsert's arm as a robot on the wire: a process of its own that streams its state and takes target poses.

    python -m robo_reward.hardware.sim_arm [robot=sim_arm] [domain=0] [seed=0] [settings=JSON] [parent=PID]

`settings` stand in for those of the file. With `parent` it leaves when that process, which started it, is gone.

What a client cannot know it must not learn here either: gains, friction, latency and the cameras' places differ from
the environment's by amounts drawn from the seed. Like a real driver it refuses targets that are not finite or far
away, and a command topic with two writers; unlike many, it stops by itself when commands stay out.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

os.environ.setdefault("MUJOCO_GL", "egl")

import mujoco

from robo_reward.envs.peg_insert import PegInsertEnv
from robo_reward.envs.peg_scene import PHYSICS_HZ
from robo_reward.hardware.commands import now_header
from robo_reward.hardware.images import image_of
from robo_reward.hardware.messages import (
    Float64MultiArray,
    Header,
    Image,
    JointState,
    PoseStamped,
    String,
    WrenchStamped,
)
from robo_reward.hardware.pace import Pace
from robo_reward.hardware.poses import from_axes, to_axes
from robo_reward.hardware.robot_config import RobotConfig, load_robot
from robo_reward.hardware.transport import COMMAND, LATCHED, Qos, Transport
from robo_reward.settings import build, choice, number

COMMAND_TIMEOUT_S = 0.2
"""Time without a command after which the arm stays where it is."""
REFLEX = np.array([0.10, 0.10, 0.10, 1.0, 1.0, 1.0])
"""Distance of a target from the measured pose at which a driver's reflex stops the arm."""
CAMERA_HZ, POSE_EVERY, JUDGE_EVERY = 30, 2, 10
"""Frames per second; physics steps between poses and wrenches, and between estimates."""
STREAM = Qos(depth=1)


@dataclass(frozen=True)
class Faults:
    """What is wrong with the arm at the moment; sent as JSON to `sim_arm/fault`, where `{}` mends everything."""

    state_gone: bool = False
    """Joint states, poses and wrenches stay out."""
    state_lag_s: float = number(0.0, low=0, high=2)
    drop: float = number(0.0, low=0, high=1)
    """Share of state messages lost."""
    pose_jump: float = 0.0
    """Error of the measured pose along x [m]."""
    nan_joints: bool = False
    reflex: bool = False
    """A protective stop: the arm ignores targets until this is mended. So do reflexes that targets cause."""
    camera: str = ""
    """The view that is out of order."""
    camera_mode: str = choice("freeze", "freeze", "black", "late", "gone")
    clock_skew_s: float = 0.0
    """What is added to the stamps."""


class SimArm:
    """The arm and its topics. `step` is one physics step; `run` takes them in real time."""

    def __init__(self, config: RobotConfig, transport: Transport, seed: int = 0) -> None:
        self._config, self._transport, self._rng = config, transport, np.random.default_rng([seed, 7])
        self._noise = np.random.default_rng([seed, 8])  # the pictures' own: they are drawn in another thread
        self._env = PegInsertEnv(image_size=config.image_size[0])
        self._env.reset(seed=seed)
        self._differ()
        self.faults, self.reflex = Faults(), ""
        self._steps, self._lagging = 0, deque[tuple[float, list[object]]]()
        self._targets: deque[tuple[float, np.ndarray]] = deque()
        self._command_s, self._taken = -np.inf, 0
        self._reset_asked: String | None = None
        self._camera_lock = threading.Lock()
        self._seen = mujoco.MjData(self._env.model)
        self._wrench = np.zeros(6)

        self._publish_joints = transport.advertise(config.joint_states, JointState, STREAM)
        self._publish_pose = transport.advertise(config.pose, PoseStamped, STREAM)
        self._publish_wrench = transport.advertise(config.wrench, WrenchStamped, STREAM)
        self._publish_estimate = transport.advertise("sim_arm/estimate", Float64MultiArray, STREAM)
        self._publish_judge = transport.advertise("sim_arm/judge", Float64MultiArray, STREAM)
        self._publish_fault = transport.advertise(config.fault, String, LATCHED)
        self._publish_ready = transport.advertise("sim_arm/ready", String, LATCHED)
        self._views = {name: transport.advertise(topic, Image, STREAM) for name, topic in config.cameras.items()}
        self._target = transport.subscribe(config.command_topic, PoseStamped, COMMAND)
        self._opening: float | None = None
        if config.gripper:
            transport.subscribe(config.gripper, Float64MultiArray, COMMAND, heard=self._hear_gripper)
        self._publish_opening = (
            transport.advertise(config.gripper_state, JointState, STREAM) if config.gripper_state else None
        )
        transport.subscribe("sim_arm/fault", String, LATCHED, heard=self._hear_fault)
        transport.subscribe("sim_arm/reset", String, LATCHED, heard=self._hear_reset)
        self._publish_ready(String(data=json.dumps({"reset": 0, "instruction": self._env.instruction})))

    def _differ(self) -> None:
        """Make this arm another one than the environment's: gains, damping, friction, latency, cameras."""
        model, rng = self._env.model, self._rng
        stiffer, damped = rng.uniform(0.85, 1.15, 6), rng.uniform(0.9, 1.2, 6)
        model.actuator_gainprm[:6, 0] *= stiffer
        model.actuator_biasprm[:6, 1] *= stiffer
        model.actuator_biasprm[:6, 2] *= damped
        model.geom_friction[:, 0] *= rng.uniform(0.8, 1.3)
        model.cam_pos[:] += rng.normal(size=model.cam_pos.shape) * 0.002
        self.latency_s = float(rng.uniform(0.002, 0.008))

    # ------------------------------------------------------------------ what comes in

    def _hear_fault(self, message: String) -> None:
        try:
            self.faults = build(Faults, json.loads(message.data))
            self._reflect("protective stop" if self.faults.reflex else "")
        except (ValueError, TypeError) as error:
            print(f"sim_arm/fault: {error}", file=sys.stderr)

    def _reflect(self, reflex: str) -> None:
        if reflex != self.reflex:
            self.reflex = reflex
            self._publish_fault(String(data=reflex))

    def _hear_gripper(self, message: Float64MultiArray) -> None:
        self._opening = float(message.data[0]) if len(message.data) == 1 else None

    def _take_opening(self) -> None:
        """Open or close, whichever the command is nearer to."""
        opening, self._opening = self._opening, None
        if opening is not None and np.isfinite(opening) and not self.reflex:
            opened, closed = self._config.gripper_open, self._config.gripper_closed
            self._env._drive_gripper(-1.0 if abs(opening - opened) < abs(opening - closed) else 1.0)

    def _hear_reset(self, message: String) -> None:
        self._reset_asked = message

    def _take_reset(self) -> None:
        asked, self._reset_asked = self._reset_asked, None
        if asked is None:
            return
        try:
            order = json.loads(asked.data)
            options = {"target": order["target"]} if "target" in order else None
            with self._camera_lock:
                self._env.reset(seed=int(order["seed"]), options=options)
        except (ValueError, TypeError, KeyError) as error:
            print(f"sim_arm/reset: {error}; expected JSON with seed and reset", file=sys.stderr)
            return
        self._targets.clear()
        self._command_s = -np.inf
        self._reflect("")
        ready = {"reset": order.get("reset", 0), "instruction": self._env.instruction}
        self._publish_ready(String(data=json.dumps(ready)))

    def _take_target(self, now: float) -> None:
        """Follow the newest target after the latency; stop when there is none, or none that a driver would take."""
        env, measured = self._env, self._env._measured()
        received = self._target.latest()
        if received is not None and received.number != self._taken:
            self._taken = received.number
            message = received.message
            target = to_axes(message.position, message.orientation, self._config.tool_down)
            if self.reflex:
                pass  # a stopped driver takes nothing
            elif not np.isfinite(target).all():
                self._reflect("a target that is not finite")
            elif np.any(np.abs(target - measured) > REFLEX):
                self._reflect("a target too far away")
            elif self._transport.stats()[self._config.command_topic].peers > 1:
                self._reflect("two writers on the command topic")
            else:
                self._targets.append((now + self.latency_s, target))
                self._command_s = now
        if self.reflex or now - self._command_s > COMMAND_TIMEOUT_S:
            if self._targets or np.isfinite(self._command_s):  # once: a pose that is held again and again would creep
                env._target_pose = measured
            self._targets.clear()
            self._command_s = -np.inf
        while self._targets and self._targets[0][0] <= now:
            env._target_pose = self._targets.popleft()[1]
        env.data.ctrl[:6] = env._target_pose

    # ------------------------------------------------------------------ what goes out

    def step(self, now: float) -> None:
        """2 ms of physics and the messages that are due."""
        self._take_reset()
        self._take_target(now)
        self._take_opening()
        env = self._env
        with self._camera_lock:
            mujoco.mj_step(env.model, env.data)
        self._steps += 1
        self._wrench += (env._contact_wrench() - self._wrench) / 25  # a sensor's low pass, 50 ms
        noise = self._rng.normal(size=6) * [0.15, 0.15, 0.15, 0.004, 0.004, 0.004]
        env._wrench = self._wrench + noise
        if not self.faults.state_gone:
            self._lagging.append((now + self.faults.state_lag_s, self._state_messages()))
        while self._lagging and self._lagging[0][0] <= now:
            for message in self._lagging.popleft()[1]:
                self._send_state(message)
        if self._steps % JUDGE_EVERY == 0:
            stage, progress = env._progress()
            self._publish_judge(Float64MultiArray(data=np.array([stage, progress, stage == 4], dtype=np.float64)))
            self._publish_estimate(Float64MultiArray(data=env._observe()["estimate"]))
            if self._publish_opening is not None:
                self._publish_opening(JointState(self._header(), ("finger",), env.data.qpos[7:8].copy()))

    def _header(self) -> Header:
        header = now_header(self._config.frame)
        return replace(header, sec=header.sec + int(self.faults.clock_skew_s))

    def _state_messages(self) -> list[object]:
        data, header = self._env.data, self._header()
        joints = data.qpos[:7].copy()
        if self.faults.nan_joints:
            joints[3] = np.nan
        messages: list[object] = [
            JointState(header, self._config.joints, joints, data.qvel[:7].copy(), data.qfrc_actuator[:7].copy())
        ]
        if self._steps % POSE_EVERY == 0:
            axes = self._env._measured()
            axes[0] += self.faults.pose_jump
            messages.append(PoseStamped(header, *from_axes(axes, self._config.tool_down)))
            messages.append(WrenchStamped(header, self._env._wrench[:3], self._env._wrench[3:]))
        return messages

    def _send_state(self, message: object) -> None:
        if self.faults.drop and self._rng.random() < self.faults.drop:
            return
        if isinstance(message, JointState):
            self._publish_joints(message)
        elif isinstance(message, PoseStamped):
            self._publish_pose(message)
        elif isinstance(message, WrenchStamped):
            self._publish_wrench(message)

    def send_pictures(self, frozen: dict[str, np.ndarray]) -> None:
        """One frame of every camera; `frozen` keeps the last ones."""
        if not self._views:
            return
        with self._camera_lock:
            mujoco.mj_copyData(self._seen, self._env.model, self._env.data)
        faults = self.faults
        for name, rgb in self._env._views.render(self._seen).items():
            if name not in self._views:
                continue
            mode = faults.camera_mode if faults.camera == name else ""
            if mode == "gone" or (mode == "late" and self._noise.random() < 0.9):
                continue
            if mode == "black":
                rgb = np.zeros_like(rgb)
            elif mode != "freeze" or name not in frozen:  # a sensor's noise: no two pictures are the same
                frozen[name] = rgb ^ self._noise.integers(0, 2, rgb.shape, dtype=np.uint8)
                rgb = frozen[name]
            self._views[name](image_of(frozen[name] if mode == "freeze" else rgb, self._header()))

    def close(self) -> None:
        """Free the rendering contexts."""
        self._env.close()


def run(arm: SimArm, stop: threading.Event) -> None:
    """Real time until `stop`: physics here, pictures in a thread of their own."""

    def pictures() -> None:
        frozen: dict[str, np.ndarray] = {}
        due = time.monotonic()
        while not stop.is_set():
            arm.send_pictures(frozen)
            due = max(due + 1 / CAMERA_HZ, time.monotonic())
            stop.wait(due - time.monotonic())
        arm.close()  # in the thread that drew

    painter = threading.Thread(target=pictures, name="pictures", daemon=True)
    painter.start()
    pace = Pace(PHYSICS_HZ, "the simulated arm")
    while not stop.is_set():
        arm.step(time.monotonic())
        pace.wait()
    painter.join(2.0)


def main(words: list[str]) -> None:
    """`key=value` words: robot, domain, seed."""
    from robo_reward.hardware.bridge import open_transport

    values = dict(word.split("=", 1) for word in words if "=" in word)
    try:
        if len(values) != len(words) or not set(values) <= {"robot", "domain", "seed", "settings", "parent"}:
            raise ValueError(f"{' '.join(words)}: write robot=NAME, domain=0 to 101 or seed=NUMBER")
        config, _ = load_robot(values.get("robot", "sim_arm"))
        config = build(RobotConfig, json.loads(values["settings"])) if "settings" in values else config
        config = replace(config, domain=int(values.get("domain", config.domain)))
        transport = open_transport(config)
    except (ValueError, ModuleNotFoundError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    stop = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())
    if "parent" in values:
        threading.Thread(target=_leave_with, args=(int(values["parent"]), stop), daemon=True).start()
    arm = SimArm(config, transport, int(values.get("seed", 0)))
    try:
        run(arm, stop)
    finally:
        transport.close()


def _leave_with(parent: int, stop: threading.Event) -> None:
    while not stop.wait(0.5):
        if os.getppid() != parent:
            stop.set()


if __name__ == "__main__":
    main(sys.argv[1:])
