"""The operator's bench: its arms can be run, what is finished is passed over, and its figures are those of the runs."""

from __future__ import annotations

import csv
import json
import sys

import pytest

from robo_reward.config import load_config


@pytest.fixture
def bench(script):
    return script("bench_hil")


def test_every_arm_is_a_configuration_of_its_own(bench):
    commands = {bench.command_of(arm, 0) for arm in bench.ARMS}
    for words in bench.ARMS.values():
        load_config([*words, *bench.SAME])
    assert len(commands) == len(bench.ARMS)


def test_hil_serl_has_a_classifier_and_neither_shaping_nor_base(bench):
    config = load_config(list(bench.ARMS["hil_serl"]))
    assert (config.agent.kind, config.shaping.kind, config.base.kind) == ("residual_sac", "none", "zero")
    assert (config.reward.kind, config.train.task_reward, config.hil.kind) == ("classifier", "completion", "simulated")


def test_a_curve_counts_the_operator_between_two_points_and_a_rollout_told_twice_once(bench):
    metrics = [{"rollout": n, "intervention_rate": 1.0 if n < 3 else 0.5, "episode_steps": 60} for n in (1, 2, 2, 3, 4)]
    points = bench.curve_of([[2, 120, 1, 4], [4, 240, 3, 4]], metrics, fps=20)
    assert [point["intervention_rate"] for point in points] == [1.0, 0.5]
    assert [point["operator_minutes"] for point in points] == pytest.approx([0.1, 0.15])
    assert [point["successes"] for point in points] == [1, 3]


def test_without_an_operator_there_is_no_rate(bench):
    [point] = bench.curve_of([[1, 60, 1, 4]], [{"rollout": 1, "episode_steps": 60}], fps=20)
    assert point["intervention_rate"] is None and point["operator_minutes"] == 0


def test_a_finished_run_is_one_line_and_is_not_run_again(bench, monkeypatch, tmp_path, capsys):
    result, ran = tmp_path / "hil.csv", []

    def train(program, **_):
        words = program[program.index("train") + 1 :]
        ran.append(words)
        config = load_config(words)
        stage, folder = tmp_path / f"train-{len(ran)}", tmp_path / "runs" / config.run.name
        for path in (stage, folder):
            path.mkdir(parents=True)
        (stage / "stage.json").write_text(json.dumps({"summary": {"curve": [[15, 900, 10, 40], [75, 4500, 36, 40]]}}))
        (folder / "summary.json").write_text(json.dumps({"train_folder": str(stage), "final_success": 0.9}))
        (folder / "metrics.jsonl").write_text('{"rollout": 15, "episode_steps": 60, "success": 0.25}\n')

    monkeypatch.setattr(bench.subprocess, "run", train)
    words = ["bench_hil.py", "--arms", "nobody", "takeovers", "--result", str(result), f"run.root={tmp_path / 'runs'}"]
    monkeypatch.setattr(sys, "argv", words)
    bench.main()
    bench.main()
    lines = list(csv.DictReader(result.open()))
    assert len(ran) == 2 and [line["arm"] for line in lines] == ["nobody", "takeovers"]
    assert lines[0][bench.TO_80] == "75" and str(tmp_path) not in lines[0]["command"]
    assert json.loads(result.with_suffix(".json").read_text())["table"]["nobody"]["seeds"] == 1
    monkeypatch.setattr(sys, "argv", [*words[:2], "graded", *words[3:], "--list"])
    bench.main()
    assert "hil.protocol=graded" in capsys.readouterr().out
