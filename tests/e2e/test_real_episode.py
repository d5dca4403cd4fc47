"""The commands on a real episode of a bimanual arm: trained from scratch on it, adapted to it, and scored."""

from __future__ import annotations

import csv
import json

import pytest

pytest.importorskip("av")
pytest.importorskip("torch")

from robo_reward import cli

TASK = "instruction='clean the table'"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_real_episode_teaches_a_model_that_scores_it(shared_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = shared_data / "clear_table" / "episode_001"

    def run(*words: str) -> None:
        with pytest.raises(SystemExit) as left:
            cli.main([*words, "quiet=true", "run.root=out"])
        assert not left.value.code, capsys.readouterr().err

    # Chosen small: a quarter of the frames, and steps enough for its own frames to be ordered.
    run("train-reward", f"demo={folder}", TASK, "reward.steps=80", "collect.query_every=16", "env.image_size=48")
    (trained,) = (tmp_path / "out").glob("train-reward-*")
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["train_frames"] == 81 and summary["completion_calibrated"] is False
    names = {"front": "cam_high", "left_wrist": "cam_left_wrist", "right_wrist": "cam_right_wrist"}
    run("bench-reward", *(f"video.{view}={folder / name}.mp4" for view, name in names.items()),
        f"reward_model=out/{trained.name}")  # fmt: skip
    (scored,) = (tmp_path / "out").glob("bench-reward-*")
    with open(scored / "scores.csv", newline="") as file:
        progress = [float(row["progress"]) for row in csv.DictReader(file)]
    assert len(progress) == 1277 and progress[-1] > progress[100]
    assert json.loads((scored / "summary.json").read_text())["remarks"] == ""
