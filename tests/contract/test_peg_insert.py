"""PegInsert keeps its promises: the scene that is drawn, what is seen of it, its stages. Its arm: test_peg_insert_arm.

What every world promises (spaces, determinism without pixels, bad actions) is in test_worlds.py.
"""

import functools
import itertools
import warnings

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")

from gymnasium.utils.env_checker import check_env  # noqa: E402

import robo_reward.envs  # noqa: E402, F401  (registers the environments)
from robo_reward.policies.inputs import policy_input  # noqa: E402
from robo_reward.policies.scripted import ScriptedPeg  # noqa: E402
from robo_reward.testing.environment import check_world  # noqa: E402
from robo_reward.testing.peg_scene import (  # noqa: E402
    make_peg,
    truth,
)


@pytest.fixture(scope="module")
def env():
    return make_peg()


@pytest.fixture(scope="module")
def scenes(env):
    """(observation, instruction) of many seeds."""
    return [(env.reset(seed=seed)[0], env.instruction) for seed in range(200)]


# ---- the interface ----


@pytest.mark.parametrize("action_mode", ["xyz_yaw", "pose_gripper"])
def test_gymnasiums_checker_accepts_it_with_cameras(action_mode):
    env = make_peg(cameras=("front", "side", "wrist"), image_size=32, action_mode=action_mode, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*infinity.*")  # poses and forces have no honest bound
        check_env(env)


def test_the_gripper_mode_is_a_world_too():
    check_world(functools.partial(make_peg, action_mode="pose_gripper"))


def test_one_seed_gives_one_trajectory_bit_for_bit_pixels_included():
    cameras = ("wrist", "front")

    def roll(env):
        rng = np.random.default_rng(5)
        seen = [env.reset(seed=5)]
        return seen + [env.step(rng.uniform(-1, 1, 4).astype(np.float32)) for _ in range(25)]

    env = make_peg(cameras=cameras)
    first = roll(env)
    roll(make_peg(cameras=("side",), image_size=64))  # another world that renders in between
    np.testing.assert_equal(roll(env), first)
    np.testing.assert_equal(roll(make_peg(cameras=cameras)), first)
    moved = [np.abs(first[0][0]["pixels"][c].astype(int) - first[-1][0]["pixels"][c]).mean() for c in cameras]
    assert min(moved) > 0.5  # the pictures follow the scene


def test_views_have_the_size_asked_for_and_render_is_the_front_view():
    env = make_peg(image_size=48, render_mode="rgb_array")
    env.reset(seed=0)
    views = env.render_views()
    assert {name: views[name].shape for name in views} == dict.fromkeys(("front", "side", "wrist"), (48, 48, 3))
    assert env.render().shape == (256, 256, 3)
    assert make_peg().render() is None


@pytest.mark.parametrize(
    "arguments,words",
    [
        ({"cameras": ("front", "top")}, ("top", "front", "side", "wrist")),
        ({"action_mode": "joint"}, ("joint", "xyz_yaw", "pose_gripper")),
    ],
)
def test_a_wrong_argument_is_named_with_what_there_is(arguments, words):
    with pytest.raises(ValueError) as error:
        make_peg(**arguments)
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
    env = make_peg(socket_bias=0.0, yaw_bias=0.0)
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
    named, other = make_peg(), make_peg()
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
