"""The tracker: causal, within [0, 1] whatever the answers, and the same live as in one pass over the whole episode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_reward.progress.annotate import annotate, annotate_many, track_many
from robo_reward.progress.completion import CompletionRule
from robo_reward.progress.fusion import FUSIONS
from robo_reward.progress.references import References
from robo_reward.progress.tracker import ProgressTracker, TrackerSettings
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode, HopEstimate, HopQuery

TASK = "go right"


class PixelModel:
    """Reads a frame's potential off its first pixel; odd-looking frames get no answer."""

    model_id = "pixel"

    def hop(self, query: HopQuery) -> HopEstimate:
        phi = query.frames["front"][:, 0, 0, 0] / 250.0
        p, q = phi[query.before_B], phi[query.after_B]
        base = np.where(q >= p, 1 - p, p)
        hop = np.divide(q - p, base, out=np.zeros_like(p), where=base > 0).astype(np.float32)
        valid = query.frames["front"][query.after_B, 0, 0, 1] == 0
        return HopEstimate(hop, np.full(len(query), 0.9, np.float32), valid)


def episode(levels: list[int], length: int | None = None, blind: tuple[int, ...] = ()) -> Episode:
    """A clip whose frame q shows levels[q] (0..250); frames in `blind` get no valid answer."""
    steps = np.arange(len(levels)) * 4
    if length is not None:
        steps[-1] = length
    total = int(steps[-1])
    frames = np.zeros((len(levels), 2, 2, 3), np.uint8)
    frames[:, 0, 0, 0] = levels
    frames[list(blind), 0, 0, 1] = 1
    return make_episode(
        total, instruction=TASK, source="expert", oracle=np.zeros(total + 1, np.float32), frame_steps=steps,
        frames={"front": frames},
    )  # fmt: skip


REFERENCES = References.from_demonstrations([episode([0, 100, 250]), episode([0, 250])], per_task=2)
LEVELS = st.lists(st.integers(0, 250), min_size=2, max_size=12)


@given(levels=LEVELS, odd=st.integers(1, 4), blind=st.sets(st.integers(0, 11)), rule=st.sampled_from(sorted(FUSIONS)))
@settings(max_examples=60, deadline=None)
def test_one_pass_over_an_episode_equals_the_live_tracker(levels, odd, blind, rule):
    length = (len(levels) - 2) * 4 + odd
    clip = episode(levels, length, tuple(b for b in blind if b < len(levels)))
    setup = TrackerSettings(fusion=rule, completion=CompletionRule(0.9, 2))
    tracker, model = ProgressTracker(REFERENCES, TASK, setup), PixelModel()
    live = []
    stored = dict(zip(clip.frame_steps.tolist(), clip.frames["front"], strict=True))
    for step in range(length + 1):
        query = tracker.query({"front": stored[step]} if step in stored else None, final=step == length)
        if query is not None:
            tracker.apply(model.hop(query))
        live.append(tracker.progress.phi)
    track = annotate(clip, model, setup, REFERENCES)
    assert np.array_equal(track.phi, np.array(live, np.float32))
    assert len(track.phi) == length + 1 and np.all((track.phi >= 0) & (track.phi <= 1))


@given(levels=LEVELS, rule=st.sampled_from(sorted(FUSIONS)), cut=st.integers(2, 11))
@settings(max_examples=40, deadline=None)
def test_the_future_does_not_change_the_past(levels, rule, cut):
    cut = min(cut, len(levels))
    setup = TrackerSettings(fusion=rule)
    (whole,), (part,) = (track_many([episode(x)], PixelModel(), setup, REFERENCES) for x in (levels, levels[:cut]))
    assert whole.progress[:cut] == part.progress


@given(
    values=st.lists(st.tuples(*[st.floats(-1, 1)] * 4), min_size=1, max_size=20), rule=st.sampled_from(sorted(FUSIONS))
)
@settings(max_examples=60, deadline=None)
def test_no_answers_can_drive_progress_out_of_its_range(values, rule):
    references = References.from_demonstrations([episode([0, 250])], per_task=1)
    tracker = ProgressTracker(references, TASK, TrackerSettings(every=1, fusion=rule))
    for row in values:
        tracker.query({"front": np.zeros((2, 2, 3), np.uint8)})
        progress = tracker.apply(HopEstimate(np.array(row, np.float32), np.full(4, 0.5, np.float32), np.ones(4, bool)))
        assert all(0 <= v <= 1 for v in (progress.phi, progress.incremental, progress.forward, progress.backward))


