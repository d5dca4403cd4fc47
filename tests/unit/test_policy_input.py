"""What a policy sees is finite, or the run stops with the name of the broken value."""

from __future__ import annotations

import numpy as np
import pytest

from robo_reward.policies.inputs import policy_input


def test_the_chosen_columns_come_in_their_order():
    inputs = policy_input(np.arange(6.0).reshape(2, 3), np.full((2, 1), 9.0), columns=(3, 0))
    assert inputs.dtype == np.float32 and inputs.tolist() == [[9, 0], [9, 3]]


@pytest.mark.parametrize(
    ("agent_pos", "estimate", "columns", "words"),
    [
        ([[0, 1], [0, np.inf]], [[0], [0]], None, r"agent_pos\[1\] is inf"),
        ([[0, 1], [0, 1]], [[0], [-np.inf]], None, r"estimate\[0\] is -inf"),
        ([[0, np.nan]], [[0]], (0, 1), r"agent_pos\[1\] is nan"),
        ([[0, 0]], [[1e39]], (2, 0), r"estimate\[0\] is inf"),  # beyond float32
    ],
)
def test_a_value_that_is_not_finite_is_named(agent_pos, estimate, columns, words):
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=words):
        policy_input(np.array(agent_pos, float), np.array(estimate, float), columns)


def test_one_observation_without_a_batch_is_checked_too():
    with pytest.raises(ValueError, match=r"estimate\[1\]"):
        policy_input(np.zeros(3), np.array([0, np.nan]))


def test_a_broken_value_that_the_policy_does_not_see_does_not_stop_it():
    assert policy_input(np.array([np.nan, 2.0]), np.zeros(0), columns=(1,)).tolist() == [2]
