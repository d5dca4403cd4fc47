"""The metrics on cases whose answer is known, and the suite's controls."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from robo_reward.progress.bench import judgement, metrics, resampling
from robo_reward.progress.bench.discrimination import HIGHER_IS_BETTER, better_on, discriminates, marks
from robo_reward.progress.bench.method import Method, Tracked, control_methods
from robo_reward.progress.bench.row import BenchSettings
from robo_reward.progress.bench.suite import bench, bench_reward, cases_of, reliability, summary, write_table
from robo_reward.progress.completion import CompletionRule
from robo_reward.progress.models.compact import CompactModel
from robo_reward.progress.models.compact_net import CompactNet, CompactSettings
from robo_reward.progress.references import References
from robo_reward.progress.reward_model import RewardModel
from robo_reward.progress.tracker import TrackerSettings
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode, Progress


def episode(success: bool, length: int, seed: int) -> Episode:
    rng = np.random.default_rng(seed)
    steps = np.append(np.arange(0, length, 4), length)
    top = 1.0 if success else 0.6
    oracle = np.linspace(0, top, length + 1).astype(np.float32)
    return make_episode(
        length, f"e{seed}", success=success, instruction="lift", source="expert", seed=seed,
        agent_pos=np.zeros((length + 1, 2), np.float32), action=np.zeros((length, 2), np.float32),
        stage=np.minimum((oracle * 4).astype(np.int64), 4), oracle=oracle, frame_steps=steps,
        frames={"front": rng.integers(0, 255, (len(steps), 8, 8, 3), dtype=np.uint8)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    episodes = [episode(True, 50 + i, i) for i in range(6)] + [episode(False, 120, 50 + i) for i in range(6)]
    settings = BenchSettings(draws=50)
    perfect = Method("perfect", lambda es: [e.oracle[e.frame_steps] for e in es])
    return {r["method"]: r for r in bench([perfect, *control_methods(perfect, episodes, 120, 4)], episodes, settings)}


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


def random_cases(seed):
    """Counts of 20 draws and, of 7 episodes, a value each and a few points each with ties."""
    rng = np.random.default_rng(seed)
    points = [(rng.integers(0, 4, n) / 4, rng.normal(size=n)) for n in rng.integers(1, 6, size=7)]
    return resampling.draw_counts(7, 20, seed), np.where(rng.random(7) < 0.3, np.nan, rng.random(7)), points


@pytest.mark.parametrize("seed", range(5))
def test_all_draws_at_once_equal_one_by_one(seed):
    """Each statistic of the counts against the same statistic of the episodes that were drawn, repeated."""
    counts, values, points = random_cases(seed)
    rng = np.random.default_rng(seed)
    index = [np.arange(7), *(rng.integers(7, size=7) for _ in range(20))]
    episode = np.repeat(np.arange(7), [len(a) for a, _ in points])
    a, b = (np.concatenate([p[side] for p in points]) for side in (0, 1))
    wins = np.where(rng.random((3, 4)) < 0.2, np.nan, rng.random((3, 4)))
    found = {
        "mean": resampling.mean(counts, values),
        "rank": resampling.rank_correlation(counts, episode, a, b),
        "win": resampling.win_rate(counts[:, :3], counts[:, 3:], wins),
        "pearson": resampling.pearson_distance(counts, episode, a, b),
    }
    for d, drawn in enumerate(index):
        defined = values[drawn][np.isfinite(values[drawn])]
        x, y = (np.concatenate([points[i][side] for i in drawn]) for side in (0, 1))
        grid = wins[np.ix_(drawn[drawn < 3], drawn[drawn >= 3] - 3)]
        pairs = grid[np.isfinite(grid)]
        expected = {
            "mean": defined.mean() if len(defined) else np.nan,
            "rank": metrics.rank_correlation(x, y),
            "win": pairs.mean() if len(pairs) else np.nan,
            "pearson": np.sqrt((1 - np.corrcoef(x, y)[0, 1]) / 2),
        }
        assert {name: value[d] for name, value in found.items()} == pytest.approx(expected, nan_ok=True)


def test_every_metric_has_an_interval_and_counts_what_is_undefined(rows):
    for row in rows.values():
        for metric in [*HIGHER_IS_BETTER, "tie_rate", "epic_shaped"]:
            assert {metric, f"{metric}_low", f"{metric}_high", f"{metric}_undefined"} <= set(row)
            if row[metric] is not None:
                assert row[f"{metric}_low"] <= row[metric] <= row[f"{metric}_high"]


def test_the_mark_says_which_metrics_a_control_wins(rows):
    row = rows["perfect"]
    assert row["voc_best_control"] == 1 and row["voc_discriminates"] is False
    assert row["success_auc_plain_discriminates"] is False, "minus length has 1 too"
    # This model reads no frames: on a static or reversed clip it is as perfect as ever.
    assert row["progress_error_failure_discriminates"] is False
    blind = [r for name, r in rows.items() if not name.startswith("perfect on")]
    assert marks(row, blind)["progress_error_failure_discriminates"] is True
    assert row["wrong_instruction_accuracy_discriminates"] is None, "no control reads instructions"
    assert rows["counter"]["voc_discriminates"] is None, "a control is not measured against itself"
    assert discriminates("voc", 0.9, 0.6) and not discriminates("voc", 0.9, 0.75)
    assert discriminates("progress_error", 0.05, 0.07) and not discriminates("progress_error", 0.06, 0.07)


def test_better_means_that_the_intervals_do_not_overlap():
    one = {"voc": 0.9, "voc_low": 0.8, "voc_high": 1.0, "progress_error": 0.1, "progress_error_low": 0.05,
           "progress_error_high": 0.15}  # fmt: skip
    other = {"voc": 0.5, "voc_low": 0.4, "voc_high": 0.85, "progress_error": 0.3, "progress_error_low": 0.2,
             "progress_error_high": 0.4}  # fmt: skip
    assert better_on(one, other) == ["progress_error"] and better_on(other, one) == []


def test_three_outcomes_are_told_apart():
    values = [np.array([0.0, x]) for x in (0.9, 0.8, 0.6, 0.9, 0.3)]
    truth = [np.array([0.0, x]) for x in (1.0, 1.0, 0.5, 0.6, 0.2)]
    success = np.array([True, True, False, False, False])
    true, said = judgement.true_outcomes(truth, success), judgement.outcomes_by_value(values, stages=4)
    assert judgement.hits(said, true).tolist() == [1, 0, 1, 0, 1]
    assert judgement.confusion(said, true).tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 1]]


def test_a_trackers_verdict_is_its_rules_and_not_its_values(rewarded):
    """The value alone would call every episode done; the rule never does, for one perspective always disagrees."""

    def progress(episodes):
        return [[Progress(0.95, False, 0.9, 0.95, 0.95, 0.1)] * len(e.frame_steps) for e in episodes]

    high = Method("high", lambda es: [np.full(len(e.frame_steps), 0.95) for e in es])
    tracked = Tracked(progress, CompletionRule(0.8), 4, lambda es, seed: {})
    rows = bench([replace(high, tracked=tracked), high], rewarded, BenchSettings(draws=5))
    assert [row["three_way_accuracy"] for row in rows] == [0.5, 0.5]
    true = judgement.true_outcomes([np.zeros(2)] * 2, np.array([True, False]))
    said = judgement.outcomes_by_rule(progress(rewarded[:2]), CompletionRule(0.8))
    assert judgement.hits(said, true).tolist() == [0, 0] and said.tolist() == [1, 1]


def test_drift_is_per_100_frames_of_the_camera(rows):
    assert metrics.drift_per_100_frames([np.array([0.2, 0.3, 0.1])], [np.array([0, 4, 20])]).tolist() == [0.5]
    assert rows["counter"]["stall_drift_per_100_frames"] == pytest.approx(100 / 120, abs=1e-4)


@pytest.fixture(scope="module")
def rewarded():
    """Episodes whose task pays 1 for the last step of a success."""
    episodes = [episode(True, 40 + i, i) for i in range(5)] + [episode(False, 60, 50 + i) for i in range(5)]
    pay = [np.append(np.zeros(len(e) - 1, np.float32), np.float32(e.success)) for e in episodes]
    return [replace(e, reward=r) for e, r in zip(episodes, pay, strict=True)]


def test_epic_is_blind_to_a_potential_and_not_to_progress_as_reward(rewarded):
    def noise(episodes):
        return [np.random.default_rng(e.seed).random(len(e.frame_steps)) for e in episodes]

    settings = BenchSettings(draws=20)
    row, perfect = bench(
        [Method("noise", noise), Method("perfect", lambda es: [e.oracle[e.frame_steps] for e in es])],
        rewarded,
        settings,
    )
    assert row["epic_shaped"] == row["epic_shaped_high"] == 0, "potential shaping leaves the task as it is"
    assert row["epic_naive"] > 0.02 and row["epic_progress"] > 0.5
    assert perfect["epic_progress"] < 0.1, "held between queries"


def test_reliability_by_confidence(rewarded):
    """The model errs by 0.3 when it says 0.2 and not at all when it says 0.9."""

    def progress(episodes):
        return [
            [Progress(float(p) - 0.3 * odd, False, 0.2 if odd else 0.9, 0, 0, 0) for odd, p in zip(
                np.arange(len(e.frame_steps)) % 2, e.oracle[e.frame_steps], strict=True)]
            for e in episodes
        ]  # fmt: skip

    settings = BenchSettings(draws=50)
    cases = cases_of(rewarded, settings)
    table, found = reliability(progress(cases.episodes), cases, settings)
    assert [row["confidence"] for row in table] == [0.2, 0.9]
    assert [row["error"] for row in table] == pytest.approx([0.3, 0.0])
    assert all(row["error_low"] <= row["error"] <= row["error_high"] for row in table)
    assert sum(row["queries"] for row in table) == sum(len(e.frame_steps) for e in rewarded)
    assert found["confidence_error_correlation"] < -0.95


def test_a_whole_model_is_measured_and_its_confidence_too(rewarded, tmp_path):
    rng = np.random.default_rng(0)
    seen = [
        replace(e, frames={"front": rng.integers(0, 255, (len(e.frame_steps), 32, 32, 3), dtype=np.uint8)})
        for e in rewarded
    ]
    torch.manual_seed(0)
    net = CompactNet(CompactSettings(views=("front",), image_size=32, channels=(8,), kernels=(4,), strides=(4,)))
    reward = RewardModel(CompactModel(net), References.from_demonstrations(seen), TrackerSettings(every=4))
    flat = bench_reward(reward, seen, BenchSettings(draws=20), tmp_path)
    table = json.loads((tmp_path / "reliability.json").read_text())
    assert sum(group["queries"] for group in table) == sum(len(e.frame_steps) for e in seen)
    assert flat["reward_label_floor_low"] <= flat["reward_label_floor"] <= flat["reward_label_floor_high"]
    assert flat["reward_epic_shaped"] == 0 and flat["reward_three_way_accuracy_undefined"] == 0
    assert flat["reward_voc_discriminates"] is False and "reward_control" not in flat
    assert len(table) == 1 and table[0]["confidence"] == 0, "untrained, it is never sure"
    assert flat["reward_confidence_error_correlation"] is None
