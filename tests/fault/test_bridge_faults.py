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


STANDS = 2e-3
"""Way [m] that an arm under impedance control still swings when nothing has been sent to it any more."""


def rests(world: World, within: float = 0.3) -> bool:
    """Whether the arm stands still after that time."""
    world.run(within)
    before = world.pose
    world.run(0.2)
    return bool(np.abs(world.pose - before)[:3].max() < STANDS)


def test_a_killed_bridge_leaves_an_arm_that_stops_by_itself(world):
    """Row A4, without a control: what the bridge sent last is so near that an arm without a time-out stops too."""

    def case(rng: np.random.Generator, number: int) -> str:
        world.start(number)
        direction = rng.choice([-1.0, 1.0], 4) * rng.uniform(0.5, 1, 4)
        world.run(rng.uniform(0.1, 0.5), lambda: direction)
        world.end()
        world.run(COMMAND_TIMEOUT_S + 0.02)
        where, target = world.pose, world.arm._env._target_pose
        world.run(0.3)
        moved, left = np.abs(world.pose - where)[:3].max(), np.abs(target - where)[:3].max()
        return f"case {number}: moved {moved:.4f} m, {left:.4f} m left to go" if max(moved, left) > 2e-3 else ""

    tried = fault_count(100, 1000)
    broken = cases(case, tried)
    record_fault("A4", "bridge gone at a random moment", injected=tried, broken=broken)


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


def test_no_limit_is_passed_however_the_arm_is_driven(world):
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

    tried = fault_count(60, 1000)
    broken, control = cases(case, tried), cases(lambda rng, number: case(rng, number, OPEN), 20)
    what = "full speed into corners, table and sockets; control: a gate whose limits are open"
    record_fault("A6", what, injected=tried, broken=broken, control_failed=len(control))


def cases(case: Callable[[np.random.Generator, int], str], count: int) -> list[str]:
    """What went wrong in `count` cases; the same ones every time."""
    rng = np.random.default_rng(1)
    return [words for number in range(count) if (words := case(rng, number))]


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
        world.run(0.3, push)
        before = world.pose
        world.run(0.3, push)
        moved = float(np.abs(world.pose - before)[:3].max())
        well = held and world.mode is Mode.HELD and moved <= STANDS
        return "" if well else f"case {number}: {world.mode} {world.reason}, moved {moved:.5f} m"

    tried = fault_count(200, 2000)
    broken = cases(case, tried)
    control = cases(lambda rng, number: case(rng, number, replace(CONFIG, fault="")), 20)
    what = "protective stops, mended while the policy goes on; control: a bridge that does not hear of them"
    record_fault("A8", what, injected=tried, broken=broken, control_failed=len(control))
