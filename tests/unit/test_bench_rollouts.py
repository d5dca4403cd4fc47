"""Metrics of single rollouts and of who is told what, on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from robo_reward.progress.bench import judgement, quality, retrieval
from robo_reward.progress.completion import CompletionRule
from robo_reward.types import Progress


def test_quality_of_a_rollout():
    values = [np.array([0.0, 0.5, 0.25, 0.25, 1.0]), np.array([0.3, 0.3]), np.array([0.7])]
    found = quality.outcome_quality(values)
    assert found["max_progress"].tolist() == [1.0, 0.3, 0.7]
    # The way is 0.5 + 0.25 + 0 + 0.75 long.
    assert found["path_efficiency"] == pytest.approx([1 / 1.5, np.nan, np.nan], nan_ok=True)
    assert found["regret"] == pytest.approx([(0.25 + 0.25) / 5, 0, 0])
    assert found["stall_share"] == pytest.approx([0.25, 1, np.nan], nan_ok=True)
    assert found["negative_share"] == pytest.approx([0.25, 0, np.nan], nan_ok=True)


def test_a_straight_way_is_efficient_and_one_back_and_forth_is_not():
    straight, around = np.linspace(0, 1, 9), np.array([0, 1, 0, 1.0])
    assert quality.outcome_quality([straight, around])["path_efficiency"] == pytest.approx([1, 1 / 3])


def test_scores_from_one_to_five_and_what_says_nothing():
    ends = [np.array([0.0, x]) for x in (0.0, 0.124, 0.125, 0.5, 0.7, 0.874, 0.875, 1.0)]
    assert quality.scores(ends).tolist() == [1, 1, 2, 3, 4, 4, 5, 5]
    truth = [np.array([0.0, x]) for x in (1.0, 0.0, 0.3)]  # scores 5, 1, 2
    assert quality.score_error([np.array([0.9]), np.array([0.5]), np.array([0.9])], truth).tolist() == [0, 2, 3]
    trivial = quality.trivial_score_errors(truth)
    assert trivial["score_mae_always_3"] == pytest.approx((2 + 2 + 1) / 3)
    assert trivial["score_mae_at_random"] == pytest.approx((2 + 2 + 1.4) / 3)


def test_top_1_by_instruction_and_by_video():
    table = np.array([[0.9, 0.2, 0.1], [0.5, 0.5, 0.1], [0.3, 0.8, 0.9], [0.9, 0.1, 0.7]])
    own = np.array([0, 1, 1, 2])
    # Row by row: right; tied between two; taken for the third; taken for the first.
    assert retrieval.instruction_retrieval(table, own).tolist() == [1, 0.5, 0, 0]
    # Under 0, the first video ties with the fourth and is above both of task 1. Under 1, the others have 0.2 and 0.1.
    # Under 2, the fourth is above the first and above one of two videos of task 1.
    assert retrieval.video_retrieval(table, own) == pytest.approx([0.5, 1, 1, 0.5])
    assert np.isnan(retrieval.video_retrieval(table[:1], own[:1])).all(), "no other task's video"


def test_the_matrix_of_tasks_and_instructions_is_of_raw_means():
    table = np.array([[0.9, 0.1, 0.2], [0.7, 0.3, 0.2]])
    found = retrieval.confusion_matrix(table, np.array([0, 0]), ["a", "b", "c"])
    assert found == {"instructions": ["a", "b", "c"], "values": [[0.8, 0.2, 0.2], None, None]}


def test_f1_is_a_ratio_of_sums_over_episodes():
    said, true = np.array([2, 2, 1, 0, 2]), np.array([2, 2, 2, 0, 1])  # two hits, one missed, one false
    above, below = judgement.success_counts(said, true).sum(0)
    assert above / below == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))


def said(*scores):
    return [Progress(s, False, 1.0, s, s, s) for s in scores]


def test_the_step_at_which_a_task_is_called_done():
    rule, steps = CompletionRule(0.8, sustain=2), np.array([0, 4, 8, 10])
    tracks = [said(0, 0.9, 0.9, 0.1), said(0, 0, 0, 0.9), said(0, 0.9, 0, 0), said(0, 0, 0.9, 0.9)]
    when = judgement.completion_steps(tracks, [steps] * 4, rule, every=4)
    assert when == pytest.approx([8, 14, np.nan, 10], nan_ok=True), "the last frame stays: one query later"
    truth = [np.array([0, 0.5, 1.0, 1.0]), np.array([0, 0.5, 0.6, 0.9])]
    assert judgement.done_steps(truth, [steps] * 2).tolist() == [8, 10]
