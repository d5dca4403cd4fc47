"""The sequential test: its error by simulation, its power for a lab's question, what it refuses."""

import numpy as np
import pytest

from robo_reward.evaluation.sequential import BETTER, UNDECIDED, WORSE, decide, design, plan, power


def share_called(verdict, trials, first, second, both, pairs, looks, error=0.05):
    """Share of simulated experiments in which the second policy is called `verdict`."""
    rng, test = np.random.default_rng(0), design(pairs, looks, error)
    draws = rng.random((trials, pairs))
    a = draws < first  # both succeed below `both`, only the second right after the first's own successes
    b = (draws < both) | ((draws >= first) & (draws < first + second - both))
    return np.mean([decide(x, y, test).verdict == verdict for x, y in zip(a, b, strict=True)])


@pytest.mark.parametrize(("rate", "both"), [(0.5, 0.25), (0.8, 0.64), (0.9, 0.85), (0.5, 0.0)])
def test_equal_policies_are_told_apart_no_more_often_than_the_error(rate, both):
    """Four looks at the 5 % level without a correction would err in about 12 %."""
    for verdict in (BETTER, WORSE):
        found = share_called(verdict, 2000, rate, rate, both, 60, 4)
        assert found <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 2000)


def test_it_tells_80_from_95_percent_in_at_most_60_pairs():
    test = plan(0.8, 0.95)
    assert test.looks[-1] <= 60
    found, expected = power(test, 0.8, 0.95)
    assert found >= 0.8 and expected < 0.9 * test.looks[-1]
    simulated = share_called(BETTER, 2000, 0.8, 0.95, 0.8 * 0.95, test.looks[-1], len(test.looks))
    assert simulated == pytest.approx(found, abs=0.03)


def test_policies_that_fail_on_the_same_states_take_fewer_pairs():
    test = design(60, 4)
    assert power(test, 0.8, 0.95, both=0.79)[0] > power(test, 0.8, 0.95)[0] + 0.1


def test_a_clear_difference_ends_it_early_and_its_interval_leaves_out_zero():
    test = design(60, 4)
    found = decide([False] * 30, [True] * 30, test)
    assert (found.verdict, found.pairs, found.done) == (BETTER, 15, True) and found.difference.low > 0
    assert decide([True] * 30, [False] * 30, test).verdict == WORSE
    even = decide([True] * 60, [True] * 60, test)
    assert (even.verdict, even.pairs, even.done) == (UNDECIDED, 60, True)
    assert not decide([True] * 59, [True] * 59, test).done


def test_verdict_and_interval_agree_at_every_look():
    rng, test = np.random.default_rng(1), design(40, 5)
    for _ in range(200):
        a, b = rng.random((2, 40)) < [[0.6], [0.75]]
        found = decide(a, b, test)
        assert (found.difference.low > 0 or found.difference.high < 0) == (found.verdict != UNDECIDED)


def test_an_outcome_that_attains_the_critical_value_is_decided():
    first, second = [True] * 7 + [False] * 52, [False] * 44 + [True] * 15
    found = decide(first, second, design(59, 4))
    assert (found.verdict, found.pairs) == (BETTER, 59) and found.difference.low > 0
    assert decide(second, first, design(59, 4)).verdict == WORSE
    assert decide(first, [*second[:-1], False], design(59, 4)).verdict == UNDECIDED, "a win fewer"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: design(0), "0 pairs; allowed: 1 to 200"),
        (lambda: design(10, 11), "11 looks at 10 pairs"),
        (lambda: design(10, 1, 0.6), "error is 0.6"),
        (lambda: plan(0.9, 0.8), "0 <= first < second <= 1"),
        (lambda: plan(0.8, 0.81), "to tell 80% from 81% takes more than 200 pairs"),
        (lambda: power(design(10), 0.2, 0.3, both=0.5), "no such pair exists"),
        (lambda: decide([True], [], design(10)), "1 and 0 outcomes"),
    ],
)
def test_what_it_refuses(call, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        call()
