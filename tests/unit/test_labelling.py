"""label.source: the same keyframes for the label command and for training, and no look at what they replace."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from robo_reward.config import load_config  # noqa: E402
from robo_reward.progress.labels import label_episode  # noqa: E402
from robo_reward.progress.models.compact import CompactModel  # noqa: E402
from robo_reward.progress.models.compact_net import CompactNet, CompactSettings  # noqa: E402
from robo_reward.runtime import labelling, steps  # noqa: E402
from robo_reward.runtime.stages import StageResult  # noqa: E402
from robo_reward.testing.episodes import make_episode  # noqa: E402
from robo_reward.types import UNKNOWN_STAGE, Episode  # noqa: E402

SIZE, CONTACT, STOPS = 32, 15, (10, 19, 30)


def episode(name: str = "demo", success: bool = True, stage: bool = True) -> Episode:
    """31 observations; the picture changes, and so does the stage, at 10, 19 and 30; contact begins at 19."""
    time = np.arange(31)
    reached = np.searchsorted(STOPS if success else STOPS[:1], time, side="right")
    frames = np.full((31, SIZE, SIZE, 3), 40, np.uint8)
    for t in time:
        frames[t, :, 10 * np.searchsorted(STOPS, t, side="right") :][:, :8] = 230
    agent_pos = np.zeros((31, 30), np.float32)
    agent_pos[19:, CONTACT] = 9
    return make_episode(
        30, name, success=success, instruction="insert the peg", source="expert", agent_pos=agent_pos,
        estimate=np.zeros((31, 0), np.float32), stage=reached + reached // 3 if stage else np.full(31, UNKNOWN_STAGE),
        frames={"front": frames},
    )  # fmt: skip


EPISODES = [("demos", episode()), ("weak", episode("failed", success=False))]


@pytest.fixture
def data(monkeypatch, tmp_path):
    def of(folder, views=()):
        for split, e in EPISODES:
            yield split, e if views is None or views else replace(e, frames={}, frame_steps=np.zeros(0, np.int64))

    monkeypatch.setattr(labelling, "episodes_of", of)
    monkeypatch.setattr(labelling, "read_subtasks", lambda root: None)
    for split in ("demos", "weak"):
        (tmp_path / "data" / split).mkdir(parents=True)
    return tmp_path / "data"


def config(*words: str):
    return load_config(["env.cameras=[front]", "label.pictures=0", "quiet=true", *words], command="label")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), {}),
        (("label.source=events",), {"demo": (0, 19, 30)}),
        (("label.source=variance", "label.segments=3"), {"demo": (0, 10, 19, 30)}),
        (("label.source=variance", "label.segments=2"), None),
        (("label.source=uvd",), None),
        (("label.source=subtask",), {"demo": (0, 10, 19, 30, 30), "failed": (0, 10)}),
    ],
)
def test_every_source_finds_what_the_episode_shows(data, words, expected):
    keys = labelling.find_keyframes(config(*words), data)
    if expected is not None:
        assert {name: tuple(map(int, found)) for name, found in keys.items()} == expected
    for name, found in keys.items():
        assert found[0] == 0 and (name == "failed" or found[-1] == 30)


def test_what_a_found_source_does_not_say_is_left_open(data, tmp_path):
    chosen = config("label.source=events")
    summary = labelling.write_labels(chosen, data, tmp_path)
    rows = json.loads((tmp_path / "labels.json").read_text())
    assert rows["demo"]["source"] == "events" and rows["demo"]["keyframes"] == [0, 19, 30]
    assert rows["demo"]["phi"][19] == 0.5 and rows["demo"]["phi"][-1] == 1
    assert rows["failed"]["source"] == "outcome"
    assert set(rows["failed"]["low"]) == {0} and set(rows["failed"]["high"][1:]) == {1}
    assert summary["exact_share"] == pytest.approx((1 + 1 / 31) / 2)


def test_agreement_compares_with_the_true_keyframes_of_successes(data, tmp_path):
    summary = labelling.write_labels(config("label.source=events"), data, tmp_path)
    assert summary["agreement_episodes"] == 1
    assert summary["agreement_found"] == 1 and summary["agreement_true"] == 2
    assert summary["agreement_median_error_steps"] == 0 and summary["agreement_within_5_steps"] == 0.5
    assert summary["agreement_even_median_error_steps"] == 4  # one in the middle, at 15
    assert all(isinstance(value, (int, float, str)) for value in summary.values())


def test_agreement_is_left_out_where_nothing_true_is_known(data, tmp_path, monkeypatch):
    assert not any("agreement" in key for key in labelling.write_labels(config(), data, tmp_path))
    monkeypatch.setattr(labelling, "episodes_of", lambda *_: iter([("demos", episode(stage=False))]))
    summary = labelling.write_labels(config("label.source=events"), data, tmp_path)
    assert not any("agreement" in key for key in summary)


def test_training_sees_the_same_keyframes_and_no_stages(data, tmp_path, monkeypatch):
    seen = {}

    def train(episodes, settings, folder, quiet, validation, keyframes):
        seen["labels"] = {e.episode_id: label_episode(e, 4, keyframes.get(e.episode_id)) for e in episodes}
        return {}

    monkeypatch.setattr("robo_reward.progress.training.train_reward", train)
    monkeypatch.setattr(steps, "read_split", lambda _folder, split, *_: [e for s, e in EPISODES if s == split])
    for words in ((), ("label.source=events",), ("label.source=variance", "label.segments=3")):
        labelling.write_labels(config(*words), data, tmp_path)
        steps._train_reward(config(*words), StageResult("collect", data, "", {}, 0.0, False), tmp_path, None)
        for name, row in json.loads((tmp_path / "labels.json").read_text()).items():
            assert seen["labels"][name].phi == pytest.approx(row["phi"], abs=1e-4)
            assert seen["labels"][name].high == pytest.approx(row["high"], abs=1e-4)


def test_the_key_follows_what_decides_the_keyframes():
    plain = labelling.label_key(config())
    assert labelling.label_key(config("label.apart=9", "label.pictures=3")) == plain
    found = labelling.label_key(config("label.source=uvd"))
    assert found != plain and labelling.label_key(config("label.source=uvd", "label.pictures=3")) == found
    assert labelling.label_key(config("label.source=uvd", "label.apart=9")) != found
    with pytest.raises(FileNotFoundError, match=r"label\.model=nowhere: no trained reward model here"):
        labelling.label_key(config("label.source=uvd", "label.model=nowhere"))


def test_the_same_dataset_in_another_task_has_other_labels(data, tmp_path):
    brought = StageResult("dataset", data, "", {}, 0.0, False)
    words = f"run.root={tmp_path}", "dataset=mine", "label.source=events"
    found = [steps.label_stage(config(f"env={env}", *words), brought) for env in ("peg_insert", "lift", "peg_insert")]
    assert [stage.reused for stage in found] == [False, False, True]
    keys = [json.loads((stage.path / "labels.json").read_text())["demo"]["keyframes"] for stage in found]
    assert keys == [[0, 19, 30], [0, 30], [0, 19, 30]], "a contact, which the other task's arm does not tell of"


def test_a_reward_models_features_take_the_place_of_pixels(data, tmp_path):
    torch.manual_seed(0)
    shape = CompactSettings(views=("front",), image_size=SIZE, channels=(4,), kernels=(4,), strides=(4,),
                            view_features=8, features=8, hidden=8)  # fmt: skip
    model = CompactModel(CompactNet(shape))
    model.save(tmp_path / "model")
    demo = episode()
    features = model.features(demo.frames, demo.instruction)
    assert features.shape == (31, 8) and np.array_equal(features[0], features[9])
    assert not np.allclose(features[9], features[10])
    chosen = config("label.source=variance", "label.segments=3", f"label.model={tmp_path / 'model'}")
    assert tuple(labelling.find_keyframes(chosen, data)["demo"]) == (0, 10, 19, 30)
    assert labelling.label_key(chosen)["label"]["model"]


def test_pictures_are_drawn_of_the_first_episodes(data, tmp_path):
    pytest.importorskip("matplotlib")
    summary = labelling.write_labels(config("label.pictures=1", "label.source=events"), data, tmp_path)
    assert summary["label_pictures"] == 1
    assert [path.name for path in tmp_path.glob("*.png")] == ["label-1-demos.png"]


@pytest.mark.parametrize("source", ["subtask", "events", "uvd"])
def test_a_dataset_without_what_the_source_reads_is_refused(source, data, monkeypatch):
    blind = replace(episode(stage=False), frames={}, frame_steps=np.zeros(0, np.int64))
    monkeypatch.setattr(labelling, "episodes_of", lambda *_: iter([("demos", blind)]))
    chosen = config(f"label.source={source}")
    if source == "events":
        task = labelling.task_of(chosen.env)
        monkeypatch.setattr(labelling, "task_of", lambda env: replace(task, events=()))
    with pytest.raises(ValueError, match=r"choose .*label\.source"):
        labelling.find_keyframes(chosen, Path(data))


def test_a_state_without_the_tasks_event_column_is_told(data, monkeypatch):
    narrow = replace(episode(), agent_pos=episode().agent_pos[:, :2])
    monkeypatch.setattr(labelling, "episodes_of", lambda *_: iter([("demos", narrow)]))
    with pytest.raises(ValueError, match=r"label.source=events reads column \d+ .* has 2 columns: choose another"):
        labelling.find_keyframes(config("label.source=events"), data)


def test_failures_keep_sub_tasks_only_where_their_number_is_the_tasks_own(data, monkeypatch):
    columns = {"demo": np.array([0, 5, 9, 20, 30]), "failed": np.array([0, 6, 30])}
    monkeypatch.setattr(labelling, "read_subtasks", lambda root: columns)
    chosen = config("label.source=subtask")
    assert labelling.find_keyframes(chosen, data) == {"demo": (0, 5, 9, 20, 30), "failed": (0, 6)}
    columns["demo"] = np.array([0, 9, 30])
    assert labelling.find_keyframes(chosen, data) == {"demo": (0, 9, 30)}


def test_a_persons_file_speaks_of_failures_and_leaves_the_others_their_stages(data, tmp_path):
    path = tmp_path / "keyframes.json"
    path.write_text('{"failed": [0, 4, 9]}')
    labelling.write_labels(config(f"keyframes={path}"), data, tmp_path)
    rows = json.loads((tmp_path / "labels.json").read_text())
    assert (rows["failed"]["source"], rows["demo"]["source"]) == ("file", "predicates")
    assert rows["failed"]["phi"][9] == 0.5 and rows["failed"]["high"][10] == 0.75
    assert rows["demo"]["keyframes"] == [0, 10, 19, 30, 30]


def test_more_keyframes_in_a_file_than_the_task_has_stages_are_refused(data, tmp_path):
    path = tmp_path / "keyframes.json"
    path.write_text('{"demo": [0, 1, 2, 3, 4, 5]}')
    with pytest.raises(ValueError, match=r"keyframes\.json: episode demo has 5 keyframes.*at most 5 keyframes"):
        labelling.find_keyframes(config(f"keyframes={path}"), data)
