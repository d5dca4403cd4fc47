"""Perturbed worlds: paired initial states, one axis changed, nothing left behind."""

import gymnasium
import numpy as np
import pytest

import robo_reward.envs  # noqa: F401 - registers the ids
from robo_reward.envs.perturbation import AXES, VISUAL, Perturbed

pytest.importorskip("mujoco")


@pytest.fixture(scope="module")
def world():
    env = gymnasium.make("robo_reward/PegInsert-v0")
    yield env
    env.close()


@pytest.fixture
def perturbed(world):
    """axis, severity -> the world perturbed; nominal again afterwards."""
    made = []

    def make(axis, severity=2):
        made.append(Perturbed(world, axis, severity))
        return made[-1]

    yield make
    base = world.unwrapped
    base.spread = base.estimate_error = 1.0
    for env in reversed(made):
        env.restore()


def rollout(env, steps=12, seed=3):
    observation, _ = env.reset(seed=seed)
    rng, seen = np.random.default_rng(0), [observation]
    for _ in range(steps):
        seen.append(env.step(rng.uniform(-1, 1, 4).astype(np.float32))[0])
    return np.stack([o["agent_pos"] for o in seen]), np.stack([o["estimate"] for o in seen])


@pytest.mark.parametrize("axis", [a for a in AXES if a not in ("layout", "perception", "observation_latency")])
def test_the_initial_state_is_that_of_the_seed(world, perturbed, axis):
    plain = world.reset(seed=3)[0]
    other = perturbed(axis).reset(seed=3)[0]
    np.testing.assert_allclose(other["environment_state"][:6], plain["environment_state"][:6], atol=1e-6)


@pytest.mark.parametrize("axis", AXES)
def test_only_what_moves_is_moved_by_a_physical_axis(world, perturbed, axis):
    plain, other = rollout(world), rollout(perturbed(axis, 3))
    same = all(np.array_equal(a, b) for a, b in zip(plain, other, strict=True))
    contact_free = ("friction", "mass", "size")  # the arm holds the peg's weight, and nothing is touched up there
    assert same == (axis in VISUAL) or axis in contact_free


@pytest.mark.parametrize("axis", ["lighting", "background", "camera_pose", "camera_noise", "camera_dropped"])
def test_a_visual_axis_changes_the_pictures_and_the_world_is_as_before_afterwards(world, perturbed, axis):
    world.reset(seed=3)
    plain = world.unwrapped.render_views()
    env = perturbed(axis)
    env.reset(seed=3)
    views = env.render_views()
    assert any(not np.array_equal(views[v], plain[v]) for v in plain)
    env.restore()
    world.reset(seed=3)
    assert all(np.array_equal(f, plain[v]) for v, f in world.unwrapped.render_views().items())


def test_severities_grow(world, perturbed):
    base = world.unwrapped
    widths = []
    for severity in (1, 2, 3):
        perturbed("size", severity).reset(seed=0)
        widths.append(base.model.geom("peg").size[0])
    assert 0.010 < widths[0] < widths[1] < widths[2] < 0.011


def test_latency_delivers_what_was_seen_and_asked_for_earlier(world, perturbed):
    plain, late = rollout(world), rollout(perturbed("observation_latency", 2))
    np.testing.assert_array_equal(late[0][3:], plain[0][1:-2])
    env = perturbed("action_latency", 2)
    env.reset(seed=0)
    asked = [np.full(4, x, np.float32) for x in (0.1, 0.2, 0.3, 0.4)]
    done = [env.step(a)[4]["executed_action"] for a in asked]
    np.testing.assert_allclose(done[0], 0, atol=1e-6)
    np.testing.assert_allclose(done[3], asked[1], atol=1e-5)


def test_the_same_seed_draws_the_same_perturbation(perturbed):
    first, second = rollout(perturbed("control_noise")), rollout(perturbed("control_noise"))
    np.testing.assert_array_equal(first[0], second[0])
    assert not np.array_equal(first[0], rollout(perturbed("control_noise"), seed=4)[0])


def test_unknown_axes_and_severities_are_one_line(world):
    with pytest.raises(ValueError, match="did you mean 'friction'"):
        Perturbed(world, "frictoin", 1)
    with pytest.raises(ValueError, match="severity 4 of axis 'mass' is unknown: choose 1, 2 or 3"):
        Perturbed(world, "mass", 4)
