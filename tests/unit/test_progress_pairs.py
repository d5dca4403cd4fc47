"""Hop pairs: reproducible, balanced, with true labels, and with the negatives that successes alone do not give."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from robo_reward.progress.hop import hop_from_potentials
from robo_reward.progress.labels import label_episode
from robo_reward.progress.pairs import PairBatch, PairSampler, PairSettings, still_stretches
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode


def episode(name: str, instruction: str, success: bool, length: int = 80) -> Episode:
    steps = np.arange(0, length + 1, 4)
    reached = 4 if success else 2
    stage = np.minimum(np.arange(length + 1) * (reached + 1) // (length + 1), reached)
    if success:
        stage[-1] = 4
    n = length + 1
    return make_episode(
        length, name, success=success, instruction=instruction, source="expert" if success else "weak", stage=stage,
        oracle=np.zeros(n, np.float32), frame_steps=steps,
        frames=dict.fromkeys(("front", "wrist"), np.repeat(steps % 250, 48).astype(np.uint8).reshape(-1, 4, 4, 3)),
    )  # fmt: skip


EPISODES = [episode(f"s{i}", ("orange", "blue")[i % 2], True, 60 + 8 * i) for i in range(6)]
EPISODES += [episode(f"f{i}", ("orange", "blue")[i % 2], False) for i in range(4)]
LABELS = [label_episode(e, 4) for e in EPISODES]


RIGHT = {"wrong_instruction": 0.0, "wrong_goal": 0.0}


def sampler(seed: int = 0, target: str = "hop", **changes) -> PairSampler:
    return PairSampler(EPISODES, LABELS, 4, PairSettings(**changes), seed, target)


def bytes_of(seed: int) -> str:
    """A digest of everything in five batches."""
    import hashlib

    draw, sha = sampler(seed), hashlib.sha256()
    for _ in range(5):
        for name, column in vars(draw.batch()).items():
            sha.update(name.encode() + (column.tobytes() if isinstance(column, np.ndarray) else repr(column).encode()))
    return sha.hexdigest()


def test_the_same_seed_draws_the_same_bytes_in_another_process(project):
    code = f"import sys; sys.path.insert(0, {str(project / 'tests' / 'unit')!r})\n"
    code += "import test_progress_pairs as t; print(t.bytes_of(1))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project)
    assert other.stdout.strip() == bytes_of(1) != bytes_of(2)


def test_labels_are_the_hops_of_the_potentials():
    draw = sampler(**RIGHT)
    phi = np.concatenate([x.phi[e.frame_steps] for x, e in zip(LABELS, EPISODES, strict=True)])
    for _ in range(5):
        batch = draw.batch()
        exact = batch.low_B == batch.high_B
        expected = hop_from_potentials(phi[batch.before_B], phi[batch.after_B])
        assert batch.low_B[exact] == pytest.approx(expected[exact], abs=1e-5)
        assert np.all(batch.low_B <= expected + 1e-5) and np.all(expected <= batch.high_B + 1e-5)


@pytest.mark.parametrize(("target", "low"), [("absolute", 0.0), ("difference", -1.0)])
def test_labels_of_the_other_targets(target, low):
    phi = np.concatenate([x.phi[e.frame_steps] for x, e in zip(LABELS, EPISODES, strict=True)])
    batch = sampler(target=target, **RIGHT).batch()
    expected = phi[batch.after_B] - (phi[batch.before_B] if target == "difference" else 0)
    exact = batch.low_B == batch.high_B
    assert batch.low_B[exact] == pytest.approx(expected[exact], abs=1e-5)
    assert low <= batch.low_B.min() < low + 0.2 and 0.8 < batch.high_B.max() <= 1


def imbalance() -> tuple[float, float]:
    """Shares of pairs that would have to move for even hop bins, and for even gap bins, on clips that spend three
    quarters of their time in the last stage. The outer hop bins and the one of no hop are left out: few pairs fit."""
    clips = []
    for clip in EPISODES[:6]:
        stage = np.minimum(np.arange(len(clip) + 1) // (len(clip) // 12), 3)
        stage[-1] = 4
        clips.append(replace(clip, stage=stage))
    draw = PairSampler(clips, [label_episode(clip, 4) for clip in clips], 4, PairSettings(**RIGHT), 0)
    for _ in range(60):
        draw.batch()
    counts = draw.statistics()
    hops = np.array(counts["hop_histogram"])[[*range(1, 12), *range(13, 24)]]
    gaps = np.array(counts["gap_histogram"])
    hop, gap = (float(np.abs(h / h.sum() - 1 / len(h)).sum() / 2) for h in (hops, gaps))
    return hop, gap


def test_hop_and_gap_bins_are_nearly_balanced_where_a_plain_sampler_is_not(monkeypatch):
    hop, gap = imbalance()
    assert hop < 0.18 and gap < 0.1
    monkeypatch.setattr(PairSampler, "_uniform_over", lambda self, cell, n: self.rng.integers(len(cell), size=n))
    plain_hop, plain_gap = imbalance()
    assert plain_hop > 0.22 and plain_gap > 0.13


def test_every_kind_of_pair_occurs_and_is_counted():
    draw = sampler()
    for _ in range(20):
        draw.batch()
    counts = draw.statistics()
    for kind in ("forward_in_time", "reversed", "zero", "anchored_start", "anchored_goal", "failed_episode",
                 "interval_label", "clipped_success", "own_reference", "wrong_instruction", "wrong_goal"):  # fmt: skip
        assert counts[kind] > 0, kind
    assert counts["stalled"] == 0, "everything moves here"
    assert counts["zero"] / counts["total"] == pytest.approx(0.05, abs=0.02)


def stalling(clip: Episode) -> Episode:
    """The clip whose second half shows one picture."""
    half = len(clip.frame_steps) // 2
    at = np.minimum(np.arange(len(clip.frame_steps)), half)
    return replace(clip, frames={view: frames[at] for view, frames in clip.frames.items()})


def test_a_stretch_in_which_nothing_moves_is_no_hop_whatever_its_label_says():
    clip = stalling(EPISODES[6])
    stretch = still_stretches(clip.frames, len(clip.frame_steps))
    half = len(stretch) // 2
    assert np.array_equal(stretch[: half + 1], np.arange(half + 1)) and set(stretch[half:]) == {half}
    assert np.array_equal(still_stretches({}, 3), [0, 1, 2]), "without views nobody knows"
    draw = PairSampler([clip, *EPISODES[:2]], [LABELS[6], *LABELS[:2]], 4, PairSettings(**RIGHT, zero_share=0.3), 0)
    batches = [draw.batch() for _ in range(5)]
    assert draw.statistics()["stalled"] > 0
    for batch in batches:
        apart = (batch.kind_B == 2) & (batch.before_B != batch.after_B)
        assert np.all(batch.low_B[batch.kind_B == 2] == 0) and np.all(batch.high_B[batch.kind_B == 2] == 0)
        assert batch.before_B[apart].min() >= half and batch.before_B[apart].max() < len(stretch)


def shown_and_named(draw: PairSampler, batch: PairBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each pair: what the episode went for, what its goal shows, what its instruction names."""
    offsets = np.array(draw.offsets)

    def task(frames: np.ndarray) -> np.ndarray:
        return np.array([EPISODES[i].instruction for i in np.searchsorted(offsets, frames, side="right") - 1])

    return task(batch.after_B), task(batch.goal_B), np.array(draw.instructions)[batch.instruction_B]


