"""Failures by the shape of their progress curve."""

import numpy as np
import pytest

from robo_reward.evaluation.taxonomy import counted, outcome_of

TIME = np.linspace(0, 1, 121)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (0.2 * TIME, "never approached"),
        (np.where(TIME < 0.5, 1.2 * TIME, 0.3), "dropped"),
        (np.minimum(TIME, 0.55), "stalled at stage 3"),
        (np.minimum(2 * TIME, 0.99), "stalled at stage 4"),
        (0.9 * TIME, "timed out"),
        (np.minimum(TIME, 0.55) + 0.01 * np.sin(60 * TIME), "stalled at stage 3"),
    ],
)
def test_each_shape_has_its_class(curve, expected):
    assert outcome_of(curve, False, 4) == expected


def test_success_and_a_robots_fault_do_not_depend_on_the_curve():
    assert outcome_of(0.2 * TIME, True, 4) == "success"
    assert outcome_of(0.2 * TIME, False, 4, fault=True) == "fault"


def test_a_drop_that_is_made_good_is_none():
    assert outcome_of(np.where(abs(TIME - 0.5) < 0.1, 0.1, 0.9 * TIME), False, 4) == "timed out"


def test_a_curve_with_gaps_is_refused():
    with pytest.raises(ValueError, match="expected finite values"):
        outcome_of([0.1, np.nan], False, 4)
    with pytest.raises(ValueError, match="with 0 stages"):
        outcome_of([0.1], False, 0)


def test_successes_come_first_then_the_most_frequent_failures():
    assert list(counted(["dropped", "timed out", "timed out", "success"])) == ["success", "timed out", "dropped"]
