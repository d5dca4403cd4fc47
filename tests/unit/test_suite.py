"""`bench-reward suite=`: which tasks share a model, and what the figures are called."""

import json

import pytest

from robo_reward.config import load_config
from robo_reward.runtime import suite
from robo_reward.runtime.stages import StageResult
from robo_reward.runtime.suite import Measured, groups, suite_summary, task_config


def test_sim_suite_holds_a_hundred_failures_for_calibration_and_a_hundred_for_measuring():
    config = load_config(["suite=sim"])
    assert config.suite.tasks[:2] == ("peg_insert", "lift")
    assert config.collect.validation == config.collect.test == 150


def test_no_suite_by_default():
    assert load_config().suite.tasks == ()


def test_tasks_with_the_same_cameras_share_a_model():
    config = load_config()
    configs = {name: task_config(config, name) for name in ("peg_insert", "lift")}
    assert groups(configs) == [["peg_insert"], ["lift"]]
    assert groups(configs | {"again": configs["lift"]}) == [["peg_insert"], ["lift", "again"]]


def test_task_config_keeps_the_users_settings():
    config = task_config(load_config(["seed=3", "reward.steps=7", "env.image_size=64"]), "lift")
    assert (config.seed, config.reward.steps, config.env.image_size) == (3, 7, 64)
    assert config.env.cameras == ("agentview", "wrist")


def test_unknown_task_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'lift'"):
        task_config(load_config(), "lifd")


def test_a_completion_rule_that_waits_longer_is_another_model(monkeypatch, tmp_path):
    """The joint model's tracker says how many queries have to agree; the calibration takes it from there."""
    keys = []

    def kept(config, name, key, inputs, build):
        keys.append((name, key))
        return StageResult(name, tmp_path, name, {}, 0.0, True)

    monkeypatch.setattr(suite, "kept_stage", kept)
    monkeypatch.setattr(suite, "collect_stage", lambda config: StageResult("collect", tmp_path, "0", {}, 0.0, True))
    monkeypatch.setattr(suite.steps, "bench_stage", lambda *stages: stages[-1])
    for sustain in (2, 3):
        suite.run_suite(load_config(["suite.tasks=[lift]", f"completion.sustain={sustain}"]))
    first, second = (key for name, key in keys if name == "train-reward")
    assert first != second


def test_summary_names_task_metric_and_control(tmp_path):
    row = {"method": "compact", "success": 50, "failure": 100, "control": False, "voc": 0.9, "voc_low": 0.8,
           "voc_high": 1.0, "false_success_rate": 0.0}  # fmt: skip
    counter = {"method": "minus length", "success": 50, "failure": 100, "control": True, "voc": -1.0}
    floor = {"method": "oracle", "success": 50, "failure": 100, "control": False, "voc": 1.0}
    (tmp_path / "bench.json").write_text(json.dumps([row, counter, floor]))
    stage = StageResult("any", tmp_path, "0", {"completion_failures": 100}, 1.0, False)
    flat = suite_summary([Measured("lift", load_config(), stage, stage, stage)])
    assert (flat["lift_voc"], flat["lift_voc_low"], flat["lift_failures"]) == (0.9, 0.8, 100)
    assert flat["control_minus_length_lift_voc"] == -1.0
    assert flat["lift_completion_failures"] == 100
    assert 0.03 < flat["lift_false_success_rate_high"] < 0.04  # no error in 100 shows no rate of 0
    assert not any("oracle" in key for key in flat)
