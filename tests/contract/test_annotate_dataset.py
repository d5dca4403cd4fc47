"""A dataset annotated by a reward model is one that LeRobot reads, weights and all, and the source stays as it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lerobot")
pytest.importorskip("torch")

import torch

from robo_reward.config import load_config
from robo_reward.data.disk import Disk
from robo_reward.data.lerobot import DatasetWriter, read_dataset
from robo_reward.progress.annotate import track_many
from robo_reward.progress.columns import columns_of
from robo_reward.progress.completion import CompletionRule
from robo_reward.progress.models.compact import CompactModel
from robo_reward.progress.models.compact_net import CompactNet, CompactSettings
from robo_reward.progress.references import References
from robo_reward.progress.reward_model import RewardModel
from robo_reward.progress.tracker import TrackerSettings
from robo_reward.runtime import pipeline
from robo_reward.runtime.annotate_dataset import NAMES, annotate_dataset
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode

SIZE = 32
TYPES = ("float32", "float32", "int64", "bool", "float32")


def episode(number: int, steps: int, size: int = SIZE) -> Episode:
    rng = np.random.default_rng(number)
    rows = steps + 1
    frames = np.full((rows, size, size, 3), 60, np.uint8)
    for t in range(rows):
        frames[t, 8:16, t % (size - 8) : t % (size - 8) + 8] = (250, 200, 30)
    return make_episode(
        steps, f"policy-{number}", instruction=("open the door", "close the door")[number % 2], seed=number,
        agent_pos=rng.normal(size=(rows, 3)).astype(np.float32), estimate=np.zeros((rows, 0), np.float32),
        action=rng.uniform(-1, 1, (steps, 2)).astype(np.float32), stage=np.zeros(rows, np.int64),
        frame_steps=np.arange(rows), frames={"front": frames, "unseen": frames[:, ::-1].copy()},
    )  # fmt: skip


EPISODES = [episode(0, 11), episode(1, 30), episode(2, 1), episode(3, 17)]


@pytest.fixture(scope="module")
def reward(tmp_path_factory) -> Path:
    """An untrained model: its answers are arbitrary, and always the same."""
    folder = tmp_path_factory.mktemp("reward")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = CompactNet(CompactSettings(("front", "side"), SIZE, channels=(4,), kernels=(4,), strides=(4,), hidden=16))
    with torch.no_grad():
        net.head[-1].weight *= 200  # answers that differ
    tracker = TrackerSettings(every=4, completion=CompletionRule(0.3, 2))
    RewardModel(CompactModel(net), References.from_demonstrations(EPISODES, 1), tracker).save(folder)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "doors"
    with DatasetWriter(root, fps=20, robot_type="panda", close_every=3) as writer:
        for one in EPISODES:
            writer.append(one)
    return root


@pytest.fixture(scope="module")
def annotated(source, reward, tmp_path_factory) -> Path:
    to = tmp_path_factory.mktemp("copy") / "doors"
    annotate_dataset(source, to, reward, chunk=5, quiet=True)
    return to


def digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_lerobots_own_reader_sees_what_the_tracker_said(source, annotated, reward):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    from robo_reward.progress.reward_model import load_reward

    model = load_reward(reward)
    theirs, before = LeRobotDataset("any/name", root=annotated), LeRobotDataset("any/name", root=source)
    assert [theirs.meta.features[name]["dtype"] for name in NAMES] == list(TYPES)
    row, seen = 0, []
    for one in read_dataset(source):
        (track,) = track_many([one], model.model, model.tracker, model.references)
        expected = columns_of(track, 4, model.tracker.completion)
        for t in range(len(one) + 1):
            item, old = theirs[row], before[row]
            assert float(item["progress"]) == pytest.approx(expected.progress[t], abs=1e-5)
            assert float(item["progress_confidence"]) == pytest.approx(expected.confidence[t], abs=1e-5)
            assert int(item["progress_stage"]) == expected.stage[t]
            assert bool(item["progress_success"]) == expected.success[t]
            assert 0 <= float(item["ra_bc_weight"]) <= 1
            for name in old:  # nothing else has changed
                same = item[name] == old[name]
                assert same.all() if isinstance(same, torch.Tensor) else same, name
            seen.append(float(item["progress"]))
            row += 1
    assert row == len(theirs) and np.ptp(seen) > 0.2, "the model's answers must differ for this to be a test"
    assert len(read_dataset(annotated)) == 4


def test_statistics_and_info_are_those_of_the_new_columns(source, annotated):
    import pyarrow.parquet as pq
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

    meta = LeRobotDatasetMetadata("any/name", root=annotated)
    rows = [row for path in sorted((annotated / "data").rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    index = [r for p in sorted((annotated / "meta/episodes").rglob("*.parquet")) for r in pq.read_table(p).to_pylist()]
    for name in NAMES:
        values = np.array([row[name] for row in rows], float)
        assert meta.stats[name]["mean"] == pytest.approx(values.mean(), abs=1e-6)
        assert meta.stats[name]["std"] == pytest.approx(values.std(), abs=1e-5)
        assert meta.stats[name]["max"] == pytest.approx(values.max()) and meta.stats[name]["count"] == len(rows)
        for number, episode_row in enumerate(index):
            own = values[[row["episode_index"] == number for row in rows]]
            assert episode_row[f"stats/{name}/mean"] == pytest.approx([own.mean()], abs=1e-6)
    old = LeRobotDatasetMetadata("any/name", root=source)
    assert set(meta.features) - set(old.features) == set(NAMES)
    assert (meta.total_frames, meta.total_episodes, meta.fps) == (old.total_frames, old.total_episodes, old.fps)
    np.testing.assert_equal({name: meta.stats[name] for name in old.stats}, dict(old.stats))


def test_lerobots_trainer_computes_the_same_weights(annotated):
    """Its own implementation of the paper's weights, from the file in which it looks for progress."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from lerobot.utils.rabc import RABCWeights

    theirs = RABCWeights(annotated / "sarm_progress.parquet", chunk_size=5, device=torch.device("cpu"))
    dataset = LeRobotDataset("any/name", root=annotated)
    weights = np.array([float(dataset[row]["ra_bc_weight"]) for row in range(len(dataset))])
    gains = np.array([theirs._compute_delta(row) for row in range(len(dataset))], np.float32)
    theirs.delta_mean = gains.mean()  # theirs is cut at 0
    assert weights == pytest.approx(theirs._compute_weights(gains), abs=1e-4)
    assert len(np.unique(weights.round(3))) >= 3, "all three cases of the formula must occur"


