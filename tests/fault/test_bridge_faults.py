"""Rows A4 to A8 of the fault table: bridge and simulated arm in memory, by a clock of their own."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("mujoco")

from robo_reward.hardware import bridge as bridge_module
from robo_reward.hardware import sim_arm as sim_arm_module
from robo_reward.hardware.bridge import SLOTS, Bridge
from robo_reward.hardware.memory_transport import MemoryNetwork, MemoryTransport
from robo_reward.hardware.messages import PoseStamped, String
from robo_reward.hardware.poses import to_axes
from robo_reward.hardware.robot_config import RobotConfig, load_robot
from robo_reward.hardware.sim_arm import COMMAND_TIMEOUT_S, SimArm
from robo_reward.hardware.slots import share
from robo_reward.hardware.transport import LATCHED
from robo_reward.safety.arm_gate import Mode
from robo_reward.safety.limits import Limits
from robo_reward.testing.faults import fault_count, record_fault

pytestmark = pytest.mark.fault
CONFIG, LIMITS = load_robot("sim_arm")
CONFIG = replace(CONFIG, cameras={})


class World:
    """Arm at 500 Hz, bridge at 100 Hz, policy at 20 Hz; `bridge` may be taken away."""

    def __init__(self) -> None:
        self.now, self.network = 10.0, MemoryNetwork()
        self.wall_shift, self.by_wall = 0.0, False
        clock = lambda: self.now + self.by_wall * self.wall_shift  # noqa: E731
        self.arm = SimArm(CONFIG, MemoryTransport(self.network, clock))
        operator = MemoryTransport(self.network, clock)
        self.faults = operator.advertise("sim_arm/fault", String, LATCHED)
        self.resets = operator.advertise("sim_arm/reset", String, LATCHED)
        self.sent = operator.subscribe(CONFIG.command_topic, PoseStamped)
        self.clock, self.wire, self.bridge = clock, None, None

    def start(self, seed: int, config: RobotConfig = CONFIG, limits: Limits = LIMITS) -> None:
        """A scene at rest and a new bridge that is armed."""
        self.end()
        self.faults(String(data="{}"))
        self.resets(String(data=json.dumps({"seed": seed, "reset": seed})))
        descriptor = os.memfd_create("test")
        slots = share(descriptor, SLOTS)
        self.policy, _, self.console, self.status = share(descriptor, SLOTS)
        os.close(descriptor)
        self.wire = MemoryTransport(self.network, self.clock)
        self.bridge = Bridge(config, limits, self.wire, slots, self.clock)
        self.run(0.1)
        self.console.write(order=b"arm")
        self.run(0.02)
        assert self.mode is Mode.ARMED, self.reason

    def end(self) -> None:
        """The bridge is killed: no farewell."""
        if self.wire is not None:
            self.wire.close()
        self.wire = self.bridge = None

    def run(self, seconds: float, policy=None, watch=None) -> None:
        for step in range(round(seconds * 500)):
            self.now += 0.002
            if step % 25 == 0 and policy is not None and self.bridge is not None:
                action = np.zeros(16)
                action[:4] = policy()
                self.policy.write(time_s=self.clock(), size=4, action=action)
            if step % 5 == 0 and self.bridge is not None:
                self.bridge.step()
            self.arm.step(self.now)
            if watch is not None and step % 5 == 0:
                watch()

    @property
    def mode(self) -> Mode:
        return Mode(int(self.status.read()[1]["mode"]))

    @property
    def reason(self) -> str:
        return bytes(self.status.read()[1]["reason"]).decode()

    @property
    def pose(self) -> np.ndarray:
        return self.arm._env._measured()

    @property
    def joints(self) -> np.ndarray:
        return self.arm._env.data.qpos[:7].copy()


@pytest.fixture(scope="module")
def world():
    made = World()
    yield made
    made.arm.close()


REST_SPEED = 5e-3
"""Speed [m/s] of the tool below which an arm rests: 2 % of the fastest that the gate lets it go. Under impedance
control an arm to which nothing at all is sent swings on; by itself it comes below this within half a second."""


def rests(world: World, policy=None) -> bool:
    """Whether the arm comes to rest in the second from now on.

    From 0.3 s on the driver's own target stays the same to the last bit (until then the arm's command time-out may
    still set it), and from 0.7 s on the tool is slower than `REST_SPEED`.
    """
    world.run(0.3, policy)
    target, track = world.arm._env._target_pose.copy(), []
    world.run(0.4, policy)
    world.run(0.3, policy, lambda: track.append(world.pose[:3]))
    speed = np.linalg.norm(np.diff(track, axis=0), axis=1).max() / 0.01
    return bool(np.array_equal(target, world.arm._env._target_pose) and speed < REST_SPEED)


FAR = replace(
    LIMITS, step=(0.08,) * 3 + (0.5,) * 3, jump=(0.095,) * 3 + (0.9,) * 3, velocity=(4.0,) * 3 + (20.0,) * 3,
    acceleration=(400.0,) * 3 + (2000.0,) * 3, jerk=(4e4,) * 3 + (2e5,) * 3,
)  # fmt: skip
"""Limits under which a setpoint runs ahead of the arm as far as its driver takes it."""
KILLED: dict[str, tuple[Limits, float, float]] = {
    "in free motion": (LIMITS, 0.1, 0.5),
    "pressing from above": (replace(LIMITS, low=(*LIMITS.low[:2], -0.05, *LIMITS.low[3:])), 2.0, 2.5),
    "far behind its setpoint": (FAR, 0.04, 0.1),
}
"""What the arm does when its bridge is killed: limits, and least and longest time [s] of driving before."""


@pytest.mark.parametrize("kind", KILLED)
def test_a_killed_bridge_leaves_an_arm_that_stops_by_itself(world, kind, monkeypatch):
    """Row A4. The control: an arm without a command time-out, which presses on, or goes on to where it was sent.

    In free motion there is none: what the bridge sent last is so near that such an arm stops too.
    """
    limits, least, longest = KILLED[kind]
    gains = world.arm._env.model.actuator_gainprm, world.arm._env.model.actuator_biasprm
    kept = [gain.copy() for gain in gains]
    if kind == "far behind its setpoint":  # a soft arm, which takes a second for what it was sent
        gains[0][:6, 0] /= 20
        gains[1][:6, 1] /= 20

    def case(rng: np.random.Generator, number: int) -> str:
        world.start(number, limits=limits)
        direction = rng.choice([-1.0, 1.0], 4) * rng.uniform(0.5, 1, 4)
        if kind == "pressing from above":
            direction[:3] = 0.0, 0.0, -1.0
        world.run(rng.uniform(least, longest), lambda: direction)
        if world.mode is not Mode.ARMED:
            return f"case {number} was over before: {world.reason}"
        world.end()
        world.run(COMMAND_TIMEOUT_S + 0.02)
        left = np.abs(world.arm._env._target_pose - world.pose)[:3].max()
        still = rests(world)
        return "" if left <= 2e-3 and still else f"case {number}: {left:.4f} m left to go, rests: {still}"

    try:
        tried = fault_count(100 if kind == "in free motion" else 30, 300)
        broken, control = cases(case, tried), None
        if kind != "in free motion":
            monkeypatch.setattr(sim_arm_module, "COMMAND_TIMEOUT_S", np.inf)
            control = len(cases(case, 20))
    finally:
        for gain, values in zip(gains, kept, strict=True):
            gain[:] = values
    what = f"bridge killed at a random moment, arm {kind}"
    what += "" if control is None else "; control: an arm without a command time-out"
    record_fault("A4", what, injected=tried, broken=broken, control_failed=control)


def test_a_stepped_wall_clock_neither_trips_nor_keeps_from_tripping(world, monkeypatch):
    """Row A5: the wall clock stamps messages and decides nothing. The control: a bridge that tells time by it."""
    # Both ways to read it: a bridge or an arm that judged ages by either would trip, or fail to.
    monkeypatch.setattr("time.time_ns", lambda: int((world.now + 1e6 + world.wall_shift) * 1e9))
    monkeypatch.setattr("time.time", lambda: world.now + 1e6 + world.wall_shift)

    def case(rng: np.random.Generator, number: int) -> str:
        world.start(number)
        world.run(rng.uniform(0.05, 0.2), lambda: np.zeros(4))
        world.wall_shift += float(rng.choice([-1, 1])) * float(rng.choice([1.0, 3600.0]))
        world.run(0.2, lambda: np.zeros(4))
        tripped = world.mode is not Mode.ARMED
        world.run(LIMITS.action_timeout_s + 0.07)
        missed = world.mode is not Mode.HELD or "no action" not in world.reason
        return f"case {number}: {world.mode} {world.reason}" if tripped or missed else ""

    tried = fault_count(100, 500)
    broken = cases(case, tried)
    world.by_wall = True
    control = cases(case, 20)
    world.by_wall = False
    what = "wall clock stepped by 1 s or 1 h, forth and back; control: ages by the wall clock"
    record_fault("A5", what, injected=tried, broken=broken, control_failed=len(control))


OPEN = replace(
    LIMITS, low=(-2.0,) * 6, high=(2.0,) * 6, joint_low=(-9.0,) * 7, joint_high=(9.0,) * 7, joint_velocity=99.0,
    force=1e4, torque=1e4,
)  # fmt: skip
"""Limits that limit nothing."""


@pytest.mark.parametrize("part", range(4))
def test_no_limit_is_passed_however_the_arm_is_driven(world, part):
    """Row A6: full speed into every corner of the workspace, the table, the sockets. The control: limits left open."""
    joint_low, joint_high = np.array(LIMITS.joint_low), np.array(LIMITS.joint_high)
    low, high = LIMITS.arrays["low"], LIMITS.arrays["high"]

    def case(rng: np.random.Generator, number: int, limits: Limits = LIMITS) -> str:
        world.start(number, limits=limits)
        worst = {"joints": np.inf, "sent": 0.0}

        def watch() -> None:
            worst["joints"] = min(worst["joints"], float(np.min([world.joints - joint_low, joint_high - world.joints])))
            if sent := world.sent.latest():
                axes = to_axes(sent.message.position, sent.message.orientation, CONFIG.tool_down)
                worst["sent"] = max(worst["sent"], float(np.max([low - axes, axes - high])))

        direction = rng.choice([-1.0, 0.0, 1.0], 4)
        world.run(1.5, lambda: direction, watch)
        return f"case {number}: {worst}" if worst["joints"] < 0 or worst["sent"] > 1e-6 else ""

    tried = fault_count(50, 250)
    broken, control = cases(case, tried, part), cases(lambda rng, number: case(rng, number, OPEN), 5, part)
    what = "full speed into corners, table and sockets; control: a gate whose limits are open"
    record_fault("A6", what, injected=tried, broken=broken, control_failed=len(control))


def cases(case: Callable[[np.random.Generator, int], str], count: int, part: int = 0) -> list[str]:
    """What went wrong in `count` cases; the same ones every time, and others in every part."""
    rng = np.random.default_rng(1 + part)
    return [words for number in range(part * count, (part + 1) * count) if (words := case(rng, number))]


STEPS = ["_state.read", "_take_order", "_take_action", "_gate.tick", "_tell", "_gate.request"]


@pytest.mark.parametrize("how", ["exception", "SIGTERM"])
@pytest.mark.parametrize("where", STEPS)
def test_an_exception_or_signal_anywhere_in_the_loop_holds_the_arm(world, where, how, monkeypatch):
    """Row A7: within 100 ms the setpoint rests, and the arm with it. The control: a bridge that just ends."""

    def case(rng: np.random.Generator, number: int, farewell: bool = True) -> str:
        world.start(number)
        world.run(rng.uniform(0.1, 0.4), lambda: np.array([1.0, -1.0, 0.5, 1.0]))
        owner, handlers = world.bridge, {}
        *path, name = where.split(".")
        for part in path:
            owner = getattr(owner, part)
        original, calls = getattr(owner, name), []

        def fails(*arguments, **options):
            calls.append(1)
            if len(calls) == 1 and how == "exception":
                raise RuntimeError("injected")
            if len(calls) == 1:
                handlers[signal.SIGTERM](signal.SIGTERM, None)
            return original(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(bridge_module.signal, "signal", handlers.__setitem__)
            patch.setattr(owner, name, fails)
            if not farewell:
                patch.setattr(world.bridge, "shut_down", lambda reason: None)
            began = world.now
            patch.setattr(time, "sleep", lambda seconds: passing(world, seconds))
            patch.setattr(time, "monotonic", lambda: world.now)
            world.policy.write(time_s=world.now, size=4, action=np.zeros(16))
            with pytest.raises(RuntimeError, match="injected") if how == "exception" else nullcontext():
                bridge_module.run(world.bridge, LIMITS.rate_hz, os.getppid())
            took, sent = world.now - began, world.sent.latest()
        last = to_axes(sent.message.position, sent.message.orientation, CONFIG.tool_down)
        held = world.mode is Mode.HELD and np.abs(last - world.pose)[:3].max() <= 0.02
        world.end()
        moves = not rests(world)
        return f"{where} {number}: {took:.3f} s, {world.mode}, moves {moves}" if took > 0.1 or not held or moves else ""

    tried = fault_count(5, 50)
    broken, control = cases(case, tried), cases(lambda rng, number: case(rng, number, False), 2)
    what = f"{how} at every step of the bridge's loop; control: a bridge that ends without a farewell"
    record_fault("A7", what, injected=tried, broken=broken, control_failed=len(control))


def passing(world: World, seconds: float) -> None:
    """Time passes for the arm while the bridge sleeps."""
    for _ in range(max(1, round(seconds * 500))):
        world.now += 0.002
        world.arm.step(world.now)


def test_a_reflex_holds_and_nothing_moves_again_before_arming(world):
    """Row A8: no automatic recovery at all. The control: a bridge that does not listen to the robot's report."""

    def case(rng: np.random.Generator, number: int, config: RobotConfig = CONFIG) -> str:
        world.start(number, config)
        push = lambda: np.array([0.8, 0.8, 0.0, 0.0])  # noqa: E731
        world.run(rng.uniform(0.05, 0.4), push)
        world.faults(String(data='{"reflex": true}'))
        world.run(0.1, push)
        held = world.mode is Mode.HELD and "protective stop" in world.reason
        world.faults(String(data="{}"))
        still = rests(world, push)
        well = held and world.mode is Mode.HELD and still
        return "" if well else f"case {number}: {world.mode} {world.reason}, rests: {still}"

    tried = fault_count(200, 2000)
    broken = cases(case, tried)
    control = cases(lambda rng, number: case(rng, number, replace(CONFIG, fault="")), 20)
    what = "protective stops, mended while the policy goes on; control: a bridge that does not hear of them"
    record_fault("A8", what, injected=tried, broken=broken, control_failed=len(control))
