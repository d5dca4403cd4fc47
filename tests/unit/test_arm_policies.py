"""The scripted policies of robosuite's tasks keep to the Policy interface: explicit state, bounded, repeatable."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from robo_reward.interfaces import Policy
from robo_reward.policies.scripted_can import ScriptedCan
from robo_reward.policies.scripted_door import ScriptedDoor
from robo_reward.policies.scripted_lift import ScriptedLift
from robo_reward.policies.scripted_nut import ScriptedNut
from robo_reward.policies.scripted_stack import ScriptedStack

SCRIPTS = {ScriptedLift: 5, ScriptedNut: 8, ScriptedCan: 8, ScriptedStack: 8, ScriptedDoor: 7}
"""Script -> numbers of its estimate."""


@pytest.fixture(params=SCRIPTS, ids=lambda script: script.task)
def script(request):
    return request.param


def observations(script, batch: int, steps: int = 30):
    rng = np.random.default_rng(0)
    agent_pos = rng.normal(scale=0.1, size=(steps, batch, 26)).astype(np.float32)
    agent_pos[..., 14] = rng.uniform(0.0, 0.08, (steps, batch))
    return agent_pos, rng.normal(scale=0.1, size=(steps, batch, SCRIPTS[script])).astype(np.float32)


def play(policy, agent_pos, estimate):
    state, actions = policy.initial_state(agent_pos.shape[1]), []
    for one_pos, one_estimate in zip(agent_pos, estimate, strict=True):
        action, state = policy.act(one_pos, one_estimate, state)
        actions.append(action)
    return np.array(actions)


@pytest.mark.parametrize("kind", ["expert", "weak"])
def test_actions_are_in_range_repeatable_and_independent_of_the_batch(script, kind):
    agent_pos, estimate = observations(script, 3)
    policy = script(kind, seed=4)
    assert isinstance(policy, Policy)
    actions = play(policy, agent_pos, estimate)
    assert actions.shape == (30, 3, 5) and actions.dtype == np.float32
    assert np.abs(actions).max() <= 1.0
    np.testing.assert_array_equal(actions, play(policy, agent_pos, estimate))
    np.testing.assert_array_equal(actions[:, 1:2], play(policy, agent_pos[:, 1:2], estimate[:, 1:2]))


def test_the_given_state_is_left_as_it_was(script):
    agent_pos, estimate = observations(script, 2)
    policy = script()
    _, state = policy.act(agent_pos[0], estimate[0], policy.initial_state(2))
    before = copy.deepcopy(state)
    first, _ = policy.act(agent_pos[1], estimate[1], state)
    second, _ = policy.act(agent_pos[1], estimate[1], state)
    assert state == before
    np.testing.assert_array_equal(first, second)


def test_seeds_and_episodes_vary_the_style(script):
    agent_pos, estimate = observations(script, 6, steps=1)
    styles = {
        state.style.speed
        for seed in (0, 1)
        for state in script(seed=seed).act(agent_pos[0], estimate[0], script().initial_state(6))[1]
    }
    assert len(styles) == 12


@pytest.mark.parametrize(
    "script,width", [(ScriptedLift, 0.041), (ScriptedNut, 0.032), (ScriptedCan, 0.05), (ScriptedStack, 0.041)]
)
def test_an_empty_hand_tries_again_and_a_full_one_lifts(script, width):
    policy = script(seed=0)
    for gap, phase in [(0.0, "recover"), (width, "lift")]:
        agent_pos, estimate = np.zeros((1, 26), np.float32), np.zeros((1, SCRIPTS[script]), np.float32)
        agent_pos[0, 14] = gap
        state, phases = policy.initial_state(1), []
        for _ in range(120):
            _, state = policy.act(agent_pos, estimate, state)
            phases.append(state[0].phase)
        assert phase in phases


def test_a_nut_that_is_held_askew_is_let_go_of():
    policy, agent_pos, estimate = ScriptedNut(seed=0), np.zeros((1, 26), np.float32), np.zeros((1, 8), np.float32)
    agent_pos[0, 14] = 0.06
    state, phases = policy.initial_state(1), []
    for _ in range(120):
        _, state = policy.act(agent_pos, estimate, state)
        phases.append(state[0].phase)
    assert "recover" in phases and "lift" not in phases


def test_the_weak_nut_policy_fails_in_every_way():
    estimate = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
    _, states = ScriptedNut("weak").act(np.zeros((100, 26), np.float32), estimate, ScriptedNut().initial_state(100))
    styles = [state.style for state in states]
    assert {style.flaw for style in styles} == {"", "approach", "descend", "lift", "carry", "lower"}
    assert {style.stall for style in styles} == {True, False}
    assert 5 < sum(style.turn != 0 for style in styles) < 40


def test_the_weak_stack_policy_fails_in_every_way():
    estimate = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    _, states = ScriptedStack("weak").act(np.zeros((200, 26), np.float32), estimate, ScriptedStack().initial_state(200))
    styles = [state.style for state in states]
    assert {style.stall for style in styles} == {"", "approach", "descend", "lift", "carry", "lower"}
    for fault in (
        lambda style: style.drop >= 0,
        lambda style: style.early > 0,
        lambda style: style.carry < 0,
        lambda style: np.hypot(*style.aim[:2]) > 0.02,
        lambda style: np.hypot(*style.place) > 0.02,
    ):
        assert 5 <= sum(map(fault, styles)) <= 60


def test_the_weak_door_policy_fails_in_every_way():
    estimate = np.random.default_rng(0).normal(size=(200, 7)).astype(np.float32)
    _, states = ScriptedDoor("weak").act(np.zeros((200, 26), np.float32), estimate, ScriptedDoor().initial_state(200))
    styles = [state.style for state in states]
    assert {style.stall for style in styles} == {"", "rise", "approach", "press", "pull"}
    for fault in (
        lambda style: style.leave >= 0,
        lambda style: style.beyond < 0,
        lambda style: style.beyond > 0.2,
        lambda style: style.aim[0] > 0.1,
        lambda style: style.aim[1] > 0.05,
    ):
        assert 5 <= sum(map(fault, styles)) <= 60


@pytest.mark.parametrize("green,across", [((0.07, 0.0), True), ((0.0, 0.07), False)])
def test_the_fingers_go_where_the_green_cube_leaves_room(green, across):
    """The hand opens along x; a green cube beside the red one in x makes it turn by a quarter."""
    agent_pos, estimate = np.zeros((1, 26), np.float32), np.zeros((1, 8), np.float32)
    agent_pos[0, 11] = 1.0  # the quaternion of a hand that points down
    estimate[0] = [0.1, 0.1, -0.1, 1.0, 0.0, *green, 0.0]
    action, _ = ScriptedStack(seed=0).act(agent_pos, estimate, ScriptedStack().initial_state(1))
    assert (abs(action[0, 3]) > 0.5) == across


def test_wrong_arguments_are_named(script):
    with pytest.raises(ValueError, match="choose expert or weak"):
        script("clumsy")
    with pytest.raises(ValueError, match="need equal numbers"):
        estimate = np.zeros((1, SCRIPTS[script]), np.float32)
        script().act(np.zeros((2, 26), np.float32), estimate, script().initial_state(2))
