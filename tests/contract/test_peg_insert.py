"""PegInsert keeps its promises: the scene that is drawn, what is seen of it, the forces, the gripper.

What every world promises (spaces, determinism without pixels, bad actions) is in test_worlds.py.
"""

import functools
import itertools
import warnings

import gymnasium
import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")

from gymnasium.utils.env_checker import check_env  # noqa: E402

import robo_reward.envs  # noqa: E402, F401  (registers the environments)
from robo_reward.policies.inputs import policy_input  # noqa: E402
from robo_reward.policies.scripted import ScriptedPeg  # noqa: E402
from robo_reward.testing.environment import check_world  # noqa: E402

WORLD = "robo_reward/PegInsert-v0"
STEP = np.array([0.010, 0.010, 0.010, 0.08])
"""[m, m, m, rad] of the target from the measured pose per action of 1, as the environment documents it."""
PRESS = 25.0
"""[N] of an action of 1 in contact, as the environment documents it."""
POSE, WRENCH, OFFSET = slice(7, 13), slice(13, 19), slice(19, 25)
AXES = [0, 1, 2, 5]
HOLD = np.array([0, 0, 0, 0, 0, 0, 1.0])
OPEN = np.array([0, 0, 0, 0, 0, 0, -1.0])


def make(**arguments):
    return gymnasium.make(WORLD, **arguments).unwrapped


@pytest.fixture(scope="module")
def env():
    return make()


@pytest.fixture(scope="module")
def scenes(env):
    """(observation, instruction) of many seeds."""
    return [(env.reset(seed=seed)[0], env.instruction) for seed in range(200)]


def truth(observation):
    """The privileged state by name; positions [m], yaw [rad]."""
    state = observation["environment_state"].astype(np.float64)
    return {
        "named": state[0:3], "other": state[3:6], "tip": state[6:9], "in_hand": state[9:12],
        "target": int(state[12]), "height": state[13], "sideways": state[14],
    }  # fmt: skip


def target_pose(observation):
    """Where the controller's target is: measured pose plus the target's offset."""
    agent_pos = observation["agent_pos"].astype(np.float64)
    return (agent_pos[POSE] + agent_pos[OFFSET])[AXES]


def push_down(env, seed, over=None, steps=80):
    """Full-down actions, over a point given in the named socket's frame or over the table; (observations, infos)."""
    observation, _ = env.reset(seed=seed)
    seen = []
    for _ in range(steps):
        action = np.array([0.0, 0.0, -1.0, 0.0])
        if over is not None:
            state = truth(observation)
            away = state["tip"][:2] - state["named"][:2] - over
            action[:2] = np.clip(-0.6 * away / STEP[:2], -1, 1)
            action[2] = -1.0 if np.hypot(*away) < 0.005 else 0.0
        observation, _, terminated, truncated, info = env.step(action)
        seen.append((observation, info))
        if terminated or truncated:
            break
    return seen


# ---- the interface ----


