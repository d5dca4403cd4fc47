"""Scoring videos from files: what is written is the tracker's answer, and bad input is told in one line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("torch")
pytest.importorskip("PIL")

import torch

from robo_reward import cli
from robo_reward.data.video import read_video, write_video
from robo_reward.evaluation import score_videos as module
from robo_reward.evaluation.score_videos import score_videos
from robo_reward.progress.annotate import track_many
from robo_reward.progress.completion import CompletionRule
from robo_reward.progress.models.compact import CompactModel
from robo_reward.progress.models.compact_net import CompactNet, CompactSettings
from robo_reward.progress.references import Reference, References
from robo_reward.progress.reward_model import RewardModel
from robo_reward.progress.tracker import TrackerSettings
from robo_reward.testing.episodes import make_episode

SIZE, COUNT = 32, 23
TASK = "push the block"


def moving(count: int = COUNT, height: int = 48, width: int = 64) -> np.ndarray:
    frames = np.full((count, height, width, 3), (60, 80, 100), np.uint8)
    for i in range(count):
        frames[i, 10:30, i : i + 20] = (250, 200, 30)
    return frames


def model(tasks: tuple[str, ...] = (TASK,)) -> RewardModel:
    """Untrained: its answers are arbitrary, and always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = CompactNet(CompactSettings(("front", "side"), SIZE, channels=(4,), kernels=(4,), strides=(4,), hidden=16))
    with torch.no_grad():
        net.head[-1].weight *= 200  # answers that differ
    rng = np.random.default_rng(1)
    views = {view: rng.integers(0, 90, (1, SIZE, SIZE, 3), np.uint8) for view in ("front", "side")}
    goals = {view: rng.integers(90, 255, (1, SIZE, SIZE, 3), np.uint8) for view in views}
    references = References(dict.fromkeys(tasks, Reference(views, goals)))
    return RewardModel(CompactModel(net), references, TrackerSettings(every=4, completion=CompletionRule(0.5, 2)))


@pytest.fixture
def videos(tmp_path) -> dict[str, str]:
    write_video(tmp_path / "a.mp4", moving(), 10)
    write_video(tmp_path / "b.mp4", moving()[:, ::-1], 10)
    return {"front": str(tmp_path / "a.mp4"), "side": str(tmp_path / "b.mp4")}


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "scores.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_frame_gets_what_the_tracker_says(videos, tmp_path):
    summary = score_videos(videos, model(), TASK, tmp_path / "out")
    frames = {view: read_video(path, size=SIZE).frames for view, path in videos.items()}
    nothing = np.zeros((COUNT, 0), np.float32)
    clip = make_episode(
        COUNT - 1, "clip", success=False, instruction=TASK, source="human", agent_pos=nothing, estimate=nothing,
        action=nothing[1:], frames=frames,
    )  # fmt: skip
    reward = model()
    (track,) = track_many([clip], reward.model, reward.tracker, reward.references)
    found = rows(tmp_path / "out")
    assert [int(row["frame"]) for row in found] == list(range(COUNT)) and found[5]["time_s"] == "0.5000"
    for step, progress in zip(track.steps, track.progress, strict=True):
        row = found[step]
        assert [float(row[name]) for name in ("progress", "confidence", "incremental", "forward", "backward")] == (
            pytest.approx(
                [progress.phi, progress.confidence, progress.incremental, progress.forward, progress.backward], abs=1e-4
            )
        )
    assert found[7]["progress"] == found[4]["progress"]  # held between queries
    assert len({row["progress"] for row in found}) > 2, "the answers must differ for this to be a test"
    assert summary["final_progress"] == pytest.approx(track.progress[-1].phi, abs=1e-6)
    assert summary["success"] is bool(int(found[-1]["success"])) and summary["frames"] == COUNT


def test_the_film_shows_the_recording_and_the_curve(videos, tmp_path, monkeypatch):
    score_videos(videos, model(), TASK, tmp_path)
    film = read_video(tmp_path / "scored.mp4")
    assert film.fps == 10 and film.length == COUNT + 15  # the last frame is held for 1.5 s
    assert film.file_size[0] > 256 and film.frames.std() > 10
    monkeypatch.setattr(module, "FILM_FRAMES", 10)
    score_videos(videos, model(), TASK, tmp_path / "long")
    film = read_video(tmp_path / "long" / "scored.mp4")
    assert film.length < COUNT and film.length / film.fps == pytest.approx(COUNT / 10 + 1.5, abs=0.5)
    assert len(rows(tmp_path / "long")) == COUNT  # the scores are of every frame all the same


def test_one_of_the_models_cameras_is_enough(videos, tmp_path):
    both = score_videos(videos, model(), TASK, tmp_path / "both")
    one = score_videos({"side": videos["side"]}, model(), TASK, tmp_path / "one")
    assert np.isfinite(one["final_progress"]) and one["views"] == "side" and both["views"] == "front,side"
    assert one["final_progress"] != both["final_progress"]


