"""`runs to=`: runs beside each other as a sweep leaves them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from robo_reward import cli
from robo_reward.cli import COMMANDS, is_by_hand
from robo_reward.config import Config, load_config
from robo_reward.examples import EXAMPLES_OF
from robo_reward.runtime.comparison import compare, what_differs
from robo_reward.runtime.run_folder import RunFolder


def learn(config: Config) -> None:
    """A stand-in for `train`: two evaluations and a summary."""
    with RunFolder(config.run.dir, config, config.command, quiet=True) as run:
        for rollout in (10, 20):
            run.log(rollout * 8, rollout=rollout, success=0.01 * rollout + 0.1 * config.seed)
        run.finish({"final_success": 0.2 + 0.1 * config.seed})


def typed(*words: str, commands=None) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(list(words), commands or {"learn": learn})
    return int(left.value.code or 0)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_is_compared_in_one_plot_and_two_tables(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert typed("learn", "-m", "seed=0,1", "agent.heads=4,6") == 0
    assert typed("runs", "to=out", commands=COMMANDS) == 0
    assert "4 runs, 4 learning curves: out" in capsys.readouterr().out
    rows = table(tmp_path / "out" / "runs.csv")
    assert sorted((row["seed"], row["agent.heads"], row["final_success"]) for row in rows) == [
        ("0", "4", "0.2"), ("0", "6", "0.2"), ("1", "4", "0.30000000000000004"), ("1", "6", "0.30000000000000004"),
    ]  # fmt: skip
    assert "agent.gamma" not in rows[0] and "run.dir" not in rows[0]
    points = table(tmp_path / "out" / "curves.csv")
    assert len(points) == 8 and {row["settings"] for row in points} == {"agent.heads=4", "agent.heads=6"}
    assert [row["success"] for row in points if row["seed"] == "0" and row["rollout"] == "20"] == ["0.2", "0.2"]
    plot = (tmp_path / "out" / "curves.svg").read_text()
    assert "agent.heads=4 (2)" in plot and "online rollouts" in plot


def test_runs_without_curves_or_of_other_versions_are_compared_too(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    runs = [
        {"path": one, "config": {"command": "collect", "seed": 0, "agent": {"heads": 4}}, "summary": {}, "date": "1"},
        {"path": two, "config": {"command": "train", "seed": 0, "new": True}, "summary": {"wall_s": 3}, "date": "2"},
    ]
    assert compare(runs, tmp_path / "out")["curves"] == 0
    assert [row["wall_s"] for row in table(tmp_path / "out" / "runs.csv")] == ["", "3"]
    assert not (tmp_path / "out" / "curves.svg").exists()
    assert what_differs([{"a": 1, "run.dir": "x", "seed": 0}, {"a": [1], "run.dir": "y", "seed": 1}]) == ["a"]


def test_nothing_to_compare_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert typed("runs", "run.root=nowhere", "to=out", commands=COMMANDS) == 2
    assert capsys.readouterr().err.splitlines() == [
        "robo-reward runs: no runs to compare: give the folder they are in, run.root=FOLDER"
    ]


@pytest.mark.parametrize("name", EXAMPLES_OF)
def test_the_examples_of_a_command_compose(name):
    assert name in COMMANDS
    for line, why in EXAMPLES_OF[name]:
        command, *words = line.split()
        assert command == name and why
        if any(is_by_hand(word) for word in words):
            continue
        load_config([word.split(",")[0] if "-m" in words else word for word in words if word != "-m"], command=name)


def test_help_of_a_command_begins_with_its_examples(capsys):
    assert typed("runs", "--help", commands=COMMANDS) == 0
    text = capsys.readouterr().out
    assert text.startswith("examples:\n  robo-reward runs ") and "run:" in text
