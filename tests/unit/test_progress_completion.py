"""Completion: sustained, agreeing, with a bound on false successes that is stated and not assumed."""

from __future__ import annotations

import numpy as np
import pytest

from robo_reward.progress.completion import CompletionRule, calibrate, clopper_pearson_upper, sustained_maximum


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
    assert found.recall == 1.0 and found.false_success_rate == 0.0
    assert found.bound_met and found.false_success_bound < 0.05 and 0.8 < found.rule.threshold < 0.97
    few = calibrate(done, failed[:10])
    assert not few.bound_met and few.false_success_bound == pytest.approx(0.2589, abs=1e-3)


def test_hopeless_scores_are_not_passed_off_as_calibrated():
    scores = [[0.5, 0.6]] * 80
    found = calibrate(scores, scores)
    assert found.recall == 0.0 or not found.bound_met
