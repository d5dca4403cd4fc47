"""Recordings as they should not be, through the commands: one clear line and exit code 2, or a marked estimate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("torch")
pytest.importorskip("lerobot")

import torch

from robo_reward import cli
from robo_reward.data.demonstration import read_demonstration
from robo_reward.data.lerobot_package import import_lerobot
from robo_reward.data.video import write_video
from robo_reward.progress.annotate import track_many
from robo_reward.progress.models.compact import CompactModel
from robo_reward.progress.models.compact_net import CompactNet, CompactSettings
from robo_reward.progress.references import Reference, References
from robo_reward.progress.reward_model import RewardModel, load_reward
from robo_reward.progress.tracker import TrackerSettings
from robo_reward.testing.episodes import make_episode

SIZE, COUNT, TASK = 32, 21, "push the block"


def moving(count: int = COUNT) -> np.ndarray:
    frames = np.full((count, 48, 64, 3), (60, 80, 100), np.uint8)
    for i in range(count):
        frames[i, 10:30, i : i + 20] = (250, 200, 30)
    return frames


def faded(count: int = COUNT) -> np.ndarray:
    """Begins in a single colour, which is not grey."""
    frames = moving(count)
    frames[0] = (0, 0, 200)
    return frames


def keyframes(folder: Path, *spans: tuple[object, object]) -> None:
    table = [{"annotation": f"step {i}", "start_frame_id": s, "end_frame_id": e} for i, (s, e) in enumerate(spans)]
    (folder / "annotated_keyframes.json").write_text(json.dumps(table))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def spoil(path: Path) -> None:
    """Zeros in the middle of the pictures, which the container does not notice."""
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat")
    at = start + (len(data) - start) // 2
    data[at : at + 400] = bytes(400)
    path.write_bytes(bytes(data))


@pytest.fixture
def demo(tmp_path) -> Path:
    folder = tmp_path / "demo"
    write_video(folder / "cam_high.mp4", moving(), 10)
    write_video(folder / "cam_left_wrist.mp4", moving()[:, ::-1], 10)
    keyframes(folder, (2, 9), (9, 18))
    return folder


@pytest.fixture
def reward(tmp_path) -> Path:
    """An untrained model, saved."""
    torch.manual_seed(0)
    net = CompactNet(
        CompactSettings(("front", "left_wrist"), SIZE, channels=(4,), kernels=(4,), strides=(4,), hidden=16)
    )
    with torch.no_grad():
        net.head[-1].weight *= 200  # answers that differ
    rng = np.random.default_rng(0)
    start, goal = ({v: rng.integers(0, 255, (1, SIZE, SIZE, 3), np.uint8) for v in net.settings.views} for _ in "ab")
    RewardModel(CompactModel(net), References({TASK: Reference(start, goal)}), TrackerSettings()).save(tmp_path / "r")
    return tmp_path / "r"


def command(words: list[str], tmp_path: Path, monkeypatch, capsys) -> tuple[int, str]:
    """Exit code and standard error, its progress bars left out."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        cli.main([*words, "quiet=true"])
    return left.value.code or 0, capsys.readouterr().err


