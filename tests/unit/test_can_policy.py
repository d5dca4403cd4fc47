"""What is PickPlaceCan's own in its scripted policies: the order of an episode, beginning again, and many faults."""

from __future__ import annotations

import numpy as np

from robo_reward.policies.scripted_can import ScriptedCan


def glide(policy, gap_of, steps=180):
    """Phases and grip points of an episode whose hand goes where it is sent, 1.2 cm a step, and the bin's place.

    gap_of(gripper action) is the gap between the fingers.
    """
    can, place = np.array([0.6, -0.2, -0.05]), np.array([0.7, 0.5, -0.09])
    grip, gap, state, phases, path = np.array([0.46, 0.0, 0.1]), 0.08, policy.initial_state(1), [], []
    for _ in range(steps):
        agent_pos = np.zeros((1, 26), np.float32)
        agent_pos[0, 7:10], agent_pos[0, 14] = grip, gap
        estimate = np.array([[*(can - grip), 1, 0, *(place - can)]], np.float32)
        action, state = policy.act(agent_pos, estimate, state)
        grip, gap = grip + 0.012 * action[0, :3], gap_of(action[0, 4])
        phases.append(state[0].phase), path.append(grip)
    return phases, path, place


def test_weak_episodes_differ_in_what_goes_wrong():
    estimate = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    _, states = ScriptedCan("weak").act(np.zeros((200, 26), np.float32), estimate, ScriptedCan().initial_state(200))
    styles = [state.style for state in states]
    assert {style.stall for style in styles} >= {"", "approach", "descend", "lift", "carry", "lower"}
    for fault in ("drop", "back", "early"):
        assert 2 <= sum(getattr(style, fault) > 0 for style in styles) <= 60, fault
    assert sum(np.abs(style.aim[:2]).max() > 0.02 for style in styles) > 10
    assert all(style.attempts == 1 for style in styles)


def test_an_expert_with_a_can_in_its_hand_carries_it_to_the_bin_and_lets_go():
    phases, path, place = glide(ScriptedCan(seed=1), lambda gripper: 0.05 if gripper > 0 else 0.08, steps=135)
    order = list(dict.fromkeys(phases))
    assert order[:8] == ["approach", "descend", "close", "lift", "carry", "lower", "release", "retreat"]
    assert np.abs(path[phases.index("release")] - place)[:2].max() < 0.08  # within its bin


def test_an_expert_with_an_empty_hand_begins_again():
    phases, _, _ = glide(ScriptedCan(seed=1), lambda gripper: 0.0 if gripper > 0 else 0.08)
    assert phases.count("recover") > 1 and phases[phases.index("recover") :].count("descend") > 3
