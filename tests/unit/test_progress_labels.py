"""Potentials from keyframes and outcomes: equal mass per stage, intervals where keyframes do not decide."""

from __future__ import annotations

import numpy as np
import pytest

from robo_reward.progress.labels import (
    keyframes_from_stages,
    labels_from_keyframes,
    labels_from_stages,
    potentials_from_keyframes,
)


def test_every_stage_carries_the_same_mass_however_long_it_takes():
    phi = potentials_from_keyframes([0, 10, 12, 40, 50], 51)
    assert phi[[0, 10, 12, 40, 50]] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert phi[5] == pytest.approx(0.125) and phi[26] == pytest.approx(0.625)


def test_a_failure_is_held_at_the_last_stage_it_reached():
    phi = potentials_from_keyframes([0, 10, 20], 61, stages=4)
    assert phi[20] == phi[60] == pytest.approx(0.5)


@pytest.mark.parametrize("keyframes", [[0, 10, 99], [-1, 5], [0, 30, 20], []])
def test_keyframes_outside_the_episode_or_out_of_order_are_refused(keyframes):
    with pytest.raises(ValueError, match="keyframes"):
        potentials_from_keyframes(keyframes, 50)


def test_keyframes_are_the_first_time_each_stage_was_reached():
    assert keyframes_from_stages(np.array([0, 0, 1, 0, 1, 3, 3, 4])) == (0, 2, 5, 5, 7)


def test_a_straight_success_has_exact_labels_equal_to_its_keyframes():
    stage = np.repeat([0, 1, 2, 3, 4], [5, 4, 3, 6, 1])
    labels = labels_from_stages(stage, 4)
    assert np.array_equal(labels.low, labels.high)
    assert labels.phi == pytest.approx(potentials_from_keyframes(keyframes_from_stages(stage), len(stage)))


def test_a_regression_lowers_the_label_and_an_excursion_is_an_interval():
    stage = np.array([0, 0, 1, 1, 2, 2, 1, 1, 0, 0, 0])
    labels = labels_from_stages(stage, 4)
    assert labels.phi[8] < labels.phi[4] and labels.high[8] <= 0.25 + 1e-6
    excursion = stage == 2  # entered from below, left downwards: how far it got nobody knows
    assert np.all(labels.low[excursion] == 0.5) and np.all(labels.high[excursion] == 0.75)
    falling = stage == 1
    assert np.all(np.diff(labels.phi[falling][2:]) < 0), "between two crossings on the way down it is linear"


def test_the_unfinished_stage_of_a_failure_is_an_interval():
    labels = labels_from_stages(np.array([0, 0, 1, 1, 1, 1]), 4)
    assert np.all(labels.low[3:] == 0.25) and np.all(labels.high[3:] == 0.5)
    assert np.all((labels.low <= labels.phi) & (labels.phi <= labels.high))


def test_a_persons_keyframes_and_the_outcome_bound_a_failure():
    labels = labels_from_keyframes([0, 4, 8], 13, stages=4, success=False)
    assert labels.low[12] == 0.5 and labels.high[12] == 0.75 and labels.low[6] == labels.high[6]
    with pytest.raises(ValueError, match="failed episode"):
        labels_from_keyframes([0, 4, 8], 13, stages=2, success=False)


def test_a_success_is_whole_at_its_last_keyframe_however_many_there_are():
    for keyframes in ((0, 12), (0, 3, 12), (0, 2, 4, 6, 9, 12)):
        labels = labels_from_keyframes(keyframes, 13, stages=4, success=True)
        assert labels.phi[12] == 1 and np.array_equal(labels.low, labels.high)
        assert labels.phi[list(keyframes)] == pytest.approx(np.linspace(0, 1, len(keyframes)))