def one_line(words: list[str], expected: str, tmp_path: Path, monkeypatch, capsys) -> None:
    code, error = command(words, tmp_path, monkeypatch, capsys)
    assert code == 2 and len(error.splitlines()) == 1 and expected in error, error


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: (d / "cam_high.mp4").write_bytes(b""), "cam_high.mp4 does not decode after 0 frames"),
        (lambda d: write_video(d / "cam_high.mp4", moving(15), 10), "left_wrist.mp4 has 21 frames at 10 a second"),
        (lambda d: cut(d / "cam_left_wrist.mp4"), "cam_left_wrist.mp4"),
        (lambda d: spoil(d / "cam_left_wrist.mp4"), "cam_left_wrist.mp4"),
        (lambda d: [write_video(p, moving(1), 10) for p in d.glob("*.mp4")], "has a single frame"),
        (lambda d: [write_video(p, moving(1).repeat(21, 0), 10) for p in d.glob("*.mp4")], "nothing moves in any"),
        (lambda d: [write_video(p, faded(), 10) for p in d.glob("*.mp4")], "the first frame is of a single colour"),
        (lambda d: [p.unlink() for p in d.glob("*.mp4")], "holds no videos: give one file a camera"),
        (lambda d: (d / "front.mp4").write_bytes((d / "cam_high.mp4").read_bytes()), "are both camera 'front'"),
        (lambda d: (d / "annotated_keyframes.json").unlink(), "annotated_keyframes.json does not exist"),
        (lambda d: keyframes(d, (9, 18), (2, 9)), "starts at frame 2, before the one ahead of it ends (18)"),
        (lambda d: keyframes(d, (2, 10), (8, 18)), "starts at frame 8, before the one ahead of it ends (10)"),
        (lambda d: keyframes(d, (2, 9), (9, 21)), "keyframe 21 lies outside the episode, whose frames are 0 to 20"),
    ],
)
def test_a_demonstration_that_cannot_be_learned_from(demo, change, expected, tmp_path, monkeypatch, capsys):
    change(demo)
    words = ["train-reward", f"demo={demo}", f"instruction={TASK}", "reward.steps=1", "env.image_size=32"]
    one_line(words, expected, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["demo=demo"], "does not say what the robot was told: add instruction='...'"),
        (["demo=demo", "instruction="], "instruction is empty: say what the robot is told"),
        (["demo=nowhere", "instruction=x"], "demo=nowhere does not exist: give a folder with videos"),
        (["demo=nowhere:3"], "dataset nowhere does not exist"),
        (
            ["demo=demo", "instruction=x", "adapt_from=nowhere"],
            "nowhere/compact.safetensors: no trained reward model here",
        ),
        (["adapt_from=r"], "adapt_from=r needs a demonstration: add demo=FOLDER or DATASET:EPISODE"),
        (["demo=demo", f"instruction={TASK}", "adapt_from=r"], "'push the block' is known to the reward model"),
    ],
)
def test_a_demonstration_that_is_not_told_rightly(demo, reward, words, expected, tmp_path, monkeypatch, capsys):
    one_line(["train-reward", *words], expected, tmp_path, monkeypatch, capsys)


def test_a_demonstration_is_for_train_reward_only(demo, tmp_path, monkeypatch, capsys):
    one_line(["bench-reward", "demo=demo"], "demo= is for train-reward", tmp_path, monkeypatch, capsys)


def test_a_frame_that_does_not_decode_is_named_when_scoring(demo, reward, tmp_path, monkeypatch, capsys):
    spoil(demo / "cam_high.mp4")
    words = ["bench-reward", "video.front=demo/cam_high.mp4", "reward_model=r"]
    one_line(words, "cam_high.mp4", tmp_path, monkeypatch, capsys)


def test_one_demonstration_from_videos_to_a_score(demo, tmp_path, monkeypatch, capsys):
    """From scratch, adapted to a second task, and both tasks scored by the run's folder; cameras by their names."""
    tiny = ["reward.steps=2", "adapt.steps=2", "env.image_size=32", "run.root=out"]
    told = ["train-reward", "demo=demo"]
    assert command([*told, f"instruction={TASK}", *tiny], tmp_path, monkeypatch, capsys) == (0, "")
    (first,) = (tmp_path / "out").glob("train-reward-*")
    summary = json.loads((first / "summary.json").read_text())
    assert summary["completion_calibrated"] is False
    (demo / "cam_left_wrist.mp4").rename(demo / "top.mp4")  # a camera that the model has never seen
    words = [*told, "instruction=pull it", f"adapt_from=out/{first.name}", *tiny]
    assert command(words, tmp_path, monkeypatch, capsys) == (0, "")
    (second,) = set((tmp_path / "out").glob("train-reward-*")) - {first}
    adapted = load_reward(second)
    assert sorted(adapted.references) == ["pull it", TASK]
    assert adapted.model.settings.views == ("front", "left_wrist", "top")
    videos = ["video.front=demo/cam_high.mp4", "video.top=demo/top.mp4"]
    score = ["bench-reward", f"reward_model=out/{second.name}", "run.root=out"]
    assert command([*score, *videos, "instruction=pull it"], tmp_path, monkeypatch, capsys) == (0, "")
    one_line(
        [*score, *videos, f"instruction={TASK}"], "video.top: the reward model has never seen this camera, it knows "
        "front, left_wrist", tmp_path, monkeypatch, capsys,
    )  # fmt: skip


