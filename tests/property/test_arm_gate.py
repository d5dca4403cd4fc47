"""The gate of a real arm: whatever is asked or measured, what is sent stays bounded, and trips stay tripped."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_reward.safety.arm_gate import Gate, Mode, Sensed
from robo_reward.safety.limits import load_limits
from robo_reward.safety.smoothing import Smoother
from robo_reward.testing.faults import fault_count, record_fault

LIMITS = load_limits("sim_arm")
PERIOD = 1 / LIMITS.rate_hz
HOME = np.array([0.5, 0.0, 0.12, 0.0, 0.0, 0.0])
JOINTS = np.array([0.0, 0.15, 0.0, -2.2, 0.0, 2.35, 0.785])


def sensed(now: float, pose: np.ndarray = HOME, **changes: object) -> Sensed:
    return replace(Sensed(pose, JOINTS, np.zeros(7), np.zeros(6), now), **changes)


def armed(axes: tuple[int, ...] | None = None) -> Gate:
    gate = Gate(LIMITS, axes)
    gate.arm(sensed(0.0), 0.0)
    return gate


def held_by(gate: Gate, words: str) -> None:
    assert gate.mode is Mode.HELD and words in gate.reason, (gate.mode, gate.reason)


# ------------------------------------------------------------------ motion


def too_fast(track: np.ndarray) -> str:
    """Which bound a track of positions breaks; empty when none."""
    for order, name in enumerate(("velocity", "acceleration", "jerk"), start=1):
        if np.any(np.abs(np.diff(track, order, axis=0)) > LIMITS.arrays[name] * PERIOD**order * (1 + 1e-6)):
            return name
    if np.any(track < LIMITS.arrays["low"] - 1e-9) or np.any(track > LIMITS.arrays["high"] + 1e-9):
        return "workspace"
    return ""


def many(pull_request: int, nightly: int):
    """A few for every test run, and as many as the fault table asks for when it is made."""
    return pytest.mark.parametrize(
        "tried", [20, pytest.param(fault_count(pull_request, nightly), marks=pytest.mark.fault)]
    )


@many(200, 2000)
def test_the_sent_motion_is_bounded_whatever_is_asked(tried):
    """Actions at random, an arm that follows late, is pushed about and is held now and then."""
    rng, broken, control_failed = np.random.default_rng(0), [], 0
    for run in range(tried):
        gate, pose, now, sent, goals = armed(), HOME.copy(), 0.0, [HOME] * 3, [HOME] * 3
        for tick in range(200):
            now += PERIOD
            if tick % 5 == 0:
                gate.request(rng.choice([-1.0, 1.0, 0.0], 6) * rng.uniform(0, 1, 6) ** 0.2, sensed(now, pose), now)
            if rng.random() < 0.01:
                gate.hold("test", sensed(now, pose))
            sent.append(gate.tick(sensed(now, pose), now))
            goals.append(gate._smoother.goal)
            pose = pose + rng.uniform(0, 1) * (sent[-1] - pose) + rng.normal(size=6) * 1e-4
            if gate.mode is Mode.HELD and rng.random() < 0.1:  # also while it is still coming to rest
                gate.arm(sensed(now, pose), now)
        if bound := too_fast(np.array(sent)):
            broken.append(f"run {run}: {bound}")
        control_failed += bool(too_fast(np.array(goals)))
    record_fault(
        "A2",
        "2 s of random actions: workspace, velocity, acceleration, jerk; control: targets sent as they are",
        injected=tried,
        broken=broken,
        control_failed=control_failed,
    )


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_a_smoothed_track_never_overshoots_and_arrives(seed):
    rng, smoother = np.random.default_rng(seed), Smoother(LIMITS)
    low, high = LIMITS.arrays["low"], LIMITS.arrays["high"]
    start, goal = (low + rng.uniform(0, 1, 6) * (high - low) for _ in range(2))
    smoother.reset(start)
    smoother.goal = goal
    track = np.array([smoother.advance() for _ in range(400)])
    assert np.all(np.diff(track, axis=0) * np.sign(goal - start) >= -1e-12)
    np.testing.assert_allclose(track[-1], goal)


def test_calls_that_come_early_or_with_a_clock_that_went_back_send_the_same_setpoint_again():
    gate = armed()
    gate.request(np.ones(6), sensed(0.0), 0.0)
    for _ in range(5):
        first = gate.tick(sensed(0.011), 0.011)
    np.testing.assert_array_equal(gate.tick(sensed(0.011), 0.011), first)
    np.testing.assert_array_equal(gate.tick(sensed(0.0105), 0.0105), first)
    assert np.any(gate.tick(sensed(0.021), 0.021) != first)


def test_the_first_setpoint_is_the_measured_pose_and_rest_stays_rest():
    pose = HOME + 0.013
    gate = Gate(LIMITS)
    assert gate.tick(sensed(0.0), 0.0) is None, "nothing is sent before arming"
    gate.arm(sensed(0.0, pose), 0.0)
    for tick in range(1, 50):
        np.testing.assert_allclose(gate.tick(sensed(tick * PERIOD, pose), tick * PERIOD), pose, atol=1e-12)
    assert gate.mode is Mode.ARMED, "no action yet is no late action"


def test_the_executed_action_says_what_the_workspace_left():
    gate = Gate(LIMITS)
    pose = HOME.copy()
    pose[0] = LIMITS.high[0] - 0.004
    gate.arm(sensed(0.0, pose), 0.0)
    executed = gate.request(np.array([1.0, 0.5, 0, 0, 0, 0]), sensed(0.0, pose), 0.0)
    np.testing.assert_allclose(executed, [0.4, 0.5, 0, 0, 0, 0], atol=1e-9)
    now = 0.0
    for _ in range(100):
        now += PERIOD
        gate.request(np.zeros(6), sensed(now, pose), now)
        pose = gate.tick(sensed(now, pose), now)
    assert pose[0] <= LIMITS.high[0] + 1e-12


def test_axes_that_no_action_drives_keep_their_target():
    gate = armed(axes=(0, 1, 2, 5))
    tilted = HOME + [0, 0, 0, 0.02, 0, 0]
    assert gate.request(np.array([0, 0, -1.0, 0]), sensed(0.0, tilted), 0.0) == pytest.approx([0, 0, -1, 0])
    for tick in range(1, 15):
        setpoint = gate.tick(sensed(tick * PERIOD, tilted), tick * PERIOD)
    assert setpoint[3] == 0 and setpoint[2] == pytest.approx(HOME[2] - 0.01)


# ------------------------------------------------------------------ trips


BAD_ACTIONS = {
    "not finite": lambda rng: np.where(rng.random(6) < 0.5, rng.choice([np.nan, np.inf, -np.inf], 6), np.nan),
    "shape": lambda rng: np.zeros(int(rng.choice([0, 1, 5, 7]))),
    "shape ": lambda rng: np.zeros((1, 6)),
    "outside": lambda rng: rng.choice([-1, 1], 6) * rng.uniform(1.01, 1e9, 6),
}


@many(2500, 2500)
@pytest.mark.parametrize("kind", BAD_ACTIONS)
def test_a_bad_action_is_never_clipped_but_held(kind, tried, monkeypatch):
    """Row A1. The control: a gate that takes actions unchecked; what numpy refuses by itself does not count."""

    def case(rng: np.random.Generator, index: int) -> str:
        gate = armed()
        executed = gate.request(BAD_ACTIONS[kind](rng), sensed(0.0), 0.0)
        first = gate.tick(sensed(PERIOD), PERIOD)
        gate.request(np.ones(6), sensed(PERIOD), PERIOD)  # a good one does not unlatch it
        second = gate.tick(sensed(2 * PERIOD), 2 * PERIOD)
        still = np.allclose(first, HOME) and np.allclose(second, HOME)
        return "" if gate.mode is Mode.HELD and not executed.any() and still else f"{kind} {index}: {gate.mode}"

    rng = np.random.default_rng(1)
    broken = [words for index in range(tried) if (words := case(rng, index))]
    monkeypatch.setattr("robo_reward.safety.arm_gate.check_action", lambda action, size: np.asarray(action, float))
    control = 0
    for index in range(20):
        with suppress(ValueError):
            control += bool(case(rng, index))
    what = f"actions: {kind.strip()}; control: a gate that does not look at them"
    record_fault("A1", what, injected=tried, broken=broken, control_failed=control)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, int, object])
def test_an_action_of_another_number_type_is_converted_or_refused(dtype):
    gate = armed()
    gate.request(np.ones(6).astype(dtype), sensed(0.0), 0.0)
    assert gate.mode is Mode.ARMED


@pytest.mark.parametrize("field", ["pose", "joints", "joint_velocity", "wrench"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_state_that_is_not_finite_trips_and_is_not_followed(field, value):
    gate = armed()
    bad = np.array(getattr(sensed(0.0), field))
    bad[-1] = value
    setpoint = gate.tick(sensed(PERIOD, **{field: bad}), PERIOD)
    held_by(gate, "not finite")
    np.testing.assert_allclose(setpoint, HOME)
    with pytest.raises(ValueError, match="cannot arm: measured .* is not finite"):
        gate.arm(sensed(PERIOD, **{field: bad}), PERIOD)


def test_a_state_of_another_shape_trips():
    gate = armed()
    gate.tick(sensed(PERIOD, joints=np.zeros(6)), PERIOD)
    held_by(gate, "joint positions of shape (6,), expected (7,)")


def test_an_old_or_missing_state_trips():
    gate = armed()
    gate.tick(sensed(0.05), 0.05 + LIMITS.state_timeout_s - 0.001)
    assert gate.mode is Mode.ARMED
    gate.tick(sensed(0.05), 0.05 + LIMITS.state_timeout_s + 0.002)
    held_by(gate, "state is 0.102 s old")
    gate = armed()
    gate.tick(None, PERIOD)
    held_by(gate, "missing")
    gate = armed()
    gate.tick(sensed(5.0), PERIOD)
    held_by(gate, "-4.990 s old")


def test_a_silent_policy_is_noticed_at_its_time_out_and_not_before():
    gate = armed()
    gate.request(np.zeros(6), sensed(0.0), 0.0)
    for tick in range(1, 16):
        gate.tick(sensed(tick * PERIOD), tick * PERIOD)
    assert gate.mode is Mode.ARMED
    gate.tick(sensed(0.16), 0.16)
    held_by(gate, "no action for 0.160 s")
    assert not gate.request(np.ones(6), sensed(0.17), 0.17).any(), "a late policy does not take over again"
    gate.arm(sensed(0.18), 0.18)
    assert gate.request(np.ones(6), sensed(0.18), 0.18).all()


def test_too_much_force_trips_and_the_target_gives_way():
    gate = armed()
    gate.request(np.array([0, 0, -1.0, 0, 0, 0]), sensed(0.0), 0.0)
    for tick in range(1, 10):
        pressed = gate.tick(sensed(tick * PERIOD), tick * PERIOD)
    assert pressed[2] < HOME[2] - 0.009
    gate.tick(sensed(0.1, wrench=np.array([0, 0, LIMITS.force + 1, 0, 0, 0])), 0.1)
    held_by(gate, "contact of 61.0 N")
    for tick in range(11, 40):
        released = gate.tick(sensed(tick * PERIOD), tick * PERIOD)
    np.testing.assert_allclose(released, HOME)
    gate = armed()
    gate.tick(sensed(PERIOD, wrench=np.array([0, 0, 0, 0, LIMITS.torque + 1, 0])), PERIOD)
    held_by(gate, "7.00 Nm")


def test_an_arm_that_does_not_follow_trips():
    gate = armed()
    gate.tick(sensed(PERIOD, HOME + [0, 0.07, 0, 0, 0, 0]), PERIOD)
    held_by(gate, "axis 1 is 0.070 off")


def test_a_joint_near_its_limit_may_move_back_but_not_on():
    near = JOINTS.copy()
    near[3] = LIMITS.joint_high[3] - 0.05
    outwards, inwards = np.zeros(7), np.zeros(7)
    outwards[3], inwards[3] = 0.1, -0.1
    for velocity, trips in ((outwards, True), (inwards, False), (np.zeros(7), False)):
        gate = armed()
        gate.tick(sensed(PERIOD, joints=near, joint_velocity=velocity), PERIOD)
        assert (gate.mode is Mode.HELD) == trips
        if trips:
            held_by(gate, "joint 4 at -0.120 rad nears its limit [-3.0718, -0.0698]")
    gate = armed()
    gate.tick(sensed(PERIOD, joint_velocity=np.full(7, 2.5)), PERIOD)
    held_by(gate, "joint 1 moves at 2.50 rad/s")


# ------------------------------------------------------------------ arming and stopping


def test_an_emergency_stop_is_left_only_by_clearing_and_arming():
    gate = armed()
    gate.request(np.ones(6), sensed(0.0), 0.0)
    gate.stop("button")
    assert gate.mode is Mode.STOPPED and not gate.request(np.ones(6), sensed(0.0), 0.0).any()
    with pytest.raises(ValueError, match=r"emergency stop \(button\); clear it first"):
        gate.arm(sensed(0.0), 0.0)
    gate.clear()
    assert gate.mode is Mode.HELD and not gate.request(np.ones(6), sensed(0.0), 0.0).any()
    gate.arm(sensed(0.0), 0.0)
    assert gate.mode is Mode.ARMED
    idle = Gate(LIMITS)
    idle.stop("button")
    idle.clear()
    assert idle.mode is Mode.DISARMED


def test_an_emergency_stop_while_held_keeps_holding_and_says_why():
    gate = armed()
    gate.hold("operator")
    gate.stop("button")
    assert gate.mode is Mode.STOPPED and gate.reason == "button"
    np.testing.assert_allclose(gate.tick(None, PERIOD), HOME)


def test_arming_needs_a_fresh_state_and_for_a_controller_without_time_out_a_word_more():
    gate = Gate(LIMITS)
    with pytest.raises(ValueError, match="no complete robot state"):
        gate.arm(None, 0.0)
    with pytest.raises(ValueError, match="0.500 s old"):
        gate.arm(sensed(0.0), 0.5)
    unguarded = Gate(replace(LIMITS, own_timeout=False))
    with pytest.raises(ValueError, match="write unguarded=true"):
        unguarded.arm(sensed(0.0), 0.0)
    unguarded.arm(sensed(0.0), 0.0, unguarded=True)
    assert unguarded.mode is Mode.ARMED


def test_arming_an_arm_that_was_moved_by_hand_starts_where_it_is():
    gate = armed()
    gate.hold("guided by hand")
    elsewhere = HOME + [0.1, 0, 0, 0, 0, 0]
    gate.arm(sensed(1.0, elsewhere), 1.0)
    np.testing.assert_allclose(gate.tick(sensed(1.01, elsewhere), 1.01), elsewhere)
    assert gate.mode is Mode.ARMED and not gate.velocity.any()


def test_a_robot_of_velocities_that_was_moved_a_little_while_held_rests_when_it_is_armed():
    gate, now = Gate(LIMITS, sends_velocity=True), 0.0
    gate.arm(sensed(0.0), 0.0)
    gate.hold("guided by hand")
    elsewhere = HOME + [0.02, 0, 0, 0, 0, 0]
    gate.arm(sensed(1.0, elsewhere), 1.0)
    for tick in range(1, 10):
        now = 1.0 + tick * PERIOD
        gate.tick(sensed(now, elsewhere), now)
        np.testing.assert_allclose(gate.velocity, 0, atol=1e-9)
    assert gate.mode is Mode.ARMED


@pytest.mark.parametrize("lost", [0.0, 0.3, 1.0])
def test_velocities_do_not_add_up_to_a_drift_when_the_arm_loses_some(lost):
    """An arm that executes only a part of the velocities it is sent must rest when the actions are zero."""
    gate, pose, now, track = Gate(LIMITS, sends_velocity=True), HOME.copy(), 0.0, []
    gate.arm(sensed(0.0), 0.0)
    for tick in range(200):
        now += PERIOD
        if tick % 5 == 0:
            gate.request(np.array([0.8, 0, 0, 0, 0, 0.0]) * (tick < 20), sensed(now, pose), now)
        gate.tick(sensed(now, pose), now)
        pose = pose + gate.velocity * PERIOD * (1 - lost)
        track.append(pose[0])
    assert gate.mode is Mode.ARMED
    assert track[-1] == pytest.approx(track[60], abs=1e-6) and track[-1] - HOME[0] < 0.05
    gate.request(np.ones(6), sensed(now, pose), now)
    for _ in range(5):
        now += PERIOD
        gate.tick(sensed(now, pose), now)
    before = gate.velocity.copy()
    gate.hold("test", sensed(now, pose))
    speeds = []
    for _ in range(20):
        now += PERIOD
        gate.tick(sensed(now, pose), now)
        speeds.append(gate.velocity)
    assert before.any() and np.min(np.array(speeds) * np.sign(before)) >= -1e-12, "stops, and does not move back"
    assert not np.any(np.abs(speeds[-1]) > 1e-12)


def test_trips_are_counted_and_the_first_reason_is_kept():
    gate = armed()
    gate.hold("first")
    gate.hold("second")
    assert (gate.reason, gate.trips) == ("first", 1)
