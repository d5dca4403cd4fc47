"""The scripted PegInsert policies: an expert that succeeds, weak ones that fail, and no two episodes alike."""

import gymnasium
import numpy as np
import pytest

pytest.importorskip("mujoco")

import robo_reward.envs  # noqa: F401  (registers the environments)
from robo_reward.evaluation.rollout import run_policy
from robo_reward.policies.scripted import ScriptedPeg


@pytest.fixture(scope="module")
def env():
    return gymnasium.make("robo_reward/PegInsert-v0")


def rollouts(env, kind, seeds, policy_seed=0):
    return list(run_policy(env, ScriptedPeg(kind, policy_seed), list(seeds), source=kind))


@pytest.fixture(scope="module")
def expert(env):
    return rollouts(env, "expert", range(30))


@pytest.fixture(scope="module")
def weak(env):
    return rollouts(env, "weak", range(30))


def test_the_expert_succeeds_nine_times_in_ten(expert):
    assert np.mean([episode.success for episode in expert]) >= 0.9


def test_the_weak_policy_mostly_fails_and_not_always_at_the_same_place(weak):
    assert np.mean([episode.success for episode in weak]) <= 0.4
    deepest = {int(episode.stage.max()) for episode in weak if not episode.success}
    assert len(deepest) >= 3


def test_some_weak_rollouts_come_near_and_fall_back(weak):
    """What a reward model must see to learn that progress can be lost."""
    losses = [episode.oracle.max() - episode.oracle[-1] for episode in weak]
    assert sum(loss > 0.2 for loss in losses) >= 3


def test_demonstrations_of_one_scene_differ_as_people_do(env):
    first, second = (rollouts(env, "expert", [3], policy_seed)[0] for policy_seed in (0, 1))
    np.testing.assert_array_equal(first.agent_pos[0], second.agent_pos[0])  # the same scene
    steps = min(len(first), len(second))
    assert np.abs(first.action[:steps] - second.action[:steps]).mean() > 0.05


def test_the_expert_s_episodes_vary_in_length_and_recoveries(expert):
    lengths = [len(episode) for episode in expert if episode.success]
    assert np.std(lengths) > 5
    # Some lose ground on the way and still succeed.
    assert any(np.any(np.diff(episode.stage) < 0) for episode in expert if episode.success)


@pytest.mark.parametrize("kind", ["expert", "weak"])
def test_one_seed_gives_one_episode(env, kind):
    first, second = (rollouts(env, kind, [5, 6], policy_seed=2) for _ in range(2))
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.action, two.action)
        np.testing.assert_array_equal(one.estimate, two.estimate)


def test_acting_on_a_batch_is_acting_on_each(env):
    episodes = rollouts(env, "expert", [1, 2, 3])
    agent_pos = np.stack([episode.agent_pos[0] for episode in episodes])
    estimate = np.stack([episode.estimate[0] for episode in episodes])
    together, alone = ScriptedPeg("expert", 4), ScriptedPeg("expert", 4)
    actions, states = together.act(agent_pos, estimate, together.initial_state(3))
    assert actions.shape == (3, 4) and actions.dtype == np.float32 and np.abs(actions).max() <= 1 and len(states) == 3
    each = [alone.act(agent_pos[i : i + 1], estimate[i : i + 1], alone.initial_state(1))[0][0] for i in range(3)]
    np.testing.assert_array_equal(actions, each)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="expert or weak"):
        ScriptedPeg("perfect")