def test_a_video_named_as_its_dataset_feature_is_that_camera(demo):
    (demo / "cam_high.mp4").rename(demo / "observation.images.front.mp4")
    (demo / "cam_left_wrist.mp4").rename(demo / "observation.images.cam_left_wrist.mp4")
    assert sorted(read_demonstration(str(demo), SIZE, TASK, every=4)[0].frames) == ["front", "left_wrist"]


def dataset(root: Path, *lengths: int, still: bool = False, task: str = TASK, view: str = "front") -> Path:
    """A LeRobotDataset of LeRobot's own making: pictures alone."""
    key = f"observation.images.{view}"
    features = {key: {"dtype": "image", "shape": (48, 64, 3), "names": ["height", "width", "channels"]}}
    made = import_lerobot().lerobot_dataset.LeRobotDataset.create("a/b", 10, features, root=root, use_videos=False)
    for length in lengths:
        for picture in np.full((length, 48, 64, 3), 90, np.uint8) if still else moving(length):
            made.add_frame({key: picture, "task": task})
        made.save_episode()
    made.finalize()
    return root


def test_an_episode_of_one_frame_is_annotated_like_any_other(reward, tmp_path, monkeypatch, capsys):
    import pyarrow.parquet as pq

    dataset(tmp_path / "d", 9, 1, 6)
    words = ["annotate", "dataset=d", "to=copy", "reward_model=r"]
    assert command(words, tmp_path, monkeypatch, capsys) == (0, "")
    rows = np.concatenate(
        [pq.read_table(p)["progress"].to_numpy() for p in sorted((tmp_path / "copy/data").rglob("*.parquet"))]
    )
    assert len(rows) == 16 and np.ptp(rows) > 0
    assert rows[9] == rows[0], "the same picture, answered like any first one"


@pytest.mark.parametrize(
    ("make", "words", "expected"),
    [
        ({"task": " "}, [], "no reference demonstration for instruction"),
        ({}, ["instruction="], "instruction is empty: leave it out for the dataset's own"),
        ({"view": "top"}, [], "has the views top, the reward model knows front, left_wrist"),
        ({"still": True}, [], "episode-0: its pictures are of a single colour in all views"),
    ],
)
def test_a_dataset_that_cannot_be_annotated(reward, make, words, expected, tmp_path, monkeypatch, capsys):
    dataset(tmp_path / "d", 9, **make)
    one_line(["annotate", "dataset=d", "to=copy", "reward_model=r", *words], expected, tmp_path, monkeypatch, capsys)
    assert not list(tmp_path.glob("copy*"))


def test_a_dataset_episode_is_a_demonstration(tmp_path):
    root = dataset(tmp_path / "d", 9, 1, 6)
    episode, keys = read_demonstration(f"{root}:2", SIZE, None, every=4)
    assert (episode.instruction, keys, episode.success) == (TASK, None, True)
    assert episode.frame_steps.tolist() == [0, 4, 5] and episode.frames["front"].shape == (3, SIZE, SIZE, 3)
    with pytest.raises(ValueError, match="the dataset has 3 episodes, numbered from 0"):
        read_demonstration(f"{root}:3", SIZE, None, every=4)
    with pytest.raises(ValueError, match="has a single frame"):
        read_demonstration(f"{root}:1", SIZE, None, every=4)


def test_an_unanswered_query_is_held_and_marked(reward):
    model = load_reward(reward)
    frames = np.random.default_rng(1).integers(0, 255, (5, SIZE, SIZE, 3), np.uint8)
    frames[2:4] = 90
    nothing = np.zeros((5, 0), np.float32)
    clip = make_episode(
        4, "c", success=False, instruction=TASK, source="unknown", agent_pos=nothing, estimate=nothing,
        action=nothing[1:], stage=np.full(5, -1), frames={"front": frames},
    )  # fmt: skip
    (track,) = track_many([clip], model.model, TrackerSettings(every=1), model.references)
    assert [p.answered for p in track.progress] == [True, True, False, False, True]
    assert track.phi[2] == track.phi[3] == track.phi[1] > 0 and track.progress[2].confidence == 0