def test_a_wrong_goal_under_the_right_instruction_is_not_reached():
    draw = sampler(wrong_instruction=0.0, wrong_goal=1.0, drop_reference=1.0)
    batch = draw.batch()
    went_for, shown, named = shown_and_named(draw, batch)
    assert np.all(named == went_for) and np.all(shown != went_for), "its goal is never dropped: it is all that tells"
    from_start = batch.kind_B == 3
    assert np.all(batch.low_B[from_start] == 0) and batch.high_B[from_start].max() < 0.25
    assert np.all(batch.stage_B == -1), "a frame's stage does not depend on the goal that is shown"


def test_references_come_from_another_episode_three_times_in_four():
    draw = sampler(**RIGHT)
    successes = [p for p in draw._pools if p.success]
    own = np.mean(
        [draw._visit(successes[i % 6])[2].max() in [p.offset for p in [successes[i % 6]]] for i in range(400)]
    )
    assert own == pytest.approx(0.25 + 0.75 / 3, abs=0.08), "a third of the others' draws fall on the episode itself"


def test_under_the_wrong_instruction_nothing_was_achieved():
    draw = sampler(wrong_instruction=1.0, wrong_goal=0.0, drop_reference=0.0)
    for _ in range(10):
        batch = draw.batch()
        went_for, shown, named = shown_and_named(draw, batch)
        assert np.all(named != went_for)
        from_start = batch.kind_B == 3
        assert np.all(batch.low_B[from_start] == 0) and batch.high_B[from_start].max() < 0.25
        assert np.all(shown == named), "the references show the named target"


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
    with pytest.raises(ValueError, match="wrong_goal add up"):
        PairSettings(wrong_instruction=0.7, wrong_goal=0.4)
