"""Progress as columns: held between queries, a verdict that is the calibration's, weights that are the paper's."""

from __future__ import annotations

import numpy as np
import pytest

from robo_reward.progress.annotate import QueryTrack
from robo_reward.progress.columns import columns_of
from robo_reward.progress.completion import CompletionRule, sustained_maximum
from robo_reward.progress.reward_aligned import chunk_gain, reward_aligned_weights
from robo_reward.types import Progress

RULE = CompletionRule(threshold=0.9, sustain=2)


def track(steps: list[int], phi: list[float]) -> QueryTrack:
    """What a tracker that trusts every perspective alike would have said."""
    progress, scores = [], []
    for value in phi:
        scores.append(value)
        progress.append(Progress(value, RULE.completed(scores), 0.5 + value / 2, value, value, value))
    return QueryTrack(np.array(steps), tuple(progress))


def test_values_are_held_until_the_next_query():
    columns = columns_of(track([0, 4, 8, 10], [0.0, 0.3, 0.5, 0.75]), 4, RULE)
    assert columns.progress == pytest.approx([0, 0, 0, 0, 0.3, 0.3, 0.3, 0.3, 0.5, 0.5, 0.75])
    assert columns.confidence == pytest.approx(0.5 + columns.progress / 2)
    assert columns.stage.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3] and columns.stage.dtype == np.int64
    assert columns.progress.dtype == columns.confidence.dtype == np.float32 and columns.success.dtype == bool


def test_the_last_step_is_reached_at_the_end_only():
    assert columns_of(track([0, 1, 2], [0.0, 0.9999, 1.0]), 4, RULE).stage.tolist() == [0, 3, 4]
    assert columns_of(track([0, 1], [0.0, 1.0]), 1, RULE).stage.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("phi", "expected"),
    [
        ([0.1, 0.95, 0.95, 0.2], [False, False, True, True]),  # done is done, whatever the camera sees later
        ([0.1, 0.95, 0.2, 0.95], [False, False, False, True]),  # the last observation stays
        ([0.1, 0.95, 0.2, 0.3], [False, False, False, False]),
        ([0.95], [True]),
    ],
)
def test_the_verdict_is_causal_and_the_last_one_is_the_episodes(phi, expected):
    columns = columns_of(track(list(range(len(phi))), phi), 4, RULE)
    assert columns.success.tolist() == expected
    assert columns.success[-1] == (sustained_maximum(phi, RULE.sustain) >= RULE.threshold)


def test_a_gain_looks_one_chunk_ahead_and_stops_at_the_end():
    phi = np.array([0.0, 0.1, 0.3, 0.6, 0.5], np.float32)
    assert chunk_gain(phi, 2) == pytest.approx([0.3, 0.5, 0.2, -0.1, 0.0])
    assert chunk_gain(phi, 99) == pytest.approx(0.5 - phi)
    with pytest.raises(ValueError, match="chunk=0: expected at least 1 row"):
        chunk_gain(phi, 0)


def test_weights_follow_the_formula():
    gains = [np.array([0.3, 0.02, 0.01, 0.0], np.float32), np.array([-0.001, 0.005], np.float32)]
    everything = np.concatenate(gains).astype(float)
    mean, std = everything.mean(), everything.std()
    weights = reward_aligned_weights(gains)
    assert [len(w) for w in weights] == [4, 2] and weights[0].dtype == np.float32

    def soft(r: float) -> float:
        return min(max((r - (mean - 2 * std)) / (4 * std + 1e-6), 0.0), 1.0)

    # 0.01 is at the threshold, not above it (float32 0.01 lies just below)
    expected = [1.0, 1.0, soft(0.01), soft(0.0), 0.0, soft(0.005)]
    assert np.concatenate(weights) == pytest.approx(expected, abs=1e-5)
    assert 0 < soft(0.0) < soft(0.005) < soft(0.01) < 1


def test_nothing_that_moves_gives_no_weight_and_no_division_by_zero():
    (still,) = reward_aligned_weights([np.zeros(5, np.float32)])
    assert still.tolist() == [0.0] * 5
    assert reward_aligned_weights([]) == []
