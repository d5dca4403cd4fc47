"""Completion: sustained, agreeing, with a bound on false successes that is stated and not assumed."""

from __future__ import annotations

import numpy as np
import pytest

from robo_reward.progress.completion import (
    CompletionRule,
    CompletionTarget,
    calibrate,
    clopper_pearson_upper,
    outcome,
    sustained_maximum,
    verdict,
)


def test_the_published_bounds():
    assert clopper_pearson_upper(0, 59) == pytest.approx(0.0495, abs=1e-4)
    assert clopper_pearson_upper(1, 93) == pytest.approx(0.0500, abs=1e-4)
    assert clopper_pearson_upper(0, 0) == 1.0


def test_one_high_answer_is_not_completion():
    rule = CompletionRule(0.9, sustain=2)
    assert not rule.completed([0.2, 0.95])
    assert not rule.completed([0.95, 0.2, 0.95])
    assert rule.completed([0.2, 0.95, 0.91])


def test_a_spike_counts_only_as_long_as_it_lasts():
    assert sustained_maximum([0.1, 0.99, 0.3, 0.4], 2) == pytest.approx(0.4)
    assert sustained_maximum([0.1, 0.9], 2) == pytest.approx(0.9), "the world stops at its last frame"


def test_calibration_states_its_bound_and_whether_it_is_met():
    rng = np.random.default_rng(0)
    done = [np.append(rng.uniform(0, 0.9, 10), [0.97, 0.98]) for _ in range(40)]
    failed = [rng.uniform(0, 0.8, 20) for _ in range(70)]
    found = calibrate(done, failed)
    assert found.recall == 1.0 and found.false_successes == 0
    assert found.bound_met and found.false_success_bound < 0.05 and 0.8 < found.rule.threshold < 0.97
    few = calibrate(done, failed[:10])
    assert not few.bound_met and few.false_success_bound == pytest.approx(0.2589, abs=1e-3)


def test_hopeless_scores_are_not_passed_off_as_calibrated():
    scores = [[0.5, 0.6]] * 80
    found = calibrate(scores, scores)
    assert found.recall == 0.0 or not found.bound_met


def test_a_hundred_failures_buy_one_error_and_its_bound_is_told():
    failed = [[0.1, 0.95, 0.95]] + [[0.1, 0.3, 0.3]] * 99
    found = calibrate([[0.2, 0.9, 0.9]] * 50, failed)
    assert found.false_successes == 1 and found.recall == 1.0 and found.rule.threshold == pytest.approx(0.6)
    assert found.bound_met and found.false_success_bound == pytest.approx(clopper_pearson_upper(1, 100))
    assert (found.failures, found.successes) == (100, 50)


def test_the_bound_is_that_of_the_errors_it_allowed_itself():
    """The threshold lies above every failure here, but it was chosen on them: one error was allowed."""
    found = calibrate([[0.2, 0.9, 0.9]], [[0.1, 0.2, 0.2]] * 100)
    assert found.false_successes == 0 and found.false_success_bound == pytest.approx(clopper_pearson_upper(1, 100))


def test_failures_that_no_threshold_keeps_out_are_in_the_bound():
    found = calibrate([[0.9, 1.0, 1.0]] * 50, [[0.2, 1.0, 1.0]] * 20 + [[0.1, 0.3, 0.3]] * 80)
    assert found.rule.threshold == 1.0 and found.false_successes == 20 and not found.bound_met
    assert found.false_success_bound == pytest.approx(clopper_pearson_upper(20, 100))


def test_the_target_decides_how_many_errors_are_allowed():
    failed, done = [[0.5 + i / 250] * 2 for i in range(100)], [[0.86] * 2, [0.95] * 2]
    strict, lax = (calibrate(done, failed, 2, CompletionTarget(bound, 0.95)) for bound in (0.03, 0.2))
    assert strict.false_successes == 0 and strict.bound_met
    assert lax.false_successes > 3 and lax.bound_met and lax.rule.threshold < strict.rule.threshold
    with pytest.raises(ValueError, match=r"completion\.confidence=1"):
        CompletionTarget(0.05, 1)


def test_three_verdicts():
    rule = CompletionRule(0.8, sustain=2)
    assert verdict([0.1, 0.9, 0.9], 0.9, rule) == "success"
    assert verdict([0.1, 0.2, 0.9], 0.9, rule) == "success", "the world stops at its last frame"
    assert verdict([0.9, 0.9, 0.7], 0.7, rule) == "partial", "done, and undone again"
    assert verdict([0.1, 0.1, 0.1], 0.5, rule) == "partial"
    assert verdict([0.9, 0.9, 0.1], 0.4, rule) == "failure"
    assert (outcome(True, 0.2), outcome(False, 0.6), outcome(False, 0.4)) == ("success", "partial", "failure")


def test_a_rule_has_fired_when_it_held_once():
    rule = CompletionRule(0.8, sustain=2)
    assert rule.fired([0.9, 0.9, 0.1]) and rule.fired([0.1, 0.9]) and not rule.fired([0.9, 0.1, 0.1])
