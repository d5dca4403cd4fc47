"""The scripted PegInsertLong policies keep to the Policy interface, and the weak one fails in every way."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from robo_reward.interfaces import Policy
from robo_reward.policies.scripted_peg_long import ScriptedPegLong


def observations(batch, steps=40):
    rng = np.random.default_rng(0)
    agent_pos = rng.normal(scale=0.1, size=(steps, batch, 31)).astype(np.float32)
    agent_pos[..., 25] = rng.uniform(0.0, 0.035, (steps, batch))
    return agent_pos, rng.normal(scale=0.1, size=(steps, batch, 17)).astype(np.float32)


def play(policy, agent_pos, estimate):
    state, actions = policy.initial_state(agent_pos.shape[1]), []
    for one_pos, one_estimate in zip(agent_pos, estimate, strict=True):
        action, state = policy.act(one_pos, one_estimate, state)
        actions.append(action)
    return np.array(actions)


@pytest.mark.parametrize("kind", ["expert", "weak"])
def test_actions_are_in_range_and_repeatable(kind):
    agent_pos, estimate = observations(3)
    assert isinstance(ScriptedPegLong(kind), Policy)
    actions = play(ScriptedPegLong(kind, seed=4), agent_pos, estimate)
    assert actions.shape == (40, 3, 5) and actions.dtype == np.float32 and np.abs(actions).max() <= 1
    np.testing.assert_array_equal(actions, play(ScriptedPegLong(kind, seed=4), agent_pos, estimate))
    assert not np.array_equal(actions, play(ScriptedPegLong(kind, seed=5), agent_pos, estimate))


@pytest.mark.parametrize("opening,grip", [(0.010, 1.0), (0.035, -1.0)])
def test_a_hand_that_holds_the_peg_is_taken_over_without_dropping_it(opening, grip):
    policy, agent_pos, estimate = ScriptedPegLong(), np.zeros((1, 31), np.float32), np.zeros((1, 17), np.float32)
    agent_pos[0, 25] = opening
    action, _ = policy.act(agent_pos, estimate, policy.initial_state(1))
    assert action[0, 4] == grip


@pytest.mark.parametrize("opening,phase", [(0.0, "open"), (0.020, "insert")])
def test_an_empty_hand_tries_again_and_a_full_one_lifts(opening, phase):
    policy, phases = ScriptedPegLong(seed=0), []
    agent_pos, estimate = np.zeros((1, 31), np.float32), np.zeros((1, 17), np.float32)
    agent_pos[0, 25] = opening
    state = policy.initial_state(1)
    for _ in range(140):
        _, state = policy.act(agent_pos, estimate, state)
        phases.append(state[0].phase)
    assert phase in phases and phases.index("close") < phases.index(phase)


def test_the_weak_policy_fails_in_every_way():
    memories = ScriptedPegLong("weak").initial_state(200)
    styles = [memory.style for memory in memories]
    assert {style.stall for style in styles} == {"", "approach", "descend", "lift", "insert"}
    for fault in (
        lambda memory: np.hypot(*memory.style.aim) > 0.015,
        lambda memory: memory.style.depth > 0.02,
        lambda memory: memory.style.drop >= 0,
        lambda memory: memory.style.clear < 0,
        lambda memory: memory.peg.style.wrong_socket or not memory.peg.style.feels,
    ):
        assert 8 <= sum(map(fault, memories)) <= 60


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="choose expert or weak"):
        ScriptedPegLong("clumsy")
