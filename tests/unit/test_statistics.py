"""The figures of a table are only as good as their intervals: known values, independent implementations, coverage."""

import numpy as np
import pytest

from robo_reward.evaluation.statistics import (
    bootstrap_interval,
    clopper_pearson,
    interquartile_mean,
    paired_difference_interval,
    performance_profile,
    wilson_interval,
)

COUNTS = [(0, 1), (1, 1), (0, 20), (20, 20), (3, 17), (50, 100), (88, 100), (199, 200)]


@pytest.mark.parametrize(("successes", "n"), COUNTS)
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_single_rate_intervals_agree_with_scipy(successes, n, confidence):
    stats = pytest.importorskip("scipy.stats")
    result = stats.binomtest(successes, n)
    for ours, method in ((wilson_interval, "wilson"), (clopper_pearson, "exact")):
        assert ours(successes, n, confidence) == pytest.approx(result.proportion_ci(confidence, method), abs=1e-9)


def test_wilson_interval_of_a_published_example():
    """Newcombe 1998 (Statistics in Medicine 17:857): 81 of 263."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_trials_needed_to_bound_an_error_rate_by_five_percent():
    assert clopper_pearson(0, 59, side="upper").high <= 0.05 < clopper_pearson(0, 58, side="upper").high
    assert clopper_pearson(1, 93, side="upper").high <= 0.05 < clopper_pearson(1, 92, side="upper").high
    assert clopper_pearson(0, 59, side="upper").low == 0.0


def outcomes(both, only_other, only_base, neither):
    other = [1] * (both + only_other) + [0] * (only_base + neither)
    base = [1] * both + [0] * only_other + [1] * only_base + [0] * neither
    return base, other


def test_paired_interval_of_a_published_example():
    """Newcombe 1998 (Statistics in Medicine 17:2635): 36, 12, 2 and 0 pairs, method 10."""
    assert paired_difference_interval(*outcomes(36, 12, 2, 0)) == pytest.approx((0.0569, 0.3404), abs=5e-5)


def test_swapping_the_policies_mirrors_the_paired_interval():
    base, other = outcomes(20, 55, 5, 20)
    low, high = paired_difference_interval(base, other)
    assert 0 < low < 0.5 < high
    assert paired_difference_interval(other, base) == pytest.approx((-high, -low))


def test_pairing_narrows_the_interval_when_the_policies_share_their_hard_states():
    narrow = paired_difference_interval(*outcomes(40, 10, 0, 50))
    wide = paired_difference_interval(*outcomes(20, 30, 20, 30))
    assert narrow.high - narrow.low < 0.7 * (wide.high - wide.low)


def test_equal_policies_give_an_interval_around_zero_even_without_any_success():
    for rate in (0, 1):
        low, high = paired_difference_interval([rate] * 50, [rate] * 50)
        assert low < 0 < high and high - low < 0.25


@pytest.mark.parametrize("rates", [(0.3, 0.9), (0.5, 0.5), (0.9, 0.97)])
def test_paired_interval_covers_the_true_difference_about_as_often_as_it_says(rates):
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(1000):
        # A difficulty shared by both policies makes the outcomes of one initial state correlate.
        difficulty = rng.random(100)
        mixed = [np.where(rng.random(100) < 0.5, difficulty, rng.random(100)) < rate for rate in rates]
        low, high = paired_difference_interval(*mixed)
        covered.append(low <= rates[1] - rates[0] <= high)
    assert 0.92 < np.mean(covered) <= 0.995


def test_interquartile_mean_ignores_the_outer_quarters():
    assert interquartile_mean([0, 1, 2, 3, 4, 5, 6, 100]) == pytest.approx(3.5)
    assert interquartile_mean([5.0]) == 5.0
    stats = pytest.importorskip("scipy.stats")
    for size in range(1, 20):
        values = np.random.default_rng(size).normal(size=size)
        assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))


def test_bootstrap_interval_is_reproducible_and_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    scores = np.random.default_rng(0).normal(0.8, 0.1, size=20)
    ours = bootstrap_interval(scores, np.mean, resamples=4000)
    assert ours == bootstrap_interval(scores, np.mean, resamples=4000)
    theirs = stats.bootstrap((scores,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(1))
    assert ours == pytest.approx(theirs.confidence_interval, abs=0.005)


def test_bootstrap_resamples_the_seeds_of_each_task_on_their_own():
    scores = np.array([[0.0, 10.0]] * 5)  # no spread within a task: nothing to be uncertain about
    assert bootstrap_interval(scores, np.mean) == (5.0, 5.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: wilson_interval(3, 2), "3 successes of 2"),
        (lambda: wilson_interval(0, 0), "0 successes of 0"),
        (lambda: clopper_pearson(-1, 5), "-1 successes of 5"),
        (lambda: clopper_pearson(1, 5, side="left"), "'left'"),
        (lambda: wilson_interval(1, 2, confidence=95), "95"),
        (lambda: paired_difference_interval([1, 0], [1]), "equal numbers"),
        (lambda: paired_difference_interval([], []), "non-empty"),
        (lambda: paired_difference_interval([0.5], [1]), "0 and 1"),
        (lambda: interquartile_mean([]), "at least one"),
        (lambda: bootstrap_interval([np.nan]), "finite"),
    ],
)
def test_values_outside_their_range_are_named_in_a_value_error(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_performance_profile_falls_from_all_to_none_within_its_band():
    profile = performance_profile([0.2, 0.5, 0.5, 0.9], [0.0, 0.2, 0.5, 0.9])
    np.testing.assert_allclose(profile[:, 0], [1.0, 0.75, 0.25, 0.0])
    assert np.all(profile[:, 1] <= profile[:, 0]) and np.all(profile[:, 0] <= profile[:, 2])
    assert profile[2, 1] < 0.25 < profile[2, 2]
    tasks = performance_profile([[0.1, 0.9], [0.1, 0.9]], [0.5])
    np.testing.assert_allclose(tasks, [[0.5, 0.5, 0.5]])  # seeds are drawn within their task
