"""The scripted PickPlaceCan policies: explicit state, bounded actions, repeatable, and a weak one of many faults."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from robo_reward.interfaces import Policy
from robo_reward.policies.scripted_can import ScriptedCan


def observations(batch: int, steps: int = 30):
    rng = np.random.default_rng(0)
    agent_pos = rng.normal(scale=0.1, size=(steps, batch, 26)).astype(np.float32)
    agent_pos[..., 14] = rng.uniform(0.0, 0.08, (steps, batch))
    return agent_pos, rng.normal(scale=0.1, size=(steps, batch, 8)).astype(np.float32)


def play(policy, agent_pos, estimate):
    state, actions = policy.initial_state(agent_pos.shape[1]), []
    for one_pos, one_estimate in zip(agent_pos, estimate, strict=True):
        action, state = policy.act(one_pos, one_estimate, state)
        actions.append(action)
    return np.array(actions)


def glide(policy, gap_of, steps=160):
    """Phases of an episode whose hand goes where it is sent, 1.2 cm a step; gap_of(gripper action) is its gap."""
    can, place = np.array([0.6, -0.2, -0.05]), np.array([0.7, 0.5, -0.09])
    grip, gap, state, phases = np.array([0.46, 0.0, 0.1]), 0.08, policy.initial_state(1), []
    for _ in range(steps):
        agent_pos = np.zeros((1, 26), np.float32)
        agent_pos[0, 7:10], agent_pos[0, 14] = grip, gap
        estimate = np.array([[*(can - grip), 1, 0, *(place - can)]], np.float32)
        action, state = policy.act(agent_pos, estimate, state)
        grip, gap = grip + 0.012 * action[0, :3], gap_of(action[0, 4])
        phases.append(state[0].phase)
    return phases, grip, place


@pytest.mark.parametrize("kind", ["expert", "weak"])
def test_actions_are_in_range_repeatable_and_independent_of_the_batch(kind):
    agent_pos, estimate = observations(3)
    policy = ScriptedCan(kind, seed=4)
    assert isinstance(policy, Policy) and policy.policy_id == f"scripted-can-{kind}"
    actions = play(policy, agent_pos, estimate)
    assert actions.shape == (30, 3, 5) and actions.dtype == np.float32
    assert np.abs(actions).max() <= 1.0
    np.testing.assert_array_equal(actions, play(policy, agent_pos, estimate))
    np.testing.assert_array_equal(actions[:, 1:2], play(policy, agent_pos[:, 1:2], estimate[:, 1:2]))


def test_the_given_state_is_left_as_it_was():
    agent_pos, estimate = observations(2)
    policy = ScriptedCan()
    _, state = policy.act(agent_pos[0], estimate[0], policy.initial_state(2))
    before = copy.deepcopy(state)
    first, _ = policy.act(agent_pos[1], estimate[1], state)
    second, _ = policy.act(agent_pos[1], estimate[1], state)
    assert state == before
    np.testing.assert_array_equal(first, second)


def test_weak_episodes_differ_in_what_goes_wrong():
    agent_pos, estimate = observations(200, steps=1)
    _, states = ScriptedCan("weak").act(agent_pos[0], estimate[0], ScriptedCan("weak").initial_state(200))
    styles = [state.style for state in states]
    assert {style.stall for style in styles} >= {"", "approach", "descend", "lift", "carry", "lower"}
    for fault in ("drop", "back", "early"):
        assert 2 <= sum(getattr(style, fault) > 0 for style in styles) <= 60, fault
    assert sum(np.abs(style.aim[:2]).max() > 0.02 for style in styles) > 10
    assert all(style.attempts == 1 for style in styles)


def test_an_expert_with_a_can_in_its_hand_carries_it_to_the_bin_and_lets_go():
    phases, grip, place = glide(ScriptedCan(seed=1), lambda gripper: 0.05 if gripper > 0 else 0.08, steps=135)
    order = list(dict.fromkeys(phases))
    assert order[:8] == ["approach", "descend", "close", "lift", "carry", "lower", "release", "retreat"]
    assert np.abs(grip - place)[:2].max() < 0.1


def test_an_expert_with_an_empty_hand_begins_again():
    phases, _, _ = glide(ScriptedCan(seed=1), lambda gripper: 0.0 if gripper > 0 else 0.08)
    assert phases.count("recover") > 1 and phases[phases.index("recover") :].count("descend") > 3


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="choose expert or weak"):
        ScriptedCan("clumsy")
    with pytest.raises(ValueError, match="need equal numbers"):
        ScriptedCan().act(np.zeros((2, 26), np.float32), np.zeros((1, 8), np.float32), ScriptedCan().initial_state(2))
