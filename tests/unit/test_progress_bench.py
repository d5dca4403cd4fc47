"""The metrics on cases whose answer is known, and the suite's controls."""

from __future__ import annotations

import json

import numpy as np
import pytest

from robo_reward.progress.bench import metrics
from robo_reward.progress.bench.suite import BenchSettings, Method, bench, control_methods, summary, write_table
from robo_reward.types import Episode


def episode(success: bool, length: int, seed: int) -> Episode:
    rng = np.random.default_rng(seed)
    steps = np.append(np.arange(0, length, 4), length)
    top = 1.0 if success else 0.6
    oracle = np.linspace(0, top, length + 1).astype(np.float32)
    return Episode(
        episode_id=f"e{seed}", instruction="lift", source="expert", seed=seed,
        agent_pos=np.zeros((length + 1, 2), np.float32), estimate=np.zeros((length + 1, 1), np.float32),
        action=np.zeros((length, 2), np.float32), reward=np.zeros(length, np.float32),
        stage=np.minimum((oracle * 4).astype(np.int64), 4), oracle=oracle,
        terminated=success, truncated=not success, success=success, frame_steps=steps,
        frames={"front": rng.integers(0, 255, (len(steps), 8, 8, 3), dtype=np.uint8)},
    ).validate()  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    episodes = [episode(True, 50 + i, i) for i in range(6)] + [episode(False, 120, 50 + i) for i in range(6)]
    settings = BenchSettings(draws=50)
    perfect = Method("perfect", lambda es: [e.oracle[e.frame_steps] for e in es], None)
    return {r["method"]: r for r in bench([perfect, *control_methods(perfect, episodes, settings)], episodes, settings)}


def test_ties_share_a_rank_and_constants_are_undefined_not_zero():
    assert metrics.rank_correlation(np.array([1, 2, 2, 3.0]), np.array([1, 2, 3, 4.0])) == pytest.approx(
        0.9487, abs=1e-4
    )
    assert np.isnan(metrics.rank_correlation(np.ones(5), np.arange(5)))


def test_a_perfect_model_is_perfect(rows):
    row = rows["perfect"]
    assert row["progress_error"] == 0 and row["voc"] == 1 and row["success_auc"] == 1
    assert row["alignment_rank_correlation"] == pytest.approx(1)


def test_length_alone_gains_nothing_in_the_length_matched_auc(rows):
    for control in ("counter", "minus length", "constant"):
        assert rows[control]["success_auc"] == 0.5
    assert rows["minus length"]["success_auc_plain"] == 1.0, "which is why the plain one carries no claim"


def test_the_clock_has_a_perfect_voc_and_a_large_error_on_failures(rows):
    assert rows["counter"]["voc"] == 1 and rows["counter"]["progress_error_failure"] > 0.1
    assert rows["cumulative pixel difference"]["voc"] == 1


def test_undefined_cases_are_counted(rows):
    assert rows["constant"]["voc"] is None and rows["constant"]["voc_undefined"] == 6


def test_the_labels_floor_is_in_the_table(rows):
    assert 0 <= rows["labels (floor)"]["progress_error"] < 0.05


def test_intervals_contain_the_value(rows):
    row = rows["counter"]
    assert row["progress_error_low"] <= row["progress_error"] <= row["progress_error_high"]


def test_the_table_is_written_without_nan_and_the_summary_is_flat(rows, tmp_path):
    write_table(list(rows.values()), tmp_path)
    assert len(json.loads((tmp_path / "bench.json").read_text())) == len(rows)
    assert (tmp_path / "bench.csv").read_text().startswith("method,")
    flat = summary(list(rows.values()))
    assert {"reward_voc", "reward_vroc", "reward_progress_error", "reward_progress_error_failure", "reward_success_auc",
            "reward_alignment_rank_correlation", "reward_wrong_instruction_accuracy"} <= set(flat)  # fmt: skip
    assert all(v is None or isinstance(v, (int, float)) for v in flat.values())


def test_one_outcome_alone_is_refused():
    with pytest.raises(ValueError, match="both outcomes"):
        bench([], [episode(True, 20, 0)], BenchSettings())


def test_a_success_too_short_for_the_look_back_is_counted():
    wins, short = metrics.length_matched_wins([np.ones(2)], [np.array([0, 4])], [np.zeros(3)], [np.array([0, 4, 8])], 8)
    assert short == 1 and np.isnan(wins).all()
