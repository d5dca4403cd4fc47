"""The table of perturbed worlds: its cells, its rows, its commands."""

import csv
import json

import pytest


def test_the_nominal_world_comes_first_then_every_axis_at_severity_two(script):
    study = script("study_perturbations")
    cells = study.cells(visual=False)
    assert cells[0] == ("none", 0) and len(cells) == 1 + 3 * len(study.PHYSICAL)
    assert {severity for _, severity in cells[1 : 1 + len(study.PHYSICAL)]} == {2}
    assert ("lighting", 1) in study.cells(visual=True) and ("lighting", 1) not in cells


def test_rows_hold_success_and_its_drop_or_the_reward_models_error(script):
    study = script("study_perturbations")
    summary = {"evaluation_episodes": 100, "base_success": 0.4, "final_success": 0.9,
               "perturb_mass_2_base_success": 0.3, "perturb_mass_2_final_success": 0.85,
               "perturb_lighting_1_reward_error": 0.1, "perturb_lighting_1_reward_error_low": 0.08,
               "perturb_lighting_1_reward_error_high": 0.12,
               "perturb_lighting_1_reward_error_unperturbed": 0.05}  # fmt: skip
    base, trained = study.rows_of("t", "mass", 2, summary, "command")
    assert (base["policy"], base["success"], base["drop"]) == ("base", 0.3, pytest.approx(0.1))
    assert trained["drop"] == pytest.approx(0.05) and trained["success_low"] < 0.85 < trained["success_high"]
    (model,) = study.rows_of("t", "lighting", 1, summary, "command")
    assert (model["reward_error"], model["reward_error_unperturbed"]) == (0.1, 0.05) and "success" not in model
    assert [row["drop"] for row in study.rows_of("t", "none", 0, summary, "command")] == [0, 0]


def test_a_command_names_the_experiment_where_it_is_not_the_default(script, tmp_path):
    study, run = script("study_perturbations"), tmp_path / "train-x"
    rest = "evaluate.policies=[runs/train-x] perturb=mass:2 seed=3"
    assert study.command_of("peg_insert", run, "mass", 2, ["seed=3"]) == f"robo-reward evaluate {rest}"
    assert study.command_of("lift", run, "mass", 2, ["seed=3"]) == f"robo-reward evaluate experiment=lift {rest}"
    with study.TABLE.open(newline="", encoding="utf-8") as file:
        recorded = [(row["task"], row["command"]) for row in csv.DictReader(file)]
    assert all((f" experiment={task} " in command) == (task != study.DEFAULT) for task, command in recorded)


def test_finished_cells_are_passed_over_and_paths_left_out(script, tmp_path, monkeypatch):
    study = script("study_perturbations")
    run, table, asked = tmp_path / "train-x", tmp_path / "table.csv", []
    run.mkdir()
    (run / "config.yaml").write_text("name: peg_insert\n")
    summary = {"evaluation_episodes": 10, "base_success": 0.4, "final_success": 0.9}

    def evaluate(config):
        cell = [*config.perturb.axes, *map(str, config.perturb.severities[: len(config.perturb.axes)])]
        asked.append(":".join(cell))
        if len(asked) == 3:
            raise KeyboardInterrupt
        names = ("base_success", "final_success")
        return summary | {f"perturb_{'_'.join(cell)}_{name}": summary[name] for name in names}

    monkeypatch.setattr(study, "evaluate", evaluate)
    monkeypatch.setattr("sys.argv", ["study", "--run", str(run), "--table", str(table), "run.root=/secret"])
    with pytest.raises(KeyboardInterrupt):
        study.main()
    assert asked[:2] == ["", "object:2"]
    asked.clear()
    asked.extend(["skip"] * 3)
    monkeypatch.setattr(study, "cells", lambda visual: [("none", 0), ("object", 2), ("mass", 2)])
    study.main()
    assert asked[3:] == ["mass:2"]
    text = table.read_text()
    rows = list(csv.DictReader(table.open()))
    table = json.loads((tmp_path / "table.json").read_text())["table"]
    assert table["mass, severity 2"]["trained"][0] == 0.9 and table["as in training"]["base, drop"] == 0
    assert len(rows) == 6 and "secret" not in text and "runs/train-x" in rows[0]["command"]
