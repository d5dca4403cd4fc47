"""The ablation's rows: each is the default with one setting changed, and its files say what is missing."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict

import pytest

from robo_reward.config import load_config


@pytest.fixture
def study(script):
    return script("study_reward_ablation")


def test_every_row_changes_one_setting_of_the_reward(study):
    default = asdict(load_config([]).reward)
    for row, change in study.ROWS.items():
        reward = asdict(load_config(change).reward)
        assert sum(reward[name] != default[name] for name in default) == (row != "default"), row


def test_fusion_rows_take_the_default_weights(study, monkeypatch):
    trained = []
    monkeypatch.setattr(study.collecting, "collect_stage", lambda config: None)
    monkeypatch.setattr(study.steps, "reward_stage", lambda config, data: trained.append(config.reward))
    monkeypatch.setattr(study, "run_stage", lambda root, name, key, *a, **k: type("Stage", (), {"summary": key}))
    lines = [study.measure(row, 1, []) for row in ("default", "fusion: average")]
    assert trained[0] == trained[1] and trained[0].seed == 1
    assert [line["fusion"] for line in lines] == ["kalman", "average"]


def test_the_files_hold_every_seed_and_the_means(study, monkeypatch, tmp_path):
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    numbers = {"voc": 0.9, "voc_low": 0.8, "voc_high": 1.0, "vroc": 0.5}
    lines = [
        {"row": "one view", "seed": 0, "model_id": "c", **numbers},
        {"row": "default", "seed": 1, "model_id": "b", **numbers, "voc": 0.7, "vroc": None},
        {"row": "default", "seed": 0, "model_id": "a", **numbers},
    ]
    study.write_results(lines, ["experiment=smoke"])
    rows = list(csv.DictReader((tmp_path / "reward_ablation.csv").open()))
    assert [(r["row"], r["seed"], r["voc"]) for r in rows] == [
        ("default", "0", "0.9"), ("default", "1", "0.7"), ("one view", "0", "0.9"),
    ]  # fmt: skip
    result = json.loads((tmp_path / "reward_ablation.json").read_text())
    assert result["table"]["default"] == {"voc": [pytest.approx(0.8), 0.7, 0.9], "vroc": None}
    assert result["lines_missing"] == len(study.ROWS) * 3 - 3 and result["command"].endswith(" experiment=smoke")
