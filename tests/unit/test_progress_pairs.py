"""Hop pairs: reproducible, balanced, with true labels, and with the negatives that successes alone do not give."""

from __future__ import annotations

import numpy as np
import pytest

from robo_reward.progress.hop import hop_from_potentials
from robo_reward.progress.labels import label_episode
from robo_reward.progress.pairs import PairSampler, PairSettings
from robo_reward.types import Episode


def episode(name: str, instruction: str, success: bool, length: int = 80) -> Episode:
    steps = np.arange(0, length + 1, 4)
    reached = 4 if success else 2
    stage = np.minimum(np.arange(length + 1) * (reached + 1) // (length + 1), reached)
    if success:
        stage[-1] = 4
    n = length + 1
    return Episode(
        name, instruction, "expert" if success else "weak", 0, np.zeros((n, 1), np.float32),
        np.zeros((n, 1), np.float32), np.zeros((length, 1), np.float32), np.zeros(length, np.float32), stage,
        np.zeros(n, np.float32), success, not success, success, steps,
        {v: np.zeros((len(steps), 4, 4, 3), np.uint8) for v in ("front", "wrist")},
    ).validate()  # fmt: skip


EPISODES = [episode(f"s{i}", ("orange", "blue")[i % 2], True, 60 + 8 * i) for i in range(6)]
EPISODES += [episode(f"f{i}", ("orange", "blue")[i % 2], False) for i in range(4)]
LABELS = [label_episode(e, 4) for e in EPISODES]


def sampler(seed: int = 0, **changes) -> PairSampler:
    return PairSampler(EPISODES, LABELS, 4, PairSettings(**changes), seed)


def test_the_same_seed_draws_the_same_pairs():
    one, two, other = sampler(1).batch(), sampler(1).batch(), sampler(2).batch()
    assert np.array_equal(one.before_B, two.before_B) and np.array_equal(one.low_B, two.low_B)
    assert not np.array_equal(one.before_B, other.before_B)


def test_labels_are_the_hops_of_the_potentials():
    draw = sampler(wrong_instruction=0.0)
    phi = np.concatenate([x.phi[e.frame_steps] for x, e in zip(LABELS, EPISODES, strict=True)])
    for _ in range(5):
        batch = draw.batch()
        exact = batch.low_B == batch.high_B
        expected = hop_from_potentials(phi[batch.before_B], phi[batch.after_B])
        assert batch.low_B[exact] == pytest.approx(expected[exact], abs=1e-5)
        assert np.all(batch.low_B <= expected + 1e-5) and np.all(expected <= batch.high_B + 1e-5)


def test_hop_bins_are_nearly_balanced_and_every_kind_occurs():
    draw = sampler(wrong_instruction=0.0)
    for _ in range(60):
        draw.batch()
    counts = draw.statistics()
    histogram = np.array(counts["hop_histogram"])
    assert histogram[[*range(1, 12), *range(13, 24)]].min() > 0.2 * histogram.mean()
    for kind in ("forward_in_time", "reversed", "zero", "anchored_start", "anchored_goal", "failed_episode",
                 "interval_label", "truncated_success", "own_reference"):  # fmt: skip
        assert counts[kind] > 0, kind
    assert counts["zero"] / counts["total"] == pytest.approx(0.05, abs=0.02)


def test_references_come_from_another_episode_three_times_in_four():
    draw = sampler(wrong_instruction=0.0)
    successes = [p for p in draw._pools if p.success]
    own = np.mean(
        [draw._visit(successes[i % 6])[2].max() in [p.offset for p in [successes[i % 6]]] for i in range(400)]
    )
    assert own == pytest.approx(0.25 + 0.75 / 3, abs=0.08), "a third of the others' draws fall on the episode itself"


def test_under_the_wrong_instruction_nothing_was_achieved():
    draw = sampler(wrong_instruction=1.0, drop_reference=0.0)
    offsets = np.array(draw.offsets)
    for _ in range(10):
        batch = draw.batch()
        went_for = np.array(
            [EPISODES[i].instruction for i in np.searchsorted(offsets, batch.after_B, side="right") - 1]
        )
        named = np.array(draw.instructions)[batch.instruction_B]
        assert np.all(named != went_for)
        from_start = batch.kind_B == 3
        assert np.all(batch.low_B[from_start] == 0) and batch.high_B[from_start].max() < 0.25
        reference = np.array(
            [EPISODES[i].instruction for i in np.searchsorted(offsets, batch.goal_B, side="right") - 1]
        )
        assert np.all(reference == named), "the references show the named target"


def test_views_and_references_are_dropped_now_and_then():
    draw = sampler(drop_view=0.5, drop_reference=0.3)
    batches = [draw.batch() for _ in range(20)]
    assert {len(b.views) for b in batches} == {1, 2}
    assert any((b.start_B < 0).any() for b in batches) and any((b.goal_B < 0).any() for b in batches)
    assert all((b.start_B[b.kind_B >= 3] >= 0).all() for b in batches)


def test_a_task_without_a_demonstration_is_refused():
    with pytest.raises(ValueError, match="no successful demonstration of \\['blue'\\]"):
        PairSampler([EPISODES[0], EPISODES[7]], [LABELS[0], LABELS[7]], 4, PairSettings(), 0)
    with pytest.raises(ValueError, match="zero_share"):
        PairSettings(zero_share=2.0)