@given(
    said=st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1)),
    sure=st.tuples(*[st.floats(0, 1)] * 4),
    rule=st.sampled_from(sorted(FUSIONS)),
    differences=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_a_still_scene_stays_still_whatever_forward_and_backward_say_of_it(said, sure, rule, differences):
    references = References.from_demonstrations([episode([0, 250])], per_task=1)
    tracker = ProgressTracker(references, TASK, TrackerSettings(every=4, fusion=rule, differences=differences))
    answer = HopEstimate(np.array([0.0, *said], np.float32), np.array(sure, np.float32), np.ones(4, bool))
    values = []
    for step in range(101):
        if tracker.query({"front": np.zeros((2, 2, 3), np.uint8)}, final=step == 100) is not None:
            values.append(tracker.apply(answer).phi)
    assert len(values) == 26 and np.ptp(values) <= 0.01, "per 100 frames"


@pytest.mark.parametrize("rule", sorted(FUSIONS))
def test_a_perfect_model_gives_true_progress_backwards_as_well_as_forwards(rule):
    levels = [0, 50, 100, 150, 200, 250, 200, 100, 0]
    track = annotate(episode(levels), PixelModel(), TrackerSettings(fusion=rule), REFERENCES)
    assert track.phi[::4] == pytest.approx(np.array(levels) / 250, abs=0.02)


def test_no_answer_holds_the_last_value_and_is_no_evidence_of_completion():
    clip = episode([0, 240, 245, 250, 250], blind=(2,))
    setup = TrackerSettings(fusion="average", completion=CompletionRule(0.9, 2))
    (track,) = track_many([clip], PixelModel(), setup, REFERENCES)
    assert track.phi[2] == track.phi[1] > 0.9
    assert [p.completed for p in track.progress] == [False, False, False, False, True]


def test_an_unanswered_first_query_is_no_success():
    tracker = ProgressTracker(REFERENCES, TASK)
    query = tracker.query({"front": np.zeros((2, 2, 3), np.uint8)})
    nothing = HopEstimate(
        np.zeros(len(query), np.float32), np.zeros(len(query), np.float32), np.zeros(len(query), bool)
    )
    assert tracker.apply(nothing).phi == 0 and not tracker.progress.completed


def test_many_episodes_in_one_batch_equal_one_by_one():
    clips = [episode([0, 100, 250]), episode([0, 20, 10, 30, 0], 13), episode([250, 0])]
    one = [annotate(c, PixelModel(), TrackerSettings(), REFERENCES) for c in clips]
    many = annotate_many(clips, PixelModel(), TrackerSettings(), REFERENCES)
    for a, b in zip(one, many, strict=True):
        assert a.model_id == b.model_id and np.array_equal(a.phi, b.phi)


def test_ids_tell_settings_and_references_apart():
    clip = episode([0, 250])
    ids = {
        annotate(clip, PixelModel(), setup, references).model_id
        for setup in (TrackerSettings(), TrackerSettings(fusion="average"))
        for references in (REFERENCES, References.from_demonstrations([clip], per_task=1))
    }
    assert len(ids) == 4


def test_mistakes_are_answered_with_what_to_do():
    clip = episode([0, 100, 250])
    with pytest.raises(ValueError, match="known: \\['go right'\\]"):
        annotate(replace(clip, instruction="go left"), PixelModel(), TrackerSettings(), REFERENCES)
    with pytest.raises(ValueError, match="tracker.every=3"):
        annotate(clip, PixelModel(), TrackerSettings(every=3), REFERENCES)
    with pytest.raises(ValueError, match="share no view"):
        annotate(replace(clip, frames={"top": clip.frames["front"]}), PixelModel(), TrackerSettings(), REFERENCES)
    with pytest.raises(ValueError, match="no camera frames"):
        ProgressTracker(REFERENCES, TASK).query(None)
    with pytest.raises(ValueError, match="unknown fusion"):
        TrackerSettings(fusion="vote")
