"""PegInsert's arm: where actions lead, what forces they make, the controller, the gripper."""

import itertools

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")


import robo_reward.envs  # noqa: E402, F401  (registers the environments)
from robo_reward.testing.peg_scene import (  # noqa: E402
    AXES,
    OFFSET,
    POSE,
    PRESS,
    STEP,
    WRENCH,
    make_peg,
    push_down,
    target_pose,
    truth,
)

HOLD = np.array([0, 0, 0, 0, 0, 0, 1.0])
OPEN = np.array([0, 0, 0, 0, 0, 0, -1.0])


@pytest.fixture(scope="module")
def env():
    return make_peg()


# ---- actions and forces ----


def test_the_executed_action_is_where_the_target_really_went(env):
    """The floor of the workspace cuts what is asked for; the record says so, and the observation repeats it."""
    observation, _ = env.reset(seed=0)
    before, cut = observation["agent_pos"].astype(float)[POSE][AXES], 0
    for seen, info in push_down(env, seed=0):
        executed = (target_pose(seen) - before) / STEP
        np.testing.assert_allclose(info["executed_action"], executed, atol=2e-3)
        np.testing.assert_array_equal(info["executed_action"], seen["agent_pos"][-4:])
        assert info["gated"] == (info["executed_action"][2] > -1)
        cut += info["gated"]
        before = seen["agent_pos"].astype(float)[POSE][AXES]
    assert cut > 10


def test_the_free_arm_goes_where_the_actions_lead(env):
    for axis in range(4):
        way = {}
        for pace in (0.4, -0.8):
            start = env.reset(seed=axis)[0]["agent_pos"].astype(float)[POSE][AXES]
            action = np.zeros(4)
            action[axis] = pace
            for _ in range(6):
                observation, *_, info = env.step(action)
                assert not info["gated"] and info["contact_force"] == 0
            way[pace] = (observation["agent_pos"].astype(float)[POSE][AXES] - start) / STEP
            assert np.abs(np.delete(way[pace], axis)).max() < 0.1
            assert 0.3 < way[pace][axis] / (6 * pace) < 1.1
        assert way[-0.8][axis] / way[0.4][axis] == pytest.approx(-2, rel=0.1)


def test_an_idle_arm_stays_where_it_is(env):
    start = env.reset(seed=0)[0]["agent_pos"][POSE]
    for _ in range(100):
        observation, *_ = env.step(np.zeros(4))
    assert np.abs(observation["agent_pos"][POSE] - start).max() < 5e-4


def test_full_down_onto_the_table_stops_over_it_without_force(env):
    for seed in range(3):
        *_, (observation, info) = push_down(env, seed)
        assert 0 < truth(observation)["tip"][2] < 0.010 and info["contact_force"] < 1


@pytest.mark.parametrize("over", [(0.02, 0.0), (0.0, -0.022)])
def test_full_down_onto_the_socket_presses_no_harder_than_one_action_may(env, over):
    for seed in range(3):
        seen = push_down(env, seed, np.array(over))
        forces = np.array([info["contact_force"] for _, info in seen])
        assert forces.max() < 300  # the blow of first contact at full speed: 254 N in the worst of 20 scenes
        assert forces[-20:].max() < 3**0.5 * PRESS  # all three axes may press
        assert seen[-1][1]["stage"] < 3


def test_joints_stay_within_limits_whatever_is_asked():
    """A corner of the action space held for a whole episode, for all corners of the translation and some turns."""
    limits = np.array([[-2.8973, 2.8973], [-1.7628, 1.7628], [-2.8973, 2.8973], [-3.0718, -0.0698],
                       [-2.8973, 2.8973], [-0.0175, 3.7525], [-2.8973, 2.8973]])  # fmt: skip
    torques = np.array([87, 87, 87, 87, 12, 12, 12])
    env, rng = make_peg(action_mode="pose_gripper", horizon=60), np.random.default_rng(0)
    for seed, corner in enumerate(itertools.product((-1, 1), repeat=3)):
        env.reset(seed=seed)
        action = np.array([*corner, *rng.choice([-1, 1], 3), 1.0])
        for _ in range(60):
            observation, *_ = env.step(action)
            joints = observation["agent_pos"][:7]
            assert np.all(joints > limits[:, 0] - 0.02) and np.all(joints < limits[:, 1] + 0.02)
            assert np.all(np.abs(env.data.qfrc_actuator[:7]) <= torques + 1e-6)
            assert np.isfinite(observation["agent_pos"]).all()


