"""`evaluate`: when it stops, what it films, whose policies it takes, what it refuses."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from robo_reward.config import load_config
from robo_reward.evaluation import paired
from robo_reward.evaluation.paired import cycle_times, run_paired
from robo_reward.evaluation.sequential import design
from robo_reward.runtime import evaluating
from robo_reward.runtime.comparing import policy_rows
from robo_reward.runtime.evaluating import to_film, told
from robo_reward.runtime.finished import finished_run, method_of, policy_names
from robo_reward.runtime.pipeline import evaluate, train
from robo_reward.runtime.stages import finished_stage, run_stage


class Fake:
    """An episode of so many steps."""

    def __init__(self, source, seed, success, steps=10, oracle=None):
        self.source, self.seed, self.success, self.oracle = source, seed, success, oracle
        self.stage, self.steps = np.zeros(steps + 1, int), steps

    def __len__(self):
        return self.steps


def test_a_verdict_ends_the_runs_at_its_look(monkeypatch):
    monkeypatch.setattr(
        paired, "run_jobs", lambda env, jobs, query_every: (Fake(j.source, j.seed, j.source == "b") for j in jobs)
    )
    actors = {"a": lambda seed: None, "b": lambda seed: None}
    found = run_paired(None, actors, range(100, 160), True, test=design(60, 4))
    assert [e.seed for e in found["a"]] == [e.seed for e in found["b"]] == list(range(100, 115))
    assert len(run_paired({"a": None, "b": None}, actors, range(60), True)["b"]) == 60


def test_cycle_times_count_failures_only_in_the_time_per_success():
    found = cycle_times("x", [Fake("x", 0, True, 20), Fake("x", 1, True, 40), Fake("x", 2, False, 120)], fps=20)
    assert found["x_cycle_s"] == 1.5 and found["x_s_per_success"] == 4.5
    assert np.isnan(cycle_times("x", [Fake("x", 0, False)], 20)["x_cycle_s"])


def test_outcomes_come_from_the_simulators_progress_or_the_reward_model():
    config = load_config(["env.horizon=10"])
    known = [Fake("x", 0, False, oracle=np.linspace(0, 0.9, 11))]
    assert told(config, known)[0]["outcome"] == "timed out"
    unknown = [Fake("x", 0, False), Fake("x", 1, True), Fake("x", 2, False, steps=4)]
    assert [row["outcome"] for row in told(config, unknown)] == ["failure", "success", "failure"]
    seen = told(config, unknown, lambda episodes: [SimpleNamespace(phi=np.zeros(11))])
    assert [row["outcome"] for row in seen] == ["never approached", "success", "fault"]


def test_a_filmed_failure_that_nothing_follows_is_called_a_failure_and_no_more(monkeypatch, tmp_path):
    """On a robot without a reward model there is no curve: a potential of 0 must not tell `never approached`."""
    episode = Fake("base", 0, False)
    episode.frames, episode.instruction = {}, "insert"
    monkeypatch.setattr(evaluating, "run_jobs", lambda env, jobs, query_every: [episode])
    monkeypatch.setattr("robo_reward.evaluation.video.write_episode_video", lambda *arguments, **named: None)

    def zeros(episodes):
        return [SimpleNamespace(phi=np.zeros(11))]

    config, rows = load_config(["env.horizon=10", "evaluate.videos=1"]), {"base": [{"seed": 0, "outcome": "failure"}]}
    [film] = evaluating._videos(config, None, {"base": lambda seed: None}, zeros, None, rows, tmp_path)
    assert film["outcome"] == "failure"


def test_every_outcome_of_both_is_filmed_before_any_twice():
    rows = [{"seed": n, "outcome": o} for n, o in enumerate(["success", "success", "dropped", "timed out"])]
    films = to_film({"base": rows, "trained": rows[:2]}, 5)
    assert films == [("base", 0), ("trained", 0), ("base", 2), ("trained", 1), ("base", 3)]


def test_rows_of_a_comparison_are_paired_with_the_first():
    one = [{"success": s, "steps": 20} for s in (True, False, True, False)]
    two = [{"success": True, "steps": 30}] * 4
    rows = policy_rows({"one": one, "two": two}, 20)
    assert [row["success"] for row in rows] == [0.5, 1.0] and rows[1]["cycle_s"] == 1.5
    assert rows[0]["difference_low"] <= 0 <= rows[0]["difference_high"] and rows[1]["difference_high"] > 0.5


def test_a_folder_that_is_no_finished_run_is_one_line(tmp_path):
    config = load_config([f"evaluate.policies=[{tmp_path}]", f"run.root={tmp_path / 'r'}"], "evaluate")
    with pytest.raises(ValueError, match="is no finished run of train: give its folder, with config.yaml"):
        evaluate(config)
    (tmp_path / "config.yaml").write_text("nonsense: 1\n")
    (tmp_path / "summary.json").write_text(json.dumps({"train_folder": "gone"}))
    with pytest.raises(ValueError, match="unknown setting 'nonsense'.*another version"):
        finished_run(tmp_path, config)
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(ValueError, match="is missing or damaged"):
        finished_run(tmp_path, config)


def test_two_of_the_same_and_training_on_finished_runs_are_refused(tmp_path):
    words = [f"evaluate.policies=[{tmp_path},{tmp_path}]", f"run.root={tmp_path / 'r'}"]
    with pytest.raises(ValueError, match="train evaluates its own"):
        train(load_config(words))
    with pytest.raises(ValueError, match="names a policy twice"):
        evaluate(load_config(words, "evaluate"))
    many = ["policies=a,b,c", "evaluate.looks=3", f"run.root={tmp_path / 'r'}"]
    with pytest.raises(ValueError, match="evaluate.looks=3 tells two policies apart, and evaluate.policies names 3"):
        evaluate(load_config(many, "evaluate"))


def test_a_finished_stage_brings_its_inputs_and_is_checked(tmp_path):
    data = run_stage(tmp_path, "collect", {}, [], lambda folder: (folder / "x").write_text("1") and {}, quiet=True)
    made = run_stage(tmp_path, "train-base", {"a": 1}, [data], lambda folder: {"b": 2}, quiet=True)
    found, inputs = finished_stage(made.path)
    assert (found.name, found.digest, found.summary) == ("train-base", made.digest, {"b": 2})
    assert [stage.path for stage in inputs] == [data.path]
    (data.path / "x").write_text("2")
    with pytest.raises(ValueError, match="collect-.* is missing or damaged"):
        finished_stage(made.path)


def test_runs_that_differ_in_their_seed_are_one_method_and_names_stay_apart():
    one, other, third = (SimpleNamespace(own=load_config(w)) for w in ([], ["seed=3"], ["agent.heads=4"]))
    assert method_of(one) == method_of(other) != method_of(third)
    assert policy_names(["a/run", "base:a/run", "b/x"]) == ["run", "base of run", "x"]
    assert policy_names(["a/run", "b/run"]) == ["a/run", "b/run"]


def test_more_pairs_than_the_test_knows_are_told_before_anything_is_trained(tmp_path):
    words = ["evaluate.looks=2", "evaluate.episodes=500", f"run.root={tmp_path}"]
    with pytest.raises(ValueError, match="evaluate.looks=2 with evaluate.episodes=500: the sequential test takes"):
        evaluate(load_config(words, "evaluate"))
    assert not list(tmp_path.iterdir())
