"""The learner's study: its rows can be run, what is finished is passed over, and no line is ever changed."""

from __future__ import annotations

import csv
import json
import re

import pytest

from robo_reward.config import load_config

ENTRY = {
    "task": "peg_insert",
    "method": "ibrl",
    "shaping": "none",
    "observation": "state",
    "rollouts_to_0_8_success": "",
}


@pytest.fixture
def study(script, monkeypatch, tmp_path):
    module = script("study_learning")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


def test_every_row_is_a_configuration_of_its_own(study):
    names, commands = set(), set()
    for _, rows in study.GROUPS.values():
        for row in rows:
            load_config(list(row.words))
            names.add((row.task, row.method, row.shaping, row.observation))
            commands.add(study.command_of(row, 0))
    assert len(names) == len(commands)


def test_ingredients_each_leave_out_one_thing(study):
    default = load_config(study.ORACLE)
    for name, words in (study.WITHOUT | study.OTHERWISE).items():
        config = load_config([*study.ORACLE, *words])
        changed = {key for key in ("agent", "train", "shaping", "reward", "base")
                   if getattr(config, key) != getattr(default, key)}  # fmt: skip
        assert changed == ({"train"} if name == "warm-up" else {"agent"}), name


def test_every_option_of_the_learner_s_page_has_a_row(study, project):
    """Those of its table, which are off unless they are set, and exploration's."""
    page = (project / "docs" / "learner.md").read_text(encoding="utf-8")
    table = page.split("Options that are off unless you set them")[1].split("## Symmetry")[0]
    options = set(re.findall(r"^\| `(agent\.\w+)=", table, re.MULTILINE)) | {"agent.noise_correlation"}
    set_by = {word.split("=")[0] for words in study.OPTIONS.values() for word in words}
    assert len(options) > 8 and options <= set_by


def test_a_finished_command_is_passed_over_wherever_it_was_written(study, monkeypatch, capsys):
    def listed(*words):
        monkeypatch.setattr("sys.argv", ["study", "--group", "peers", "--seeds", "3", "--list", *words])
        study.main()
        return capsys.readouterr().out.splitlines()

    everything = listed()
    assert len(everything) == len(study.GROUPS["peers"][1]) and all(line.endswith("seed=3") for line in everything)
    study.append_lines("learner_tasks.csv", study.COLUMNS, [ENTRY | {"command": everything[1]}])
    assert listed("run.root=/elsewhere") == everything[:1] + everything[2:]
    assert len(listed("experiment=smoke")) == len(everything)  # other settings are other runs


def test_lines_are_added_and_the_means_name_what_is_missing(study):
    for seed, success in enumerate(("0.5", "0.7", "0.9")):
        line = ENTRY | {"seed": seed, "success": success, "command": f"run {seed}"}
        study.append_lines("learner_tasks.csv", study.COLUMNS, [line])
    rows = list(csv.DictReader((study.RESULTS / "learner_tasks.csv").open()))
    assert [row["success"] for row in rows] == ["0.5", "0.7", "0.9"]
    study.write_means(["robo-reward train seed=9"])
    result = json.loads((study.RESULTS / "learner_tasks.json").read_text())
    [found] = result["table"].values()
    mean, low, high = found["success"]
    assert found["seeds"] == 3 and mean == pytest.approx(0.7) and low <= 0.7 <= high
    assert found["rollouts_to_0_8_success"] is None and found["seeds_that_reached_0_8"] == 0
    assert result["not_run"] == ["robo-reward train seed=9"]


def test_beliefs_are_counted_by_the_rule_that_the_run_believed(study):
    def rollout(outcome, fired, score):
        return {"outcome": outcome, "fired": str(fired), "score": str(score)}

    rollouts = [rollout("success", True, 0.9), rollout("failure", False, 0.6), rollout("partial", False, 0.2)]
    [calibrated] = study.belief_blocks(rollouts, None)
    assert (calibrated["believed"], calibrated["true"], calibrated["fooled"]) == pytest.approx((1 / 3, 1 / 3, 0))
    first, second = study.belief_blocks(rollouts, 0.5, size=2)
    assert (first["believed"], first["true"], first["fooled"]) == (1.0, 0.5, 0.5)
    assert second["rollouts"] == 3 and second["believed"] == 0.0
    named = {"task": "peg_insert", "method": "completion as task reward, calibrated", "command": "robo-reward train"}
    study.append_lines(
        "learner_hacking.csv", study.HACKING, [{**named, "seed": 0, **first}, {**named, "seed": 1, **second}]
    )
    study.append_lines("learner_hacking.csv", study.HACKING, [{**named, "seed": 2, **second}])
    study.write_beliefs()
    table = json.loads((study.RESULTS / "learner_hacking.json").read_text())["table"]
    assert table["to rollout 2"]["calibrated: believed"] == [1.0, 1.0, 1.0]
    assert table["to rollout 3"]["calibrated: true"] == [second["true"]] * 3


@pytest.mark.slow
def test_a_run_leaves_its_lines(study, tmp_path):
    extra = ["experiment=smoke", f"run.root={tmp_path / 'runs'}", "quiet=true"]
    # Not `study.row`: a task's own number of rollouts would overrule the small experiment's.
    study.run("peers", study.Row("peg_insert", "ibrl", "none", ("agent=ibrl",)), 0, extra)
    words = ("train.task_reward=completion", "shaping=none")
    study.run("hacking", study.Row("peg_insert", "completion", "none", words), 0, extra)
    rows = study.read_lines("learner_tasks.csv")
    assert [row["method"] for row in rows] == ["ibrl", "completion"]
    assert all(0 <= float(row["success"]) <= 1 for row in rows)
    assert "run.root" not in rows[0]["command"] and int(rows[0]["env_steps"]) > 0
    curves = study.read_lines("learner_curves.csv")
    assert [row["rollouts"] for row in curves if row["method"] == "ibrl"] == ["2", "4"]
    assert [row["rollouts"] for row in study.read_lines("learner_hacking.csv")] == ["4"]
