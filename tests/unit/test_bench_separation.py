"""Statistics of episode scores, worked out by hand, and over draws against the same statistic of repeated episodes."""

from __future__ import annotations

import numpy as np
import pytest

from robo_reward.progress.bench import resampling, separation

ONCE = np.ones((1, 4))
SCORE = np.array([0.9, 0.5, 0.5, 0.1])
OUTCOME = np.array([2, 1, 0, 0])
DONE = np.array([True, True, False, False])


def test_tau_b_takes_ties_out_on_both_sides():
    # Six pairs: one tied in outcome, one in score; the other four agree: 4 / sqrt(5 * 5).
    assert separation.kendall_tau_b(ONCE, SCORE, OUTCOME) == pytest.approx([0.8])
    assert separation.kendall_tau_b(ONCE, -SCORE, OUTCOME) == pytest.approx([-0.8])
    assert np.isnan(separation.kendall_tau_b(ONCE, np.ones(4), OUTCOME)[0]), "a constant has no order"


def test_pairs_of_unequal_outcome_with_ties_as_a_half():
    # Of the five unequal pairs four are right and one is tied.
    assert separation.pair_accuracy(ONCE, SCORE, OUTCOME) == pytest.approx([0.9])
    assert np.isnan(separation.pair_accuracy(ONCE, SCORE, np.zeros(4, int))[0])


def test_d_prime():
    # Means 0.7 and 0.3, both with a standard deviation of 0.2.
    assert separation.d_prime(ONCE, SCORE, DONE) == pytest.approx([2.0])
    assert np.isnan(separation.d_prime(ONCE, np.ones(4), DONE)[0])


def test_false_positives_where_95_percent_of_successes_pass():
    # Both successes have to pass, so the threshold is 0.5, and so is one failure.
    assert separation.false_positives_at(ONCE, SCORE, DONE) == pytest.approx([0.5])
    assert separation.false_positives_at(ONCE, np.array([0.9, 0.8, 0.7, 0.1]), DONE) == pytest.approx([0.0])
    assert separation.false_positives_at(ONCE, SCORE, DONE, recall=0.5) == pytest.approx([0.0])
    assert separation.false_positives_at(ONCE, np.ones(4), DONE) == pytest.approx([1.0]), "a constant passes all"


def test_twenty_successes_may_lose_one():
    score = np.append(np.linspace(0.4, 0.9, 20), [0.41, 0.3])
    found = separation.false_positives_at(np.ones((1, 22)), score, np.arange(22) < 20)
    assert found == pytest.approx([0.0]), "the weakest success is given up"


def test_platt_recovers_the_logistic_that_made_the_outcomes():
    rng = np.random.default_rng(0)
    score = rng.random(20_000)
    done = rng.random(20_000) < 1 / (1 + np.exp(-(6 * score - 2)))
    assert separation.platt(score, done) == pytest.approx((6, -2), abs=0.25)
    flat = separation.platt(np.full(30, 0.5), np.arange(30) < 10)
    assert separation.probability(np.array([0.5]), flat) == pytest.approx([1 / 3], abs=0.02), "the share of successes"
    apart = separation.platt(np.array([0.9] * 10 + [0.1] * 20), np.arange(30) < 10)
    assert np.isfinite(apart).all(), "outcomes that are told apart perfectly still have a finite fit"
    # Platt's targets: 11 / 12 and 1 / 22.
    assert separation.probability(np.array([0.9, 0.1]), apart) == pytest.approx([11 / 12, 1 / 22], abs=1e-4)


def test_brier_and_calibration_error():
    chance = np.array([0.9, 0.7, 0.72, 0.1])
    assert separation.brier(chance, DONE) == pytest.approx([0.01, 0.09, 0.5184, 0.01])
    # The bins of 0.7 hold one success and one failure: |0.7 + 0.72 - 1|; then |0.9 - 1| and |0.1 - 0|, over 4 episodes.
    assert separation.calibration_error(ONCE, chance, DONE) == pytest.approx([(0.42 + 0.1 + 0.1) / 4])
    assert separation.calibration_error(ONCE, np.ones(4), DONE) == pytest.approx([0.5]), (
        "certain, and wrong half the time"
    )


@pytest.mark.parametrize("seed", range(4))
def test_all_draws_at_once_equal_the_drawn_episodes_repeated(seed):
    rng = np.random.default_rng(seed)
    score, outcome = rng.integers(0, 5, 9) / 4, np.sort(rng.integers(0, 3, 9))
    outcome[-2:] = 2
    done, chance = outcome == 2, rng.random(9)
    counts = resampling.draw_counts(9, 20, seed)
    for d, count in enumerate(counts):
        i = np.repeat(np.arange(9), count.astype(int))
        once = np.ones((1, len(i)))
        if done[i].all() or not done[i].any():
            continue
        flags = done[i]
        pairs = [
            (separation.kendall_tau_b(counts, score, outcome), separation.kendall_tau_b(once, score[i], outcome[i])),
            (separation.pair_accuracy(counts, score, outcome), separation.pair_accuracy(once, score[i], outcome[i])),
            (separation.d_prime(counts, score, done), separation.d_prime(once, score[i], flags)),
            (separation.false_positives_at(counts, score, done), separation.false_positives_at(once, score[i], flags)),
            (separation.calibration_error(counts, chance, done),
             separation.calibration_error(once, chance[i], flags)),
        ]  # fmt: skip
        for all_draws, one in pairs:
            assert all_draws[d] == pytest.approx(one[0], nan_ok=True)