# ---- the controller: torques, not positions ----


def test_in_contact_an_action_is_a_force(env):
    """Pressed on the socket's rim: 2500 N/m times 10 mm times the action, and no windup from what was asked before."""
    push_down(env, seed=1, over=np.array([0.02, 0.0]), steps=60)
    for asked in (-0.3, -1.0, -0.6):
        for _ in range(15):
            observation, *_ = env.step(np.array([0.0, 0.0, asked, 0.0]))
        np.testing.assert_allclose(observation["agent_pos"][WRENCH][2], -asked * PRESS, rtol=0.1)


def test_left_alone_in_the_air_the_arm_comes_to_rest_on_its_target(env):
    rng = np.random.default_rng(0)
    for seed in range(5):
        env.reset(seed=seed)
        direction = rng.uniform(-1, 1, 4) * [1, 1, 0, 1] + [0, 0, 0.5, 0]
        for _ in range(10):
            env.step(direction)
        for _ in range(40):
            observation, *_, info = env.step(np.zeros(4))
        offset = np.abs(observation["agent_pos"][OFFSET])
        assert offset[:3].max() < 2e-4 and offset[3:].max() < 5e-3 and info["contact_force"] == 0


def test_the_joints_never_exceed_their_torque_limits(env):
    """A target metres away, put past the gate, saturates them."""
    env.reset(seed=0)
    torques, limits = [], np.array([87, 87, 87, 87, 12, 12, 12])
    env.data.ctrl[:3] = [3.0, 3.0, 3.0]
    for _ in range(20):
        mujoco.mj_step(env.model, env.data)
        torques.append(np.abs(env.data.qfrc_actuator[:7]))
    reached = np.max(torques, axis=0) / limits
    assert reached.max() <= 1 + 1e-9 and (reached > 0.999).sum() >= 2


# ---- the gripper ----


@pytest.fixture
def gripping():
    env = make_peg(action_mode="pose_gripper")
    env.reset(seed=0)
    return env


def tip_of(observation):
    return truth(observation)["tip"][2]


def test_the_open_gripper_drops_the_peg_and_no_longer_feels_it(gripping):
    observation, *_ = gripping.step(HOLD)
    start = tip_of(observation)
    heights = []
    for _ in range(8):
        observation, *_, info = gripping.step(OPEN)
        heights.append(tip_of(observation))
    assert start - heights[0] > 0.008 and heights[-1] == pytest.approx(0, abs=0.002)  # on the table within .4 s
    assert observation["agent_pos"][25] == pytest.approx(0.035, abs=0.002)
    assert info["contact_force"] == 0
    for _ in range(3):
        observation, *_ = gripping.step(HOLD)
    assert tip_of(observation) < 0.002, "the peg jumped back into a hand that was far away"


def test_closing_around_the_peg_takes_it_up_again(gripping):
    down, up = HOLD.copy(), HOLD.copy()
    down[2], up[2] = -1, 1
    for _ in range(40):
        gripping.step(down)
    for _ in range(6):
        observation, *_ = gripping.step(OPEN)
    assert tip_of(observation) == pytest.approx(0, abs=0.001)
    for action in [HOLD] * 3 + [up] * 15 + [HOLD] * 5:
        observation, *_ = gripping.step(action)
    assert tip_of(observation) > 0.04 and observation["agent_pos"][25] == pytest.approx(0.010, abs=0.002)


def test_a_new_episode_starts_with_the_peg_in_hand(gripping):
    for _ in range(5):
        gripping.step(OPEN)
    fresh = make_peg(action_mode="pose_gripper")
    np.testing.assert_equal(gripping.reset(seed=4), fresh.reset(seed=4))
    np.testing.assert_equal(gripping.step(HOLD), fresh.step(HOLD))
