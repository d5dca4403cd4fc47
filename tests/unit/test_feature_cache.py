"""The cache of frame embeddings: fewer encoder passes, the same answers to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from robo_reward.progress.models.compact import CompactModel
from robo_reward.progress.models.compact_net import CompactNet, CompactSettings
from robo_reward.progress.models.feature_cache import FeatureCache
from robo_reward.progress.references import Reference, References
from robo_reward.progress.tracker import ProgressTracker, TrackerSettings

SIZE, TASK, OTHER, CLIP = 32, "go left", "go right", 9
SETTINGS = CompactSettings(views=("top", "wrist"), image_size=SIZE, channels=(8, 16), kernels=(4, 3), strides=(4, 1),
                           view_features=16, features=16, hidden=32)  # fmt: skip


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return CompactNet(SETTINGS)


def pictures(count, seed, views=SETTINGS.views):
    rng = np.random.default_rng(seed)
    return {v: rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8) for v in views}


REFERENCES = References({task: Reference(pictures(3, 1), pictures(3, 2)) for task in (TASK, OTHER)})


def queries(seed, task=TASK, views=SETTINGS.views):
    """What a live tracker asks at every observation of a clip."""
    tracker, clip = ProgressTracker(REFERENCES, task, TrackerSettings(every=1)), pictures(CLIP, seed, views)
    return [tracker.query({v: f[i] for v, f in clip.items()}) for i in range(CLIP)]


def answers(model, asked):
    return [np.stack([found.hop_B, found.confidence_B, found.valid_B]) for found in map(model.hop, asked)]


def test_what_is_remembered_never_changes_an_answer(net):
    """One model remembers everything, clips of other tasks and cameras included; one nothing beyond a query."""
    remembers, forgets = CompactModel(net, FeatureCache(1000)), CompactModel(net, FeatureCache(1))
    for asked in (queries(5), queries(6, OTHER), queries(5, OTHER), queries(5, views=("top",)), queries(5)):
        for found, expected in zip(answers(remembers, asked), answers(forgets, asked), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert remembers.cache.hits > forgets.cache.hits


def test_a_new_frame_is_encoded_once_for_all_perspectives(net, monkeypatch):
    model, sizes, passes = CompactModel(net, FeatureCache(16)), [], []
    joined = net.joined
    monkeypatch.setattr(net, "joined", lambda parts: (sizes.append(len(parts[0])), joined(parts))[1])
    for asked in queries(7):
        model.hop(asked)
        passes.append(sizes.copy())
        sizes.clear()
    # One row each: in a batch, the other rows could change the last bits.
    assert passes == [[1] * (3 + 3 + 1)] + [[1]] * (CLIP - 1), "the references and the first frame, then each new one"


def test_it_agrees_with_the_model_that_encodes_in_batches(net):
    batched, cached = answers(CompactModel(net), queries(8)), answers(CompactModel(net, FeatureCache(16)), queries(8))
    np.testing.assert_allclose(cached, batched, atol=1e-5)
    assert CompactModel(net).model_id == CompactModel(net, FeatureCache(16)).model_id


def test_many_frames_at_once_are_encoded_in_batches_as_without(net):
    asked = queries(8)[0]
    frames = pictures(20, 11)
    rows, nothing = np.arange(20), np.full(20, -1)
    many = replace(asked, frames=frames, before_B=rows, after_B=rows[::-1].copy(), reference_start_B=nothing,
                   reference_goal_B=nothing, instruction_B=(TASK,) * 20)  # fmt: skip
    model = CompactModel(net, FeatureCache(100))
    np.testing.assert_array_equal(answers(model, [many]), answers(CompactModel(net), [many]))
    assert len(model.cache) == 0


def test_pixels_cameras_and_instruction_tell_embeddings_apart(net):
    model = CompactModel(net, FeatureCache(100))
    asked = replace(queries(9)[0], keys_N=None)
    pixel = {v: f.copy() for v, f in asked.frames.items()}
    pixel["wrist"][-1, 0, 0, 0] ^= 1
    variants = [
        (asked, 7),
        (replace(asked, frames=pixel), 1),  # one pixel of one frame
        (replace(asked, frames={"top": asked.frames["top"]}), 7),
        (replace(asked, instruction_B=(OTHER,) * len(asked)), 7),
        (asked, 0),
    ]
    for query, new in variants:
        before = model.cache.misses
        model.hop(query)
        assert model.cache.misses - before == new


def test_a_trackers_keys_stand_for_pixels(net):
    """Keyed by the tracker or by pixels, in a second episode too, whose references are the same."""
    keyed, pixels = CompactModel(net, FeatureCache(100)), CompactModel(net, FeatureCache(100))
    for seed in (3, 4):
        asked = queries(seed)
        assert all(len(q.keys_N) == len(q.frames["top"]) for q in asked)
        for found, expected in zip(
            answers(keyed, asked), answers(pixels, [replace(q, keys_N=None) for q in asked]), strict=True
        ):
            np.testing.assert_array_equal(found, expected)
    assert keyed.cache.misses == pixels.cache.misses == 6 + 2 * CLIP


def test_a_trained_looking_network_answers_the_same_frame_by_frame():
    """Modulation and standardisation are far from their first values."""
    torch.manual_seed(1)
    net = CompactNet(SETTINGS)
    with torch.no_grad():
        net.mean_VCHW.uniform_(0.2, 0.8)
        net.std_V.copy_(torch.tensor([0.05, 0.3]))
        for p in net.parameters():
            p.mul_(1.3).add_(0.02 * torch.randn_like(p))
    asked = queries(8) + queries(8, OTHER, views=("wrist",))
    single, batched = answers(CompactModel(net, FeatureCache(50)), asked), answers(CompactModel(net), asked)
    assert np.ptp([b[0] for b in batched[:CLIP]]) > 0.01
    np.testing.assert_allclose(single[:CLIP], batched[:CLIP], atol=1e-5)
    np.testing.assert_allclose(single[CLIP:], batched[CLIP:], atol=1e-5)


@pytest.mark.parametrize("cache", [None, 50])
def test_a_picture_that_shows_nothing_is_no_picture(net, cache):
    model = CompactModel(net, None if cache is None else FeatureCache(cache))
    asked = replace(queries(5)[0], keys_N=None)
    covered = {v: f.copy() for v, f in asked.frames.items()}
    covered["wrist"][-1] = (0, 0, 170)
    (one,) = answers(model, [replace(asked, frames=covered)])
    assert one[2].all(), "the other camera answers"
    covered["top"][-1] = 200
    (none,) = answers(model, [replace(asked, frames=covered)])
    rows = (asked.before_B == 7) | (asked.after_B == 7)
    assert none[2].tolist() == (~rows).tolist() and (none[:2, rows] == 0).all() and rows.any()


def test_the_frame_not_asked_for_longest_goes_first():
    cache, computed = FeatureCache(2), []

    def ask(key):
        return cache.get(key, lambda: (computed.append(key), torch.tensor([key]))[1]).item()

    assert [ask(key) for key in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert computed == [1, 2, 3, 2] and len(cache) == 2
    with pytest.raises(ValueError, match="at least 1"):
        FeatureCache(0)
