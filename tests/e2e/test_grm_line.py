"""`reward=grm` from the command line, with a tiny random model: its answers mean nothing, and reach all that ask."""

from __future__ import annotations

import json

import numpy as np
import pytest

for package in ("torch", "mujoco", "lerobot", "av", "transformers"):
    pytest.importorskip(package)

from robo_reward.cli import main  # noqa: E402
from robo_reward.testing.tiny_vlm import build_vlm  # noqa: E402

SMALL = [
    "experiment=smoke", "quiet=true", "env.horizon=40", "env.cameras=[front]", "collect.query_every=10",
    "collect.demos=2", "collect.weak=1", "collect.validation=2", "collect.test=2", "base.demos=1",
    "train.rollouts=2", "train.evaluate_every=2", "train.evaluate_episodes=1", "train.warmup_updates=20",
    "agent.updates_per_step=1", "evaluate.episodes=1", "evaluate.videos=1", "reward=grm", "reward.answer_mass=0",
    "reward.order=rules_first",
]  # fmt: skip


def command(root, *words):
    with pytest.raises(SystemExit) as ended:
        main([words[0], *SMALL, f"run.root={root}", *words[1:]])
    assert ended.value.code == 0
    runs = [path for path in root.glob(f"{words[0]}-*/summary.json")]
    return json.loads(max(runs, key=lambda path: path.stat().st_mtime).read_text())


@pytest.mark.slow
def test_annotate_bench_and_train_with_a_vision_language_model(tmp_path):
    model = f"reward.model={build_vlm(tmp_path / 'weights', 'qwen3_vl')}"
    annotated = command(tmp_path / "runs", "annotate", model)
    assert annotated["annotated_episodes"] == 7 and annotated["model_id"].startswith("grm-")
    with np.load(annotated["annotations"]) as tracks:
        confidence = np.concatenate([tracks[name] for name in tracks.files if name.endswith(".confidence")])
    assert (confidence > 0).any() and np.isfinite(confidence).all()
    measured = command(tmp_path / "runs", "bench-reward", model)
    assert "grm" in (tmp_path / "runs").joinpath(measured["table"]).read_text()
    trained = command(tmp_path / "runs", "train", model)
    assert trained["rollouts"] == 2 and trained["model_id"] == annotated["model_id"]


@pytest.mark.parametrize("name", ["annotate", "train-reward"])
def test_a_model_that_is_not_there_ends_before_anything_is_collected(name, tmp_path, capsys):
    for word, line in (
        ("reward.model=nowhere/at/all", "no such folder"),
        ("reward.batch=4", "add reward.model=FOLDER"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([name, *SMALL, f"run.root={tmp_path / 'runs'}", word])
        assert ended.value.code == 2
        assert line in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("stages/*"))