@pytest.mark.parametrize("action_mode", ["xyz_yaw", "pose_gripper"])
def test_gymnasiums_checker_accepts_it_with_cameras(action_mode):
    env = make(cameras=("front", "side", "wrist"), image_size=32, action_mode=action_mode, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*infinity.*")  # poses and forces have no honest bound
        check_env(env)


def test_the_gripper_mode_is_a_world_too():
    check_world(functools.partial(make, action_mode="pose_gripper"))


def test_one_seed_gives_one_trajectory_bit_for_bit_pixels_included():
    cameras = ("wrist", "front")

    def roll(env):
        rng = np.random.default_rng(5)
        seen = [env.reset(seed=5)]
        return seen + [env.step(rng.uniform(-1, 1, 4).astype(np.float32)) for _ in range(25)]

    env = make(cameras=cameras)
    first = roll(env)
    roll(make(cameras=("side",), image_size=64))  # another world that renders in between
    np.testing.assert_equal(roll(env), first)
    np.testing.assert_equal(roll(make(cameras=cameras)), first)
    moved = [np.abs(first[0][0]["pixels"][c].astype(int) - first[-1][0]["pixels"][c]).mean() for c in cameras]
    assert min(moved) > 0.5  # the pictures follow the scene


def test_views_have_the_size_asked_for_and_render_is_the_front_view():
    env = make(image_size=48, render_mode="rgb_array")
    env.reset(seed=0)
    views = env.render_views()
    assert {name: views[name].shape for name in views} == dict.fromkeys(("front", "side", "wrist"), (48, 48, 3))
    assert env.render().shape == (256, 256, 3)
    assert make().render() is None


@pytest.mark.parametrize(
    "arguments,words",
    [
        ({"cameras": ("front", "top")}, ("top", "front", "side", "wrist")),
        ({"action_mode": "joint"}, ("joint", "xyz_yaw", "pose_gripper")),
    ],
)
def test_a_wrong_argument_is_named_with_what_there_is(arguments, words):
    with pytest.raises(ValueError) as error:
        make(**arguments)
    message = str(error.value)
    assert "\n" not in message and all(word in message for word in words), message


def test_a_target_that_is_no_socket_is_refused(env):
    with pytest.raises(ValueError, match="target=2"):
        env.reset(seed=0, options={"target": 2})


# ---- the scene ----


def test_sockets_and_peg_stand_within_their_ranges_and_use_them(scenes):
    """Two sockets within +-3 cm and +-10 degrees of (0.50, +-0.085), the peg within 3 mm of the hand's middle."""
    poses, in_hand = [], []
    for observation, _ in scenes:
        state = truth(observation)
        assert state["named"][1] * state["other"][1] < 0, "the sockets stand on the same side"
        for pose in (state["named"], state["other"]):
            poses.append([pose[0] - 0.50, abs(pose[1]) - 0.085, pose[2]])
        in_hand.append(state["in_hand"])
    for drawn, limit in ((poses, [0.03, 0.03, np.deg2rad(10)]), (in_hand, [0.003, 0.003, 0.05])):
        extremes = np.abs(drawn).max(0)
        assert np.all(extremes <= np.array(limit) + 1e-6) and np.all(extremes > 0.9 * np.array(limit)), extremes


def test_target_and_side_are_drawn_independently_of_each_other(scenes):
    drawn = [(truth(observation)["target"], truth(observation)["named"][1] > 0) for observation, _ in scenes]
    for case in itertools.product((0, 1), (False, True)):
        assert drawn.count(case) > 30


def test_the_option_names_the_socket_in_one_and_the_same_scene(env):
    states, instructions = zip(*[(truth(env.reset(seed=3, options={"target": target})[0]), env.instruction)
                                 for target in (0, 1)], strict=True)  # fmt: skip
    assert ["orange" in i for i in instructions] == [True, False] and "blue" in instructions[1]
    np.testing.assert_array_equal(states[0]["named"], states[1]["other"])
    np.testing.assert_array_equal(states[0]["other"], states[1]["named"])


def test_the_socket_that_is_named_has_the_colour_that_is_said(env):
    """Seen by the front camera, whose right is the base frame's +y."""
    for seed in range(6):
        observation, info = env.reset(seed=seed)
        red, green, blue = np.moveaxis(env.render_views()["front"].astype(int), -1, 0)
        masks = {
            "orange": (red > 120) & (red - blue > 90) & (red - green > 20),
            "blue": (blue > 100) & (blue - red > 80),
        }
        centres = {}
        for colour, mask in masks.items():
            assert mask.sum() > 20, f"no {colour} socket in sight"
            centres[colour] = np.nonzero(mask)[1].mean() - 41.5
        (named,) = [colour for colour in masks if colour in info["instruction"]]
        assert centres[named] * truth(observation)["named"][1] > 0


# ---- what is seen ----


def errors_of(observation):
    """Estimate minus truth: socket x, y, yaw, in-hand x, y, yaw."""
    state, seen = truth(observation), observation["estimate"].astype(np.float64)
    return np.concatenate([seen[[0, 1, 3]] - state["named"], seen[4:7] - state["in_hand"]])


def test_the_estimate_is_wrong_by_its_stated_bias_and_never_right(scenes):
    errors = np.array([errors_of(observation) for observation, _ in scenes])
    noise = 5 * np.array([0.0003, 0.0003, 0.003, 0, 0, 0])
    assert np.all(np.abs(errors) <= 2 * np.array([0.002, 0.002, 0.026, 0.0005, 0.0005, 0.01]) + noise + 1e-6)
    assert np.all(np.linalg.norm(errors[:, :2], axis=1) > 1e-6)
    # clipped at two deviations: somewhat less than the stated one, and no tendency to a side
    assert np.all(np.abs(errors[:, :2].std(0) - 0.0018) < 0.0004) and np.all(np.abs(errors[:, :2].mean(0)) < 0.0005)


def test_looking_longer_does_not_average_the_bias_away(env):
    means = []
    for seed in range(20):
        env.reset(seed=seed)
        means.append(np.mean([errors_of(env.step(np.zeros(4))[0])[:2] for _ in range(40)], axis=0))
    assert 0.0012 < np.std(means) < 0.0024  # the noise alone would leave 0.00005


def test_without_biases_the_relative_pose_is_the_true_one_whatever_the_peg_s_place_in_the_hand():
    env = make(socket_bias=0.0, yaw_bias=0.0)
    for seed in range(30):
        observation, _ = env.reset(seed=seed)
        state, seen = truth(observation), observation["estimate"]
        c, s = np.cos(state["named"][2]), np.sin(state["named"][2])
        away = state["tip"][:2] - state["named"][:2]
        wanted = [c * away[0] + s * away[1], c * away[1] - s * away[0], state["height"]]
        np.testing.assert_allclose(seen[7:10], wanted, atol=0.0035)  # in-hand error 1 mm, frame-to-frame noise
        np.testing.assert_allclose(seen[11:14], np.clip(seen[7:10], -0.006, 0.006), atol=1e-7)


def test_before_the_first_touch_a_policy_cannot_tell_where_the_socket_is_but_by_the_estimate(env):
    """The same seed with either socket named: what the arm knows is the same, the privileged state is not passed on."""
    rolls = []
    for target in (0, 1):
        observation, _ = env.reset(seed=8, options={"target": target})
        roll = [observation]
        for _ in range(5):
            roll.append(env.step(np.array([0.5, -0.5, 0.2, 0.1]))[0])
        rolls.append(roll)
    for one, other in zip(*rolls, strict=True):
        np.testing.assert_array_equal(one["agent_pos"], other["agent_pos"])
        assert not np.array_equal(one["environment_state"], other["environment_state"])
        inputs = policy_input(one["agent_pos"], one["estimate"])
        assert len(inputs) == len(one["agent_pos"]) + len(one["estimate"])
        exact = one["environment_state"][[0, 1, 2, 9, 10, 11]]  # socket and in-hand pose
        assert not np.isin(exact, inputs).any()


# ---- stages and progress ----


def test_on_the_expert_s_way_in_the_stages_come_in_order_and_the_oracle_ends_at_one(env):
    for seed in range(5):
        observation, info = env.reset(seed=seed, options={"target": seed % 2})
        expert = ScriptedPeg("expert", seed)
        state, stages, oracle, done = expert.initial_state(1), [info["stage"]], [info["progress_oracle"]], False
        while not done:
            action, state = expert.act(observation["agent_pos"][None], observation["estimate"][None], state)
            observation, reward, terminated, truncated, info = env.step(action[0])
            done = terminated or truncated
            stages.append(info["stage"])
            oracle.append(info["progress_oracle"])
        if not terminated:
            continue
        assert reward == 1 and info["is_success"] and stages[-1] == 4 and oracle[-1] == 1.0 and oracle[0] < 0.25
        assert truth(observation)["height"] <= -0.020
        firsts = [next(t for t, stage in enumerate(stages) if stage >= k) for k in range(5)]
        assert firsts == sorted(firsts) and set(stages) >= {0, 1, 3, 4}
        assert np.corrcoef(oracle, np.arange(len(oracle)))[0, 1] > 0.7
        return
    pytest.fail("the expert failed five times")


def test_the_stage_says_what_the_geometry_says(env):
    """Over the socket within 25 mm and 30 mm, at its mouth within 3 mm, engaged from 2 mm deep, inserted at 20 mm."""
    expert, reached = ScriptedPeg("expert", 1), set()
    for seed in range(6):
        observation, info = env.reset(seed=seed)
        state, done = expert.initial_state(1), False
        while not done:
            action, state = expert.act(observation["agent_pos"][None], observation["estimate"][None], state)
            observation, _, terminated, truncated, info = env.step(action[0])
            done = terminated or truncated
            height, sideways = truth(observation)["height"], truth(observation)["sideways"]
            stage, rim = info["stage"], 1e-5  # float32 at the limits themselves
            reached.add(stage)
            assert stage < 4 or height <= -0.020 + rim
            assert stage != 3 or -0.020 - rim < height <= -0.002 + rim
            assert stage < 3 or sideways <= 0.0025 + rim
            assert stage != 2 or (abs(height) <= 0.003 + rim and sideways <= 0.006 + rim)
            assert stage != 1 or (height <= 0.030 + rim and sideways <= 0.025 + rim)
            assert stage != 0 or height > 0.030 - rim or sideways > 0.025 - rim
    assert reached == {0, 1, 2, 3, 4}


def test_the_peg_in_the_other_socket_is_no_success_and_little_progress():
    named, other = make(), make()
    for seed in range(5):
        observation, _ = other.reset(seed=seed, options={"target": 1})
        named.reset(seed=seed, options={"target": 0})
        expert = ScriptedPeg("expert", seed)
        state, done = expert.initial_state(1), False
        while not done:
            action, state = expert.act(observation["agent_pos"][None], observation["estimate"][None], state)
            observation, _, inserted, truncated, _ = other.step(action[0])
            _, reward, terminated, _, info = named.step(action[0])
            done = inserted or truncated
            assert reward == 0 and not terminated and not info["is_success"]
        if inserted:
            assert info["stage"] == 0 and info["progress_oracle"] < 0.25
            return
    pytest.fail("the expert failed five times")


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
    env, rng = make(action_mode="pose_gripper", horizon=60), np.random.default_rng(0)
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
    env = make(action_mode="pose_gripper")
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
    fresh = make(action_mode="pose_gripper")
    np.testing.assert_equal(gripping.reset(seed=4), fresh.reset(seed=4))
    np.testing.assert_equal(gripping.step(HOLD), fresh.step(HOLD))
