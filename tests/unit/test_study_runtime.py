"""The study of the runtimes: equal but for the runtime, what comes before the training shared, nothing after it."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from robo_reward.config import load_config


@pytest.fixture
def study(script):
    return script("study_runtime")


def test_every_runtime_has_its_own_training_and_shares_what_comes_before(study, monkeypatch, tmp_path):
    ran = []

    def train(program, **_):
        words = program[program.index("train") + 1 :]
        config = load_config(words)
        ran.append(config)
        stages = Path(config.run.stages)
        for name in ("collect-1", "train-reward-2", "train-3", "evaluate-4", "label-5.partial"):
            if not (stages / name).exists():
                (stages / name).mkdir(parents=True)
                file = "half" if name.endswith(".partial") else "stage.json"
                (stages / name / file).write_text(config.runtime.kind)
        Path(config.run.dir).mkdir(parents=True)
        (Path(config.run.dir) / "summary.json").write_text(json.dumps({"final_success": 0.75}))

    monkeypatch.setattr(study.subprocess, "run", train)
    words = ["--seeds", "3", "--result", str(tmp_path / "table.csv"), f"run.root={tmp_path / 'runs'}"]
    monkeypatch.setattr(sys, "argv", ["study_runtime.py", *words])
    study.main()
    study.main()
    assert [config.runtime.kind for config in ran] == ["local", "async", "ray"], "what is there is not run again"
    assert {(c.seed, c.train.rollouts, c.runtime.actors) for c in ran} == {(3, 75, 1)}
    made = {path.parent.parent.parent.name + " " + path.parent.name: path.read_text()
            for path in tmp_path.glob("runs/*/stages/*/stage.json")}  # fmt: skip
    assert made["ray train-3"] == "ray" and made["ray evaluate-4"] == "ray"
    assert made["ray collect-1"] == made["async train-reward-2"] == "local"
    assert not (tmp_path / "runs/async/stages/label-5.partial").is_symlink()
    lines = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert [line["runtime"] for line in lines] == ["local", "async", "ray"]
    assert lines[1]["command"] == ("robo-reward train runtime=async train.rollouts=75 train.evaluate_every=15 seed=3")
    assert json.loads((tmp_path / "table.json").read_text())["table"]["ray"]["final_success"] == [0.75, 0.75, 0.75]
