"""The study over the wire: both runs are of one size, a fault's end is gone on from, a finished run is one line."""

from __future__ import annotations

import csv
import json
import sys
from types import SimpleNamespace

import pytest

from robo_reward.config import load_config


@pytest.fixture
def study(script):
    return script("study_sim_arm")


def test_both_runs_differ_in_the_robot_alone(study):
    dds, process = (load_config(list(words)) for words in study.WHERE.values())
    assert dds.robot and not process.robot
    for section in ("env", "collect", "reward", "base", "agent", "train", "evaluate"):
        assert getattr(dds, section) == getattr(process, section)


def stand_in(study, monkeypatch, tmp_path, codes):
    """Runs that end with these exit codes, and leave a summary with 0."""
    ran = []

    def train(program, **_):
        words = program[program.index("train") + 1 :]
        ran.append(words)
        if (code := codes.pop(0)) == 0:
            folder = tmp_path / "runs" / load_config(words).run.name
            folder.mkdir(parents=True)
            (folder / "summary.json").write_text(json.dumps({"base_success": 0.25, "final_success": 0.75}))
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(study.subprocess, "run", train)
    words = ["study_sim_arm.py", "--seeds", "3", "--result", str(tmp_path / "table.csv")]
    monkeypatch.setattr(sys, "argv", [*words, f"run.root={tmp_path / 'runs'}"])
    return ran


def test_a_run_that_faults_ended_is_gone_on_with_and_counted(study, monkeypatch, tmp_path):
    ran = stand_in(study, monkeypatch, tmp_path, [2, 2, 0, 0])
    study.main()
    study.main()
    lines = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert len(ran) == 4 and ran[0] == ran[1] == ran[2]
    assert [(line["where"], line["restarts"]) for line in lines] == [("over_dds", "2"), ("in_process", "0")]
    assert lines[0]["improvement"] == "0.5" and str(tmp_path) not in lines[0]["command"]
    table = json.loads((tmp_path / "table.json").read_text())["table"]
    assert table["over_dds"]["restarts"] == [2, 2, 2] and table["in_process"]["robot_faults"] is None


def test_a_run_that_never_ends_well_is_given_up_and_leaves_no_line(study, monkeypatch, tmp_path):
    stand_in(study, monkeypatch, tmp_path, [2] * 99)
    with pytest.raises(SystemExit, match="over_dds, seed 3: begun 6 times and not finished"):
        study.main()
    assert not (tmp_path / "table.csv").exists()
