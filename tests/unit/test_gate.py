"""The action gate: what an arm is told never leaves the workspace and never asks for more than one action's force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robo_reward.safety.gate import GateLimits, check_action, gate_target

LIMITS = GateLimits(
    step=np.array([0.01, 0.01, 0.01, 0.08, 0.08, 0.08]),
    low=np.array([0.35, -0.25, 0.0, -0.4, -0.4, -0.6]),
    high=np.array([0.65, 0.25, 0.25, 0.4, 0.4, 0.6]),
)
ACTIONS = arrays(float, 6, elements=st.floats(-1, 1))
ANYWHERE = arrays(float, 6, elements=st.floats(-1, 1))


@settings(deadline=None)
@given(measured=ANYWHERE, action=ACTIONS)
def test_the_target_is_within_one_step_and_the_executed_action_says_where(measured, action):
    target, executed, cut = gate_target(measured, action, LIMITS)
    assert np.all(np.abs(target - measured) <= LIMITS.step + 1e-12)
    np.testing.assert_allclose(measured + executed * LIMITS.step, target, atol=1e-12)
    np.testing.assert_allclose(executed[~cut], action[~cut], atol=1e-6)
    assert np.abs(executed).max() <= 1


@settings(deadline=None)
@given(share=arrays(float, 6, elements=st.floats(0, 1)), action=ACTIONS)
def test_from_inside_the_workspace_no_target_lies_outside(share, action):
    measured = LIMITS.low + share * (LIMITS.high - LIMITS.low)
    target, _, cut = gate_target(measured, action, LIMITS)
    assert np.all(target >= LIMITS.low - 1e-12) and np.all(target <= LIMITS.high + 1e-12)
    asked = measured + action * LIMITS.step
    assert np.all(cut[(asked < LIMITS.low - 1e-8) | (asked > LIMITS.high + 1e-8)])


def test_an_arm_that_was_pushed_out_is_led_back_and_an_action_further_out_is_refused():
    measured = np.array([0.5, 0.0, -0.05, 0.0, 0.0, 0.0])  # 5 cm below the floor of the workspace
    outwards = np.array([0.0, 0.0, -1.0, 0.0, 0.0, 0.0])
    steps = 0
    while measured[2] < LIMITS.low[2]:
        measured, executed, cut = gate_target(measured, outwards, LIMITS)  # an arm that goes where it is told
        assert executed[2] > 0 and cut[2] and not cut[:2].any()
        steps += 1
    assert steps == 5


@pytest.mark.parametrize(
    "action,words",
    [
        (np.zeros(3), "shape (3,), expected (4,)"),
        (np.zeros((1, 4)), "shape (1, 4)"),
        (np.array([0, np.nan, 0, 0]), "not finite"),
        (np.array([0, 0, -np.inf, 0]), "not finite"),
        (np.array([0, 0, 0, 1.001]), "outside [-1, 1]"),
    ],
)
def test_a_bad_action_is_refused_in_one_line(action, words):
    with pytest.raises(ValueError) as error:
        check_action(action, 4)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_float32_rounding_at_the_border_is_no_error_and_is_clipped():
    checked = check_action(np.float32([1.0000001, -1, 0.5, 0]), 4)
    assert checked.dtype == np.float64 and checked.max() == 1.0