def test_the_source_is_left_alone_and_videos_are_shared(source, reward, tmp_path):
    before = digests(source)
    annotate_dataset(source, tmp_path / "d", reward, quiet=True)
    assert digests(source) == before
    for path in (path for path in source.rglob("*") if path.is_file()):
        other = tmp_path / "d" / path.relative_to(source)
        assert path.samefile(other) == (path.suffix == ".mp4"), path


def test_videos_are_copied_where_they_cannot_be_linked(source, reward, tmp_path, monkeypatch):
    def refuse(*arguments: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    annotate_dataset(source, tmp_path / "d", reward, quiet=True)
    assert len(read_dataset(tmp_path / "d")) == 4
    assert not any(p.samefile(tmp_path / "d" / p.relative_to(source)) for p in source.rglob("*.mp4"))


def test_interrupted_and_repeated_it_finishes(source, reward, tmp_path, monkeypatch):
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Disk, "rename", interrupt)
        annotate_dataset(source, tmp_path / "d", reward, quiet=True)
    assert not (tmp_path / "d").exists() and (tmp_path / "d.partial").exists()
    first = annotate_dataset(source, tmp_path / "d", reward, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["d"] and len(read_dataset(tmp_path / "d")) == 4
    whole = digests(tmp_path / "d")
    assert annotate_dataset(source, tmp_path / "d", reward, quiet=True) == first
    assert digests(tmp_path / "d") == whole
    with pytest.raises(ValueError, match="exists already: choose another folder, or remove it"):
        annotate_dataset(source, tmp_path / "d", reward, chunk=9, quiet=True)


def test_an_annotated_copy_can_be_annotated_again(annotated, reward, tmp_path):
    annotate_dataset(annotated, tmp_path / "again", reward, chunk=2, instruction="open the door", quiet=True)
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    first, second = (LeRobotDataset("any/name", root=root) for root in (annotated, tmp_path / "again"))
    assert set(first.features) == set(second.features) and len(first) == len(second)
    assert any(float(first[row]["ra_bc_weight"]) != float(second[row]["ra_bc_weight"]) for row in range(len(first)))


def test_the_command_does_it_and_needs_a_dataset(source, reward, tmp_path):
    words = [f"reward_model={reward}", f"run.root={tmp_path / 'runs'}", "quiet=true", f"to={tmp_path / 'd'}"]
    summary = pipeline.annotate(load_config([f"dataset={source}", "annotate.chunk=5", *words], command="annotate"))
    assert summary["annotated_episodes"] == 4 and summary["annotated_rows"] == 63
    assert summary["dataset"] == str(tmp_path / "d") and 0 <= summary["ra_bc_weight_mean"] <= 1
    assert len(read_dataset(tmp_path / "d")) == 4
    with pytest.raises(ValueError, match="set dataset= to its folder, not null"):
        pipeline.annotate(load_config(words, command="annotate"))


def foreign(source: Path, to: Path, **changes: object) -> Path:
    """The dataset as another tool might have left it."""
    shutil.copytree(source, to)
    path = to / "meta" / "info.json"
    info = json.loads(path.read_text())
    info["features"] |= changes
    path.write_text(json.dumps({**info, "features": {k: v for k, v in info["features"].items() if v is not None}}))
    return to


def test_actions_and_states_do_not_matter(source, annotated, reward, tmp_path):
    other = foreign(source, tmp_path / "other", **{"is_final_observation": None, "action": None})
    with pytest.raises(ValueError, match="no feature 'action'"):
        read_dataset(other)
    annotate_dataset(other, tmp_path / "d", reward, chunk=5, quiet=True)
    import pyarrow.parquet as pq

    mine, theirs = (
        pq.read_table(sorted((root / "data").rglob("*.parquet"))[0]) for root in (tmp_path / "d", annotated)
    )
    assert mine["progress"].equals(theirs["progress"]) and mine["ra_bc_weight"].equals(theirs["ra_bc_weight"])


def test_pictures_of_any_size_are_scaled(reward, tmp_path):
    with DatasetWriter(tmp_path / "large", fps=20, robot_type="panda") as writer:
        writer.append(episode(0, 11, size=96))
    assert annotate_dataset(tmp_path / "large", tmp_path / "d", reward, quiet=True)["annotated_rows"] == 12


def test_what_cannot_be_done_is_told_before_anything_is_written(source, reward, tmp_path):
    scalar = {"dtype": "float32", "shape": [1], "names": None}
    own = foreign(source, tmp_path / "own", progress=scalar)
    with DatasetWriter(tmp_path / "blind", fps=20, robot_type="panda") as writer:
        one = episode(0, 5)
        writer.append(replace(one, frames={"top": one.frames["front"]}))
    (tmp_path / "mine.partial").mkdir()
    (tmp_path / "mine.partial" / "notes.txt").write_text("a person's")
    for dataset, to, instruction, words in [
        (source, source / "copy", None, "which is never changed: choose another folder"),
        (source, source, None, "which is never changed"),
        (own, tmp_path / "d", None, "has a column 'progress' of its own: rename it first"),
        (tmp_path / "blind", tmp_path / "d", None, "has the views top, the reward model knows front, side"),
        (source, tmp_path / "d", "jump", "no reference demonstration for instruction 'jump'"),
        (source, tmp_path / "mine", None, "holds other files"),
        (tmp_path / "nowhere", tmp_path / "d", None, "does not exist"),
    ]:
        with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
            annotate_dataset(dataset, to, reward, instruction=instruction, quiet=True)
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blind", "mine.partial", "own"]
    with pytest.raises(FileNotFoundError, match="no trained reward model here"):
        annotate_dataset(source, tmp_path / "d", tmp_path, quiet=True)
