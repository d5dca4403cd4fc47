"""Chunks: executed open loop or averaged, history and frames in the state, and answers that are no chunk refused."""

import numpy as np
import pytest

from robo_reward.policies.chunks import ChunkedPolicy, looked
from robo_reward.policies.simple import ZeroPolicy


class Clock:
    """Predicts, in every dimension, agent_pos[0] + 0.01 for each step ahead, and keeps what it was given."""

    def __init__(self, chunk=4, actions=2):
        self.chunk, self.actions, self.asked = chunk, actions, []

    def __call__(self, seen):
        self.asked.append(seen)
        first = np.array([episode[-1].agent_pos[0] for episode in seen])
        ahead = first[:, None] + 0.01 * np.arange(self.chunk)
        return np.repeat(ahead[..., None], self.actions, 2).astype(np.float32)


def run(policy, values, infos=None):
    state, actions = policy.initial_state(1), []
    for step, value in enumerate(values):
        state = looked(policy, state, infos[step] if infos else {})
        action, state = policy.act(np.full((1, 3), value, np.float32), np.zeros((1, 1), np.float32), state)
        actions.append(action[0])
    return np.array(actions)


def test_open_loop_uses_a_chunk_up_before_the_next():
    predict = Clock()
    actions = run(ChunkedPolicy(predict, "clock", 4, 2), [0.1, 0.9, 0.9, 0.9, 0.5])
    np.testing.assert_allclose(actions[:, 0], [0.10, 0.11, 0.12, 0.13, 0.5], atol=1e-6)
    assert len(predict.asked) == 2


@pytest.mark.parametrize("coefficient", [0.0, 0.5, -0.5])
def test_ensembling_averages_what_all_chunks_foresaw_for_this_step(coefficient):
    """Against the definition: weights exp(-c i), i = 0 the oldest chunk that reaches this step."""
    values = [0.1, 0.3, 0.2, 0.5, 0.4, 0.0]
    actions = run(ChunkedPolicy(Clock(), "clock", 4, 2, ensemble=coefficient), values)
    for step in range(len(values)):
        asked = range(max(0, step - 3), step + 1)
        foreseen = np.array([values[at] + 0.01 * (step - at) for at in asked])
        weights = np.exp(-coefficient * np.arange(len(foreseen)))
        np.testing.assert_allclose(actions[step], (weights * foreseen).sum() / weights.sum(), atol=1e-6)


def test_the_phase_tells_the_step_of_the_chunk():
    policy = ChunkedPolicy(Clock(3), "clock", 3, 2)
    state, phases = policy.initial_state(1), []
    for _ in range(4):
        phases.append(policy.phase(state)[0].tolist())
        _, state = policy.act(np.zeros((1, 3), np.float32), np.zeros((1, 1), np.float32), state)
    assert phases == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert ChunkedPolicy(Clock(), "clock", 4, 2, ensemble=0.0).phase(state).shape == (1, 0)


def test_a_policy_is_given_the_newest_observations_of_its_own_episode():
    predict = Clock(chunk=1)
    policy = ChunkedPolicy(predict, "clock", 1, 2, observations=3)
    run(policy, [0.1, 0.2, 0.3, 0.4])
    run(policy, [0.7])
    given = [[float(seen.agent_pos[0]) for seen in episodes[0]] for episodes in predict.asked]
    np.testing.assert_allclose(
        given, [[0.1, 0.1, 0.1], [0.1, 0.1, 0.2], [0.1, 0.2, 0.3], [0.2, 0.3, 0.4], [0.7, 0.7, 0.7]], atol=1e-6
    )


def test_a_state_is_never_changed():
    policy = ChunkedPolicy(Clock(), "clock", 4, 2, observations=2)
    arguments = np.full((2, 3), 0.2, np.float32), np.zeros((2, 1), np.float32)
    _, state = policy.act(*arguments, policy.initial_state(2))
    first, _ = policy.act(*arguments, state)
    again, _ = policy.act(*arguments, state)
    np.testing.assert_array_equal(again, first)


def test_frames_and_instruction_come_with_the_step():
    predict = Clock(chunk=2)
    policy = ChunkedPolicy(predict, "clock", 2, 2, views=("front",))
    frames = [np.full((4, 4, 3), step, np.uint8) for step in range(3)]
    infos = [{"views": {"front": f, "side": f + 9}, "instruction": f"step {i}"} for i, f in enumerate(frames)]
    run(policy, [0.1, 0.2, 0.3], infos)
    looks = [episodes[0][-1].look for episodes in predict.asked]
    assert [look.instruction for look in looks] == ["step 0", "step 2"]
    assert all(set(look.views) == {"front"} for look in looks)
    np.testing.assert_array_equal(looks[1].views["front"], frames[2])
    with pytest.raises(ValueError, match=r"camera 'front', which is not there: \['side'\]"):
        run(policy, [0.1], [{"views": {"side": frames[0]}, "instruction": ""}])


def test_a_policy_that_does_not_look_is_left_alone():
    zero = ZeroPolicy(2)
    state = zero.initial_state(1)
    assert looked(zero, state, {"views": {}}) is state


@pytest.mark.parametrize(
    ("chunk", "says"),
    [
        (np.zeros((1, 3, 2)), r"shape \(3, 2\), expected \(4, 2\)"),
        (np.zeros((1, 4, 7)), r"shape \(4, 7\), expected \(4, 2\)"),
        (np.zeros((4, 2)), r"shape \(2,\), expected \(4, 2\)"),
        (np.full((1, 4, 2), np.nan), "not finite"),
        (np.full((1, 4, 2), 30.0), r"action of 30, where \[-1, 1\] is the range.*base\.action_scale"),
    ],
)
def test_what_is_no_chunk_of_actions_is_refused_in_one_line(chunk, says):
    policy = ChunkedPolicy(lambda seen: chunk, "broken", 4, 2, limit=2.0)
    with pytest.raises(ValueError, match=says) as error:
        run(policy, [0.1])
    assert "\n" not in str(error.value)


def test_a_longer_chunk_is_cut_and_scaled_actions_are_clipped():
    policy = ChunkedPolicy(lambda seen: np.full((1, 9, 2), 30.0), "millimetres", 4, 2, limit=2.0, scale=(0.01, 0.05))
    np.testing.assert_allclose(run(policy, [0.1] * 5), np.tile(np.float32([0.3, 1.0]), (5, 1)))
    with pytest.raises(ValueError, match=r"base\.action_scale has 3 factors: give one for each of 2 actions"):
        ChunkedPolicy(Clock(), "clock", 4, 2, scale=(1.0, 1.0, 1.0))
