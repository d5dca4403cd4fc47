"""The compact model end to end on a toy world: a square that moves to the socket of the colour that is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from robo_reward.progress.annotate import annotate, track_many
from robo_reward.progress.fusion import FUSIONS
from robo_reward.progress.hop import apply_hop
from robo_reward.progress.labels import labels_from_outcome
from robo_reward.progress.models.compact import CompactModel
from robo_reward.progress.models.compact_net import CompactNet, CompactSettings, word_ids
from robo_reward.progress.reward_model import RewardModel, load_reward
from robo_reward.progress.tracker import ProgressTracker, TrackerSettings
from robo_reward.progress.training import TrainSettings, label_episodes, train_reward
from robo_reward.testing.toy_world import SETTINGS, SIZE, clips
from robo_reward.types import HopQuery


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("reward")
    summary = train_reward(clips(32, 0), SETTINGS, folder, quiet=True, validation=clips(12, 500))
    return folder, summary, load_reward(folder)


def test_it_learns_the_progress_of_unseen_clips(trained):
    *_, reward = trained
    unseen = clips(12, 1000)
    tracks = track_many(unseen, reward.model, reward.tracker, reward.references)
    errors = [np.abs(t.phi - e.oracle[t.steps]).mean() for t, e in zip(tracks, unseen, strict=True)]
    assert np.mean(errors) < 0.12
    done = [t.phi[-1] for t, e in zip(tracks, unseen, strict=True) if e.success]
    failed = [t.phi[-1] for t, e in zip(tracks, unseen, strict=True) if not e.success]
    assert min(done) > max(failed)


@pytest.mark.parametrize("rule", sorted(FUSIONS))
def test_a_still_clip_does_not_drift(trained, rule):
    *_, reward = trained
    for clip in clips(6, 1000):
        for at in (0, len(clip.frame_steps) // 2):
            still = replace(clip, frames={v: np.repeat(f[at : at + 1], len(f), 0) for v, f in clip.frames.items()})
            tracker = replace(reward.tracker, fusion=rule)
            phi = annotate(still, reward.model, tracker, reward.references).phi
            assert np.ptp(phi) / len(clip) * 100 <= 0.01


def test_it_reads_the_instruction(trained):
    *_, reward = trained
    tasks = sorted(reward.references)
    for clip in (c for c in clips(12, 1000) if c.success):
        own, other = (
            track_many([clip], reward.model, reward.tracker, reward.references, t)[0].phi[-1]
            for t in sorted(tasks, key=lambda t: t != clip.instruction)
        )
        assert own > other + 0.3


def test_live_and_whole_episode_agree(trained):
    *_, reward = trained
    clip = clips(1, 2000)[0]
    tracker = ProgressTracker(reward.references, clip.instruction, reward.tracker)
    stored = dict(zip(clip.frame_steps.tolist(), range(len(clip.frame_steps)), strict=True))
    live = []
    for step in range(len(clip) + 1):
        frames = {v: f[stored[step]] for v, f in clip.frames.items()} if step in stored else None
        query = tracker.query(frames, final=step == len(clip))
        if query is not None:
            tracker.apply(reward.model.hop(query))
        live.append(tracker.progress.phi)
    assert annotate(clip, reward.model, reward.tracker, reward.references).phi == pytest.approx(live, abs=1e-4)


def test_one_camera_is_enough_to_answer(trained):
    *_, reward = trained
    clip = clips(1, 2000)[0]
    one = replace(clip, frames={"top": clip.frames["top"]})
    phi = annotate(one, reward.model, reward.tracker, reward.references).phi
    assert np.isfinite(phi).all() and phi[-1] > phi[0]


def test_the_same_seed_gives_the_same_weights(tmp_path):
    torch.set_num_threads(1)
    few = replace(SETTINGS, steps=4)
    ids = [
        train_reward(clips(8, 0), s, tmp_path / str(i), quiet=True)["model_id"]
        for i, s in enumerate((few, few, replace(few, seed=1)))
    ]
    assert ids[0] == ids[1] != ids[2]


def test_saved_and_loaded_answers_are_equal(trained):
    folder, summary, reward = trained
    assert reward.model.model_id == summary["model_id"] == CompactModel.load(folder).model_id
    assert summary["completion_calibrated"] and summary["pairs_wrong_instruction"] > 0
    assert json.loads((folder / "reward.json").read_text())["train_episodes"] == 32


def test_damaged_files_are_refused(trained, tmp_path):
    *_, reward = trained
    reward.save(tmp_path)
    references = tmp_path / "references.npz"
    whole = references.read_bytes()
    references.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged reference file"):
        load_reward(tmp_path)
    weights = tmp_path / "compact.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="checksum"):
        load_reward(tmp_path)
    (tmp_path / "compact.json").write_text("{}")
    with pytest.raises(ValueError, match="not a description"):
        load_reward(tmp_path)
    with pytest.raises(FileNotFoundError, match="train-reward"):
        load_reward(tmp_path / "nowhere")


def test_unusable_episodes_are_answered_with_what_is_wrong(tmp_path):
    good = clips(8, 0)
    with pytest.raises(ValueError, match="no training episodes"):
        train_reward([], SETTINGS, tmp_path, quiet=True)
    with pytest.raises(ValueError, match=r"has no camera 'wrist': set env.cameras=\[top\]"):
        train_reward([replace(e, frames={"top": e.frames["top"]}) for e in good], SETTINGS, tmp_path, quiet=True)
    small = [replace(e, frames={view: found[:, :16, :16] for view, found in e.frames.items()}) for e in good]
    with pytest.raises(ValueError, match=r"\(16, 16\) pixels, expected 32 square: set env.image_size=16"):
        train_reward(small, SETTINGS, tmp_path, quiet=True)
    with pytest.raises(ValueError, match="no successful demonstration"):
        train_reward([replace(e, success=False) for e in good], SETTINGS, tmp_path, quiet=True, validation=[])
    with pytest.raises(ValueError, match="learning_rate"):
        TrainSettings(learning_rate=3.0)


def test_a_loss_that_is_not_finite_never_reaches_the_weights(tmp_path, monkeypatch):
    from robo_reward.progress import training

    calls = {"n": 0}
    honest = training.batch_loss

    def sometimes_nan(*args):
        calls["n"] += 1
        return honest(*args) * (float("nan") if calls["n"] == 3 else 1.0)

    monkeypatch.setattr(training, "batch_loss", sometimes_nan)
    summary = train_reward(clips(8, 0), replace(SETTINGS, steps=12), tmp_path, quiet=True)
    assert summary["pairs_skipped_steps"] == 1
    assert all(torch.isfinite(p).all() for p in load_reward(tmp_path).model.net.parameters())


def test_a_query_is_checked_and_a_frame_is_embedded_once(trained, monkeypatch):
    model = trained[2].model
    index = np.array([0, 1, 0], np.int64)
    frames = {v: np.zeros((2, SIZE, SIZE, 3), np.uint8) for v in ("top", "wrist")}
    query = HopQuery(frames, index, index[::-1].copy(), index, index, ("go to the blue socket",) * 3)
    seen: list[int] = []
    embed = CompactNet.embed
    monkeypatch.setattr(
        CompactNet,
        "embed",
        lambda net, images, words, *rest: seen.append(len(words)) or embed(net, images, words, *rest),
    )
    assert len(model.hop(query).hop_B) == 3 and seen == [2]
    with pytest.raises(ValueError, match="the reward model knows"):
        model.hop(replace(query, frames={"left": frames["top"]}))
    with pytest.raises(ValueError, match=f"expected \\(N, {SIZE}, {SIZE}, 3\\) uint8"):
        model.hop(replace(query, frames={"top": frames["top"][:, :8]}))


def test_words_are_hashed_the_same_everywhere():
    assert word_ids("Go to the BLUE socket!").tolist() == word_ids("go to the blue socket").tolist()
    assert word_ids("go").tolist() != word_ids("stop").tolist()


def test_settings_round_trip(trained, tmp_path):
    *_, reward = trained
    RewardModel(reward.model, reward.references, TrackerSettings(fusion="average")).save(tmp_path)
    assert load_reward(tmp_path).tracker == TrackerSettings(fusion="average")
    assert load_reward(tmp_path).references.digest() == reward.references.digest()


def with_target(target: str) -> TrainSettings:
    return replace(SETTINGS, steps=3, model=replace(SETTINGS.model, target=target))


@pytest.fixture(scope="module")
def absolute(tmp_path_factory):
    return trained_on("absolute", tmp_path_factory.mktemp("absolute"))


@pytest.fixture(scope="module")
def difference(tmp_path_factory):
    return trained_on("difference", tmp_path_factory.mktemp("difference"))


def trained_on(target: str, folder: Path) -> RewardModel:
    torch.set_num_threads(1)
    train_reward(clips(32, 0), replace(with_target(target), steps=200), folder, quiet=True, validation=clips(12, 500))
    return load_reward(folder)


@pytest.mark.parametrize("target", ["absolute", "difference"])
def test_the_other_targets_learn_the_progress_too(target, request):
    reward = request.getfixturevalue(target)
    assert reward.model.settings.target == target and reward.tracker.differences == (target == "difference")
    unseen = clips(12, 1000)
    tracks = track_many(unseen, reward.model, reward.tracker, reward.references)
    assert np.mean([np.abs(t.phi - e.oracle[t.steps]).mean() for t, e in zip(tracks, unseen, strict=True)]) < 0.15


def test_an_absolute_model_answers_the_hops_of_its_own_potentials(absolute):
    clip = next(c for c in clips(12, 1000) if c.success)
    last = len(clip.frame_steps) - 1
    inner = np.arange(1, last)
    n = len(inner)
    before, after = np.concatenate([np.zeros(n, int), np.full(n, last), inner]), np.tile(inner, 3)
    after[2 * n :] = np.roll(inner, 3)
    references = np.zeros(3 * n, int), np.full(3 * n, last)
    query = HopQuery(clip.frames, before, after, *references, (clip.instruction,) * (3 * n))
    forward, backward, hop = np.split(absolute.model.hop(query).hop_B, 3)
    assert forward.std() > 0.2
    assert 1 + backward == pytest.approx(forward, abs=1e-5), "both references are known, so both say the same"
    assert apply_hop(forward, hop) == pytest.approx(np.roll(forward, 3), abs=1e-5)


def test_failures_can_be_left_out(tmp_path):
    torch.set_num_threads(1)
    episodes, held_out = clips(8, 0), clips(4, 500)
    settings = replace(with_target("hop"), failures=False)
    summary = train_reward(episodes, settings, tmp_path, quiet=True, validation=held_out)
    assert summary["train_episodes"] == sum(e.success for e in episodes) == 4
    assert summary["pairs_failed_episode"] == 0 and summary["completion_failures"] == 2


def test_labels_linear_in_time_are_a_control():
    episodes = clips(4, 0)
    linear = label_episodes(episodes, replace(SETTINGS, labels="frames"), {})
    for episode, label in zip(episodes, linear, strict=True):
        expected = labels_from_outcome(len(episode) + 1, episode.success)
        assert np.array_equal(label.phi, expected.phi) and np.array_equal(label.high, expected.high)
    stages = label_episodes(episodes, SETTINGS, {})
    failed = next(i for i, e in enumerate(episodes) if not e.success)
    assert stages[failed].phi[-1] > linear[failed].phi[-1] == 0


def test_unknown_words_are_refused():
    with pytest.raises(ValueError, match="expected one of hop, absolute, difference"):
        CompactSettings(target="delta")
    with pytest.raises(ValueError, match="expected steps or frames"):
        TrainSettings(labels="time")