def test_a_still_video_gets_a_score_and_a_remark(tmp_path):
    write_video(tmp_path / "still.mp4", np.repeat(moving(1), 9, axis=0), 10)
    summary = score_videos({"front": str(tmp_path / "still.mp4")}, model(), TASK, tmp_path / "out")
    assert 0 <= summary["final_progress"] <= 1 and summary["success"] in (True, False)
    assert summary["remarks"] == "video.front shows the same picture throughout"
    assert len(rows(tmp_path / "out")) == 9


def test_frames_that_show_nothing_are_held_and_marked(tmp_path):
    frames = moving()
    frames[:6] = frames[12:18] = 90  # a covered lens: queries 0, 4, 12 and 16 have no answer
    write_video(tmp_path / "a.mp4", frames, 10)
    summary = score_videos({"front": str(tmp_path / "a.mp4")}, model(), TASK, tmp_path / "out")
    found = rows(tmp_path / "out")
    assert [row["answered"] for row in found] == list("00000000111100000000111")
    assert all(row["progress"] == row["confidence"] == "" for row in found[:8]), "not known is not 0"
    assert {row["progress"] for row in found[8:20]} == {found[8]["progress"]} and found[13]["confidence"] == "0.0000"
    assert "video.front shows a single colour in 4 of 7 queried frames" in summary["remarks"]
    assert "4 of 7 queries had no answer" in summary["remarks"] and summary["answered_share"] == pytest.approx(3 / 7)


def test_a_covered_camera_counts_as_missing(videos, tmp_path):
    plain = score_videos(videos, model(), TASK, tmp_path / "plain")
    write_video(tmp_path / "a.mp4", np.full((COUNT, 48, 64, 3), 90, np.uint8), 10)
    covered = score_videos(videos, model(), TASK, tmp_path / "covered")
    assert covered["answered_share"] == 1 and plain["remarks"] == ""
    assert covered["remarks"] == "video.front shows a single colour in 7 of 7 queried frames"


def test_the_only_known_instruction_need_not_be_told(videos, tmp_path):
    assert score_videos(videos, model(), None, tmp_path)["instruction"] == TASK
    with pytest.raises(ValueError, match=r"instruction is not set: .* knows: close \| open"):
        score_videos(videos, model(("open", "close")), None, tmp_path)


def damage(path: str) -> None:
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: len(data) * 2 // 3])


@pytest.mark.parametrize(
    ("change", "instruction", "words"),
    [
        (lambda v: write_video(v["side"], moving(20), 10), TASK, r"video\.side=.*b\.mp4 has 20 frames .* has 23"),
        (lambda v: write_video(v["side"], moving(), 20), TASK, "at 20 a second.*give videos of the same moments"),
        (lambda v: write_video(v["front"], moving(1), 10), TASK, r"video\.front=.*a\.mp4 has a single frame"),
        (lambda v: damage(v["side"]), TASK, r"video .*b\.mp4 .*(does not decode|cut off|damaged)"),
        (lambda v: Path(v["side"]).unlink(), TASK, r"b\.mp4 does not exist: check the path"),
        (lambda v: v.update(top=v.pop("side")), TASK, r"video\.top: .* never seen this camera, it knows front, side"),
        (lambda v: v.clear(), TASK, "no videos to score"),
        (
            lambda v: [write_video(path, np.full((COUNT, 48, 64, 3), 90, np.uint8), 10) for path in v.values()],
            TASK,
            r"no frame of video\.front=.*got an answer: the pictures are of a single colour",
        ),
        (lambda v: None, "", "instruction is empty: set it to one that the reward model knows: push the block"),
        (lambda v: None, "  ", "instruction is empty"),
        (lambda v: None, "juggle", "no reference demonstration for instruction 'juggle'; known: .'push the block'"),
    ],
)
def test_bad_input_is_told_in_one_line(videos, tmp_path, change, instruction, words):
    change(videos)
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        score_videos(videos, model(), instruction, tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_the_command_scores_videos(videos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model().save(tmp_path / "reward")
    words = ["bench-reward", *(f"video.{view}={path}" for view, path in videos.items()), "reward_model=reward"]
    with pytest.raises(SystemExit) as left:
        cli.main([*words, f"instruction={TASK}"])
    assert not left.value.code, capsys.readouterr().err
    (folder,) = (tmp_path / "runs").glob("bench-reward-*")
    assert {"scores.csv", "scored.mp4", "summary.json"} <= {path.name for path in folder.iterdir()}
    summary = json.loads((folder / "summary.json").read_text())
    assert 0 <= summary["final_progress"] <= 1 and summary["instruction"] == TASK and summary["wall_s"] > 0
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        cli.main([*words, "instruction="])
    error = capsys.readouterr().err
    assert left.value.code == 2 and len(error.splitlines()) == 1 and "instruction is empty" in error
