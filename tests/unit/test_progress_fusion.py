"""Fusion: the paper's formulas where they are right, the mended ones where they are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from robo_reward.progress.fusion import (
    FUSIONS,
    FusionState,
    Perspectives,
    average,
    backward_value,
    consistency,
    forward_value,
    fusion,
    initial_state,
    kalman,
)

START = FusionState(0.4, 0.01)
FUSED = ["average", "consistency", "kalman"]


def test_average_is_a_third_each():
    # I = .4 + .6 * .5 = .7; F = .5; B = 1 - .4 = .6
    assert average(START, Perspectives(0.5, 0.5, -0.4)).phi == pytest.approx(0.6)


def test_forward_and_backward_stay_within_the_unit_interval():
    p = Perspectives(0.0, -0.3, 0.4)
    assert forward_value(p) == 0.0 and backward_value(p) == 1.0


def test_disagreeing_references_do_not_freeze_the_increment():
    moved = consistency(START, Perspectives(0.5, 0.0, -0.0))
    assert moved.phi == pytest.approx(0.7, abs=1e-3)


def test_a_small_mismatch_near_zero_is_still_trusted():
    # The published rule divides by the mean, .02, and gets w = exp(-20) here.
    moved = consistency(FusionState(0.4, 0.01), Perspectives(0.0, 0.01, -0.97))
    assert moved.phi < 0.25


def test_kalman_with_equal_variances_lies_between_the_perspectives_and_follows_the_surer_one():
    unsure = Perspectives(0.0, 0.8, -0.2, hop_std=0.3, forward_std=0.3, backward_std=0.3)
    sure = Perspectives(0.0, 0.8, -0.2, hop_std=0.3, forward_std=0.01, backward_std=0.01)
    assert START.phi < kalman(START, unsure).phi < kalman(START, sure).phi < 0.8


@pytest.mark.parametrize("name", FUSED)
def test_a_goal_that_looks_like_the_start_leaves_the_increment_in_charge(name):
    state = FusionState(0.0, 0.01)
    for _ in range(30):  # pick up and put back: forward says 0, backward says 1, all the time
        state = fusion(name)(state, Perspectives(0.2, 0.0, 0.0, goal_like_start=True))
    assert state.phi > 0.95


def test_an_episode_that_starts_midway_starts_there():
    assert initial_state(Perspectives(0.0, 0.6, -0.4)).phi == pytest.approx(0.6)
    assert initial_state(Perspectives(None, None, None)) is None


@pytest.mark.parametrize("name", FUSED)
def test_missing_answers_are_left_out(name):
    assert fusion(name)(START, Perspectives(0.5, None, None)).phi == pytest.approx(0.7)


@pytest.mark.parametrize("name", sorted(FUSIONS))
def test_without_any_answer_the_last_value_is_held(name):
    assert fusion(name)(START, Perspectives(None, None, None)).phi == START.phi


def test_a_single_perspective_is_that_alone():
    said = Perspectives(0.5, 0.2, -0.1)
    assert [fusion(n)(START, said).phi for n in ("incremental", "forward", "backward")] == pytest.approx(
        [0.7, 0.2, 0.9]
    )
    assert fusion("forward")(START, Perspectives(0.5, None, -0.1)).phi == START.phi


@pytest.mark.parametrize("name", [*FUSED, "incremental"])
def test_plain_differences_are_added(name):
    said = Perspectives(0.5, 0.9, -0.1, differences=True)
    assert fusion(name)(START, said).phi == pytest.approx(0.9), "0.4 + 0.5, where a hop leads to 0.7"
    assert fusion("incremental")(START, Perspectives(-0.7, None, None, differences=True)).phi == 0.0


def test_a_plain_difference_carries_the_whole_variance_on():
    said = Perspectives(0.5, None, None, hop_std=0.0)
    assert kalman(START, replace(said, differences=True)).variance > 2 * kalman(START, said).variance


def test_an_unknown_rule_names_the_known_ones():
    with pytest.raises(ValueError, match="known: average, backward, consistency, forward, incremental, kalman"):
        fusion("mean")
