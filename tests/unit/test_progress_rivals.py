"""The rivals end to end on the toy world: a square that moves to the socket it is told."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from robo_reward.config import RIVALS as NAMES
from robo_reward.config import load_config
from robo_reward.progress.bench.metrics import rank_correlation
from robo_reward.progress.bench.suite import BenchSettings, bench_reward
from robo_reward.progress.clips import ClipSampler
from robo_reward.progress.labels import label_episode
from robo_reward.progress.models.compact import CompactModel
from robo_reward.progress.models.compact_net import CompactNet
from robo_reward.progress.models.rival import Demonstration, class_loss
from robo_reward.progress.models.transport import prefix_costs
from robo_reward.progress.references import References
from robo_reward.progress.reward_model import RewardModel, load_reward
from robo_reward.progress.rivals import RIVALS, load_rival, train_rival
from robo_reward.progress.scorer import load_scorer
from robo_reward.progress.training import train_reward
from robo_reward.runtime.reward_results import reward_sections
from robo_reward.runtime.stages import StageResult
from robo_reward.testing import toy_world as toy

SETTINGS = replace(toy.SETTINGS, steps=150)
STEPS = {"progressor": 250}
"""Its entropy falls late."""
UNSEEN = toy.clips(12, 1000)


@pytest.fixture(scope="module")
def compact(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("compact")
    train_reward(toy.clips(32, 0), SETTINGS, folder, quiet=True, validation=[])
    return folder


@pytest.fixture(scope="module", params=NAMES)
def rival(request, compact, tmp_path_factory):
    """Kind, folder, summary and the loaded rival."""
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    settings = replace(SETTINGS, steps=STEPS.get(kind, SETTINGS.steps))
    summary = train_rival(kind, toy.clips(32, 0), settings, folder, True, validation=[], compact=compact)
    return kind, folder, summary, load_rival(folder)


def ranking(reward, clips):
    """Rank correlation of values and true progress over clips at the same query: a clock has none. Mean over some."""
    values = [t.phi[e.frame_steps] for t, e in zip(reward.annotate(clips), clips, strict=True)]
    truth = [e.oracle[e.frame_steps] for e in clips]
    found = [rank_correlation(*(np.array([x[q] for x in each]) for each in (values, truth))) for q in (5, 7, 9)]
    return float(np.nan_to_num(found).mean())


def test_the_settings_know_the_same_kinds():
    assert set(NAMES) == set(RIVALS)


def test_it_ranks_the_frames_of_unseen_clips_and_their_outcomes(rival):
    *_, reward = rival
    assert ranking(reward, UNSEEN) > 0.55
    last = {
        success: np.mean([t.phi[-1] for t in reward.annotate([e for e in UNSEEN if e.success == success])])
        for success in (True, False)
    }
    assert last[True] > last[False] + 0.1


def test_frames_in_a_random_order_teach_nothing(tmp_path):
    """The control of the test above."""
    rng = np.random.default_rng(0)
    shuffled = []
    for clip in toy.clips(32, 0):
        order = rng.permutation(len(clip.frame_steps))
        shuffled.append(replace(clip, frames={v: f[order] for v, f in clip.frames.items()}))
    train_rival("vlac", shuffled, SETTINGS, tmp_path, quiet=True, validation=[])
    assert ranking(load_rival(tmp_path), UNSEEN) < 0.55


def test_later_frames_change_nothing(rival):
    *_, reward = rival
    clip, cut = UNSEEN[0], 6
    other = {v: np.concatenate([f[:cut], 255 - f[cut:]]) for v, f in clip.frames.items()}
    before, after = (reward.annotate([c])[0].phi for c in (clip, replace(clip, frames=other)))
    step = clip.frame_steps[cut]
    assert before[:step] == pytest.approx(after[:step], abs=1e-5)
    assert not np.allclose(before[step:], after[step:])


def test_saved_and_loaded_scores_are_equal(rival, tmp_path):
    kind, folder, summary, reward = rival
    reward.save(tmp_path)
    again = load_scorer(tmp_path)
    assert again.track_id == reward.track_id == summary["model_id"] == reward.annotate(UNSEEN[:1])[0].model_id
    assert again.name == kind and again.instructions == tuple(sorted({e.instruction for e in UNSEEN}))
    assert np.array_equal(again.annotate(UNSEEN[:2])[1].phi, reward.annotate(UNSEEN[:2])[1].phi)
    assert json.loads((folder / "reward.json").read_text())["train_episodes"] == 32


def test_values_are_potentials_held_between_queries(rival):
    *_, reward = rival
    (track,) = reward.annotate(UNSEEN[:1])
    assert len(track.phi) == len(UNSEEN[0]) + 1 and track.phi.dtype == np.float32
    assert track.phi.min() >= 0 and track.phi.max() <= 1
    assert (track.phi[:4] == track.phi[0]).all()


def test_bad_input_is_named(rival, tmp_path):
    kind, folder, _, reward = rival
    with pytest.raises(ValueError, match="'dance'"):
        reward.annotate(UNSEEN[:1], "dance")
    with pytest.raises(ValueError, match="scores whole episodes only"):
        load_reward(folder)
    reward.save(tmp_path)
    weights = tmp_path / "rival.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="checksum"):
        load_scorer(tmp_path)
    (tmp_path / "rival.json").write_text("{}")
    with pytest.raises(ValueError, match="not a description"):
        load_scorer(tmp_path)
    with pytest.raises(FileNotFoundError, match="train-reward"):
        load_rival(tmp_path / "nowhere")
    one = replace(UNSEEN[0], frames={"top": UNSEEN[0].frames["top"]})
    if kind == "pixel_distance":
        with pytest.raises(ValueError, match="wrist is missing"):
            reward.annotate([one])
    else:
        assert np.isfinite(reward.annotate([one])[0].phi).all(), "one camera is enough"


def test_untrainable_input_is_named(tmp_path):
    clips = toy.clips(8, 0)
    with pytest.raises(ValueError, match="'sram'"):
        train_rival("sram", clips, SETTINGS, tmp_path, validation=[])
    with pytest.raises(ValueError, match="encoder"):
        train_rival("transport", clips, SETTINGS, tmp_path, validation=[])
    with pytest.raises(ValueError, match="no successful demonstration"):
        train_rival("sarm", [replace(e, success=False) for e in clips], SETTINGS, tmp_path, validation=[])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["reward=sarm", "video.front=a.mp4"], "video= needs a reward model that answers hops"),
        (["reward=sarm", "store=somewhere"], "store= needs .* reward=sarm scores whole episodes only"),
        (["reward.rivals=[sram]"], "'sram'.*'sarm'"),
    ],
)
def test_what_a_rival_cannot_do_is_refused_before_it_is_trained(asked, message):
    with pytest.raises(ValueError, match=message):
        load_config(asked, "bench-reward")
    assert load_config(["reward=sarm", "video.front=a.mp4", "reward_model=mine"], "bench-reward").reward.kind == "sarm"


def test_the_same_seed_gives_the_same_weights(tmp_path):
    torch.set_num_threads(1)
    few = replace(SETTINGS, steps=3)
    ids = [
        train_rival("sarm", toy.clips(8, 0), s, tmp_path / str(i), quiet=True)["model_id"]
        for i, s in enumerate((few, few, replace(few, seed=1)))
    ]
    assert ids[0] == ids[1] != ids[2]


def test_rivals_have_rows_in_the_models_table(tmp_path):
    net = CompactNet(SETTINGS.model).eval()
    model = RewardModel(CompactModel(net), References.from_demonstrations(UNSEEN), SETTINGS.tracker)
    train_rival("pixel_distance", UNSEEN, SETTINGS, tmp_path / "rival", validation=[])
    pixels = load_scorer(tmp_path / "rival")
    flat = bench_reward(model, UNSEEN, BenchSettings(draws=20), tmp_path / "a", [pixels])
    rows = json.loads((tmp_path / "a" / "bench.json").read_text())
    assert [row["method"] for row in rows[:2]] == ["compact", "pixel_distance"]
    assert rows[1]["reads"].endswith("top, wrist") and not rows[1]["control"] and "reward_reads" not in flat
    assert rows[1]["wrong_instruction_accuracy"] > 0.8
    sections = reward_sections(StageResult("bench-reward", tmp_path / "a", "0" * 64, {}, 1.0, False))
    (reads,) = [section.html for section in sections if section.title == "What each reward model reads"]
    assert "goal frame of one demonstration; top, wrist" in reads and "start and goal frames of 3" in reads
    alone = bench_reward(pixels, UNSEEN, BenchSettings(draws=20), tmp_path / "b")
    assert alone["reward_progress_error"] == rows[1]["progress_error"]
    assert json.loads((tmp_path / "b" / "reliability.json").read_text()) == [], "it has no confidence"


def test_a_class_within_bounds_costs_nothing_more():
    logits = torch.log(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    first, last = torch.tensor([1]), torch.tensor([2])
    assert class_loss(logits, first, last).item() == pytest.approx(-np.log(0.5))
    assert class_loss(logits, first, first).item() == pytest.approx(-np.log(0.2))


def test_transport_of_a_set_onto_itself_is_free():
    points = torch.linspace(0, 1, 4, dtype=torch.float64)
    costs = prefix_costs((points[:, None] - points[None]).abs())
    assert costs[-1] == pytest.approx(0, abs=1e-3)
    assert costs[0] == pytest.approx(0.5, abs=1e-6), "one point goes to all four: their mean distance"
    assert (costs.diff() < 0).all()


def test_stage_shares_are_the_mean_of_the_demonstrations():
    sarm = RIVALS["sarm"](SETTINGS.model, ("a", "b"))
    short = np.interp(np.arange(9), [0, 1, 2, 3, 8], [0, 0.25, 0.5, 0.75, 1]).astype(np.float32)
    even = np.linspace(0, 1, 9, dtype=np.float32)
    sarm.keep(1, [Demonstration({}, short), Demonstration({}, even)])
    assert sarm.share_TS.numpy() == pytest.approx(
        np.array([[0.25] * 4, [0.1875, 0.1875, 0.1875, 0.4375]])
    )  # of 1, 1, 1, 5 and 2, 2, 2, 2 eighths
    sarm.keep(0, [Demonstration({}, np.interp(np.arange(9), [0, 4], [0, 1]).astype(np.float32))])
    assert sarm.share_TS[0].tolist() == [0.125, 0.125, 0.125, 0.625], "at the goal before its last frame"


@pytest.mark.parametrize("whole", [True, False])
def test_clips_keep_frames_and_labels_together(whole):
    clips = toy.clips(8, 0)
    labels = [label_episode(clip, 4) for clip in clips]
    pairs = replace(SETTINGS.pairs, wrong_instruction=0.5, frames_per_visit=6)
    sampler, again = (ClipSampler(clips, labels, 4, pairs, 3, whole, rewinds=True) for _ in range(2))
    owner = np.concatenate([[i] * len(clip.frame_steps) for i, clip in enumerate(clips)])
    step = np.concatenate([clip.frame_steps for clip in clips])
    rewound = wrong = 0
    for _ in range(20):
        batch = sampler.batch()
        assert np.array_equal(batch.frame_CL, again.batch().frame_CL)
        used = sum(len(np.unique(row[inside])) for row, inside in zip(batch.frame_CL, batch.inside_CL, strict=True))
        assert used >= pairs.visits_per_batch * pairs.frames_per_visit
        for c, (row, inside) in enumerate(zip(batch.frame_CL, batch.inside_CL, strict=True)):
            frames, number = row[inside], owner[row[0]]
            assert (owner[row] == number).all() and step[frames[0]] == 0
            rewound += (np.diff(frames) < 0).any()
            label, named = labels[number], sampler.tasks[batch.task_C[c]]
            if named == clips[number].instruction:
                assert np.array_equal(batch.low_CL[c][inside], label.low[step[frames]])
                assert np.array_equal(batch.high_CL[c][inside], label.high[step[frames]])
            else:
                wrong += 1
                late = label.phi[step[frames]] >= 0.25
                assert (batch.low_CL[c] == 0).all() and (batch.high_CL[c][inside][late] == 0).all()
            goal = clips[owner[batch.goal_C[c]]]
            assert goal.instruction == named and goal.success and step[batch.goal_C[c]] == len(goal)
    assert rewound > 10 and wrong > 10
