"""Turned windows are what the same task, turned on the table, would have given."""

from types import SimpleNamespace

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

import robo_reward.envs  # noqa: E402, F401  (registers the environments)
from robo_reward.envs.peg_scene import SOCKET_HEIGHT  # noqa: E402
from robo_reward.learning.replay import EpisodeReplay  # noqa: E402
from robo_reward.learning.symmetry import Parts, Symmetry, turns_of  # noqa: E402
from robo_reward.policies.inputs import policy_input  # noqa: E402
from robo_reward.runtime.tasks import TASKS  # noqa: E402
from robo_reward.testing.episodes import make_episode  # noqa: E402
from robo_reward.types import PhiTrack  # noqa: E402

PEG, LONG = TASKS["robo_reward/PegInsert-v0"], TASKS["robo_reward/PegInsertLong-v0"]
# A place x, y and a height; a moment x, y and about z.
TOY = turns_of(Symmetry(Parts((0,), (3,), (5,)), Parts((0,), (), (2,))), range(6), 3)


def images(turns, row):
    return np.array([row[place] * sign for place, sign in zip(turns.state_KS, turns.state_sign_KS, strict=True)])


def test_the_eight_elements_are_the_quarter_turns_and_their_mirrors():
    found = images(TOY, np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    assert len({tuple(row) for row in found}) == 8 and tuple(found[0]) == (1, 2, 3, 4, 5, 6)
    assert tuple(found[1]) == (-2, 1, 3, -5, 4, 6)  # a quarter turn: x becomes y
    assert tuple(found[4]) == (1, -2, 3, -4, 5, -6)  # a mirror along x: moments turn the other way


def test_every_element_keeps_lengths_and_what_a_force_does():
    """The moment of a force about the vertical, x Fy - y Fx, changes its sign in a mirror as the column Mz does."""
    symmetry = Symmetry(Parts(vectors=(0, 2), angles=(4,)), Parts())
    turns = turns_of(symmetry, range(5), 0)
    rng = np.random.default_rng(0)
    place, force = rng.normal(size=2), rng.normal(size=2)
    row = np.array([*place, *force, place[0] * force[1] - place[1] * force[0]])
    for x, y, fx, fy, moment in images(turns, row):
        assert np.hypot(x, y) == pytest.approx(np.hypot(*place))
        assert x * fy - y * fx == pytest.approx(moment)


def test_a_lever_s_moment_turns_with_it():
    """M = r x F with heights: the x, y pair of M is axial."""
    symmetry = Symmetry(Parts(vectors=(0, 3), axial=(6,), angles=(8,)), Parts())
    turns = turns_of(symmetry, range(9), 0)
    rng = np.random.default_rng(1)
    arm, force = rng.normal(size=3), rng.normal(size=3)
    for row in images(turns, np.array([*arm, *force, *np.cross(arm, force)])):
        np.testing.assert_allclose(np.cross(row[:3], row[3:6]), row[6:])


def test_windows_are_turned_as_wholes_and_the_phase_reward_and_potential_stay():
    plain, turning = make_replay(None), make_replay(TOY)
    batch = turning.sample(500, np.random.default_rng(0))
    seen = set()
    for row, place in enumerate(batch.place_B):
        (k,) = np.flatnonzero((images(TOY, plain_state(place)) == batch.state_BS[row]).all(1))
        seen.add(k)
        action = plain_action(place)[TOY.action_KA[k]] * TOY.action_sign_KA[k]
        np.testing.assert_allclose(batch.action_BA[row], action, rtol=1e-6)
        np.testing.assert_allclose(batch.base_BR[row], [*(action / 2), 7.0], rtol=1e-6)
        following = plain_state(place + batch.length_B[row])
        np.testing.assert_array_equal(batch.next_state_BS[row], images(TOY, following)[k])
    assert seen == set(range(8))
    again = plain.sample(500, np.random.default_rng(0))
    for name in ("reward_B", "phi_BW", "discount_B", "terminated_B", "place_B"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(again, name))


def plain_state(step):
    return np.arange(1, 7, dtype=np.float32) + 10 * step


def plain_action(step):
    return np.float32([0.1, 0.2, 0.3]) + np.float32(0.01) * step


def make_replay(turns):
    """One episode of 20 steps, its base acting half as far as the policy."""
    states = np.array([plain_state(step) for step in range(21)], np.float32)
    actions = np.array([plain_action(step) for step in range(21)], np.float32)
    ones = np.ones(21, np.float32)
    episode = make_episode(
        20, instruction="go", agent_pos=states, estimate=states, action=actions[:-1],
        reward=np.arange(20, dtype=np.float32), oracle=ones, base_action=actions * np.float32(0.5),
        base_phase=np.full((21, 1), 7.0, np.float32),
    )  # fmt: skip
    replay = EpisodeReplay(50, 6, 3, n_step=2, gamma=0.9, phase_size=1, turns=turns)
    replay.append(episode, states, PhiTrack("m", np.linspace(0, 1, 21, dtype=np.float32), ones), demonstration=0.0)
    return replay


def test_half_of_a_pair_is_refused():
    with pytest.raises(ValueError, match="columns hold one of 0 and 1, which turn together"):
        turns_of(Symmetry(Parts(vectors=(0,)), Parts()), (0, 2, 3), 2)


# ---- PegInsert's own ----


def pressed(turn, mirrored, steps=25):
    """Policy inputs while the peg is lowered onto the rim and pushed aside, the scene turned about the socket."""
    env = gymnasium.make("robo_reward/PegInsert-v0").unwrapped
    env.reset(seed=3)

    def image(x, y):
        y = -y if mirrored else y
        for _ in range(turn):
            x, y = -y, x
        return x, y

    yaw = -0.1 if mirrored else 0.1
    env._socket_pose[env.target, 2] = yaw
    env.model.body_quat[env._socket_bodies[env.target]] = [np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
    env._socket_error[:], env._in_hand_error[:] = 0.0, 0.0
    env._np_random = SimpleNamespace(normal=lambda size=None: np.zeros(size or ()))  # sensors without noise
    env._in_hand[:2], env._in_hand[2] = image(0.001, 0.002), -0.02 if mirrored else 0.02
    x, y = image(0.004, -0.002)
    mouth = env._socket_pose[env.target, :2]
    env._place_arm(np.array([mouth[0] + x, mouth[1] + y, SOCKET_HEIGHT + 0.006]))
    inputs = []
    for step in range(steps):
        dx, dy = image(0.1 if step > 12 else 0.0, 0.05)
        action = np.float32([dx, dy, -0.3, (-1 if mirrored else 1) * 0.05])
        observation = env.step(action)[0]
        inputs.append(policy_input(observation["agent_pos"], observation["estimate"], PEG.columns))
    env.close()
    return np.array(inputs)


@pytest.mark.parametrize("element", range(1, 8))
def test_peg_insert_looks_the_same_from_all_eight_sides(element):
    """What the arm feels and sees on the turned scene is the turned observation, column by column, but for friction and
    the arm's own inertia; with a sign or a pair of columns wrong that column would point elsewhere."""
    turns = turns_of(PEG.symmetry, PEG.columns, 4)
    plain, other = pressed(0, False), pressed(element % 4, element >= 4)
    image = plain[:, turns.state_KS[element]] * turns.state_sign_KS[element]
    size = np.sqrt((image**2).sum(0) * (other**2).sum(0))
    assert (np.count_nonzero(size > 0) == size.size) and ((image * other).sum(0) / size).min() > 0.5


# ---- PegInsertLong's own ----


def fetched(half, mirrored):
    """Policy inputs while two fingers grasp a peg that stands askew and drag it over the table, the scene turned."""
    env = gymnasium.make("robo_reward/PegInsertLong-v0").unwrapped
    env.reset(seed=3)
    turn, mirror = -1 if half else 1, -1 if mirrored else 1

    def image(x, y):
        return np.array([turn * x, turn * mirror * y])

    yaw = mirror * 0.1
    env._socket_pose[env.target, 2] = yaw
    env.model.body_quat[env._socket_bodies[env.target]] = [np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
    env._socket_error[:], env._in_hand_error[:] = 0.0, 0.0
    mouth = env._socket_pose[env.target, :2]
    peg = mouth + image(0.08, 0.02)
    env._place_arm(np.array([*(peg + image(0.002, 0.003)), 0.035]))
    env.data.qpos[env._peg_qpos : env._peg_qpos + 2] = peg
    env.data.qpos[env._peg_qpos + 3 : env._peg_qpos + 7] = [np.cos(yaw), 0.0, 0.0, np.sin(yaw)]
    env.data.qvel[:] = 0.0
    env._np_random = SimpleNamespace(normal=lambda size=None: np.zeros(size or ()))  # sensors without noise
    inputs = []
    for step in range(40):
        down, grip = (-0.5, -1.0) if step < 10 else (0.0, 1.0) if step < 22 else (-0.4, 1.0)
        x, y = image(0.4, 0.3) if step > 24 else (0.0, 0.0)
        observation = env.step(np.float32([x, y, down, mirror * 0.05, grip]))[0]
        inputs.append(policy_input(observation["agent_pos"], observation["estimate"], LONG.columns))
    held = env._pressed
    env.close()
    return np.array(inputs), held


@pytest.mark.parametrize("element", range(1, 4))
def test_peg_insert_long_looks_the_same_from_four_sides(element):
    turns = turns_of(LONG.symmetry, LONG.columns, 5)
    (plain, held), (other, held_too) = fetched(False, False), fetched(element % 2, element >= 2)
    assert (held > 1.0).all() and (
        held_too > 1.0
    ).all()  # the peg is in the hand, so the fingers' wrench says something
    image = plain[:, turns.state_KS[element]] * turns.state_sign_KS[element]
    size = np.sqrt((image**2).sum(0) * (other**2).sum(0))
    assert (np.count_nonzero(size > 0) == size.size) and ((image * other).sum(0) / size).min() > 0.5
