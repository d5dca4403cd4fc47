"""One-shot adaptation on a toy world: a square learned to be pushed right is shown once how it is pushed left."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from robo_reward.config import load_config
from robo_reward.data.demonstration import demonstration_files
from robo_reward.progress.adaptation import adapt_reward, grow, reference_clips
from robo_reward.progress.annotate import track_many
from robo_reward.progress.labels import labels_from_outcome
from robo_reward.progress.models.compact_net import CompactNet, CompactSettings, check_names
from robo_reward.progress.pairs import PairSettings
from robo_reward.progress.references import References
from robo_reward.progress.reward_model import RewardModel, load_reward
from robo_reward.progress.training import TrainSettings, train_reward
from robo_reward.runtime import demonstration
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode

SIZE, PUSH, LEFT = 32, "push it right", "push it left"
SETTINGS = TrainSettings(
    steps=120,
    pairs=PairSettings(visits_per_batch=4, pairs_per_visit=32),
    model=CompactSettings(("top",), SIZE, 1, channels=(8, 16), kernels=(4, 3), strides=(4, 1),
                          view_features=32, features=32, hidden=64),
)  # fmt: skip
ADAPT = replace(SETTINGS, steps=80, learning_rate=1e-3)


def clip(task: str, seed: int, views: tuple[str, ...] = ("top",)) -> Episode:
    rng = np.random.default_rng(seed)
    length = int(rng.integers(36, 60))
    steps = np.append(np.arange(0, length, 4), length)
    row, column = rng.integers(18, 24), rng.integers(2, 6)
    frames = {v: np.full((len(steps), SIZE, SIZE, 3), 60, np.uint8) for v in views}
    for q, step in enumerate(steps):
        moved = round(16 * step / length)
        y, x = (row, column + moved) if task == PUSH else (row, column + 16 - moved)
        for view in views:
            frames[view][q, y : y + 6, x : x + 6] = (240, 200, 30)
    n, nothing = length + 1, np.zeros((length + 1, 0), np.float32)
    truth = np.linspace(0, 1, n, dtype=np.float32)
    return make_episode(
        length, f"{task}-{seed}", instruction=task, source="expert", seed=seed, agent_pos=nothing, estimate=nothing,
        action=nothing[1:], stage=np.floor(truth).astype(np.int64), oracle=truth, frame_steps=steps, frames=frames,
    )  # fmt: skip


def clips(task: str, first: int, count: int = 6) -> list[Episode]:
    return [clip(task, seed) for seed in range(first, first + count)]


def error(reward: RewardModel, episodes: list[Episode]) -> float:
    tracks = track_many(episodes, reward.model, reward.tracker, reward.references)
    return float(np.mean([np.abs(t.phi - e.oracle[t.steps]).mean() for t, e in zip(tracks, episodes, strict=True)]))


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> RewardModel:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("base")
    train_reward(clips(PUSH, 0, 12), SETTINGS, folder, quiet=True, validation=[])
    return load_reward(folder)


def test_one_demonstration_teaches_the_new_task_and_the_old_one_stays(base, tmp_path):
    demo, held_out, old = clip(LEFT, 100), clips(LEFT, 200), clips(PUSH, 300)
    told = RewardModel(
        base.model, References({**base.references, **References.from_demonstrations([demo])}), base.tracker
    )
    before, old_before = error(told, held_out), error(base, old)
    replay = [(e, labels_from_outcome(len(e) + 1, True)) for e in clips(PUSH, 0)]
    summary = adapt_reward(base, demo, ADAPT, tmp_path, replay=replay, quiet=True)
    adapted = load_reward(tmp_path)
    assert error(adapted, held_out) < 0.25 < 0.4 < before
    assert error(adapted, old) < old_before + 0.05
    assert sorted(adapted.references) == sorted([LEFT, PUSH])
    (start,) = adapted.references[LEFT].start["top"]
    assert (start == demo.frames["top"][0]).all(), "the demonstration's own start"
    assert summary["adapted_from"] == base.model.model_id != summary["model_id"] == adapted.model.model_id
    assert summary["completion_calibrated"] is False and summary["replayed_episodes"] == 6
    assert json.loads((tmp_path / "reward.json").read_text()) == summary


def test_without_old_episodes_the_references_are_replayed(base, tmp_path):
    summary = adapt_reward(base, clip(LEFT, 100), replace(ADAPT, steps=3), tmp_path, quiet=True)
    assert summary["replayed_episodes"] == 0 and summary["replayed_reference_tasks"] == 1
    (first, label), *_ = reference_clips(base.references, {PUSH})
    np.testing.assert_array_equal(first.frames["top"][1], base.references[PUSH].goal["top"][0])
    assert label.phi.tolist() == [0, 1]


def test_a_new_camera_begins_as_a_copy_of_the_first(base):
    net, added = grow(base.model.net, ("left", "top"))
    assert net.settings.views == ("top", "left") and added == ("left",)
    images, words = torch.rand(4, 3, SIZE, SIZE), torch.ones(4, 24, dtype=torch.int64)
    # One and the same picture through the old and the new trunk.
    seen: dict[str, torch.Tensor] = {}
    for view in ("top", "left"):
        net.views_out[view].register_forward_hook(lambda _m, _i, out, view=view: seen.update({view: out}))
    net.embed({"top": images, "left": images}, words)
    torch.testing.assert_close(seen["left"], seen["top"])
    same, none = grow(base.model.net, ("top",))
    assert none == () and all((same.state_dict()[k] == v).all() for k, v in base.model.net.state_dict().items())


@pytest.mark.parametrize("first", ["s", "out", "view"])
def test_a_first_camera_that_is_called_as_a_part_of_the_network_can_be_copied(base, first):
    net, _ = grow(CompactNet(replace(base.model.settings, views=(first,))), ("left",))
    for part in (net.trunks, net.views_out):
        old, new = part[first].state_dict(), part["left"].state_dict()
        assert all((new[name] == tensor).all() for name, tensor in old.items())


def test_a_demonstration_from_other_cameras_can_be_followed(base, tmp_path):
    demo = clip(LEFT, 100, ("left", "right"))
    replay = [(e, labels_from_outcome(len(e) + 1, True)) for e in clips(PUSH, 0)]
    summary = adapt_reward(base, demo, replace(ADAPT, steps=160), tmp_path, replay=replay, quiet=True)
    adapted = load_reward(tmp_path)
    assert summary["new_views"] == "left,right" and adapted.model.settings.views == ("top", "left", "right")
    assert error(adapted, [demo]) < 0.1
    assert error(adapted, clips(PUSH, 300)) < error(base, clips(PUSH, 300)) + 0.08, "its own camera alone"


def test_a_known_instruction_is_refused(base, tmp_path):
    with pytest.raises(ValueError, match="'push it right' is known to the reward model: set instruction="):
        adapt_reward(base, clip(PUSH, 100), ADAPT, tmp_path, quiet=True)
    assert not list(tmp_path.iterdir())


def test_half_of_what_is_drawn_is_the_demonstration(base, tmp_path, monkeypatch):
    from robo_reward.progress import adaptation

    drawn, honest = [], adaptation.batch_loss

    def spied(net, pool, batch, stage_weight):
        drawn.append(batch.after_B)
        return honest(net, pool, batch, stage_weight)

    monkeypatch.setattr(adaptation, "batch_loss", spied)
    replay = [(e, labels_from_outcome(len(e) + 1, True)) for e in clips(PUSH, 0)]
    adapt_reward(base, demo := clip(LEFT, 100), replace(ADAPT, steps=40), tmp_path, replay=replay, quiet=True)
    frames = np.concatenate(drawn)
    assert 0.4 < (frames < len(demo.frame_steps)).mean() < 0.6


def test_the_same_seed_adapts_to_the_same_weights(base, tmp_path):
    few = replace(ADAPT, steps=3)
    ids = [
        adapt_reward(base, clip(LEFT, 100), s, tmp_path / str(i), quiet=True)["model_id"]
        for i, s in enumerate((few, few, replace(few, seed=1)))
    ]
    assert ids[0] == ids[1] != ids[2]


def test_a_network_may_have_eight_cameras():
    views = tuple("abcdefgh")
    assert CompactNet(CompactSettings(views, SIZE)).settings.views == views
    with pytest.raises(ValueError, match="1 to 8 different camera names"):
        CompactSettings((*views, "i"), SIZE)


@pytest.mark.parametrize("name", ["left.wrist", "type", ""])
def test_a_camera_name_that_no_module_can_have_is_refused(name):
    with pytest.raises(ValueError, match=f"camera '{name}': .*; rename the camera"):
        CompactNet(CompactSettings(("top", name), SIZE))
    with pytest.raises(ValueError, match=f"camera '{name}': .*; rename the camera"):
        check_names(("top", name))


def test_settings_that_change_a_demonstrations_model_are_in_its_stages_key(monkeypatch, tmp_path):
    keys = []
    monkeypatch.setattr(demonstration, "kept_stage", lambda config, name, key, inputs, build: keys.append(key))
    (tmp_path / "demo").mkdir()
    for words in ([], ["completion.sustain=3"], ["reward.swap_references=0.5"]):
        demonstration.demo_stage(load_config([f"demo={tmp_path / 'demo'}", *words], command="train-reward"))
    assert len({repr(key) for key in keys}) == 3


def test_a_dataset_s_rows_are_among_the_files_that_decide_on_a_demonstration(tmp_path):
    for part in ("meta/info.json", "data/chunk-000/file-000.parquet", "videos/top/file-000.mp4"):
        (tmp_path / part).parent.mkdir(parents=True)
        (tmp_path / part).touch()
    assert [path.suffix for path in demonstration_files(f"{tmp_path}:3")] == [".parquet", ".json"]
