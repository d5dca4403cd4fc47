"""Simulation against reality, the planner, and the blind session."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from robo_reward.config import load_config
from robo_reward.evaluation.ab_session import BlindSession, label_agreement, mismatch, overlay
from robo_reward.evaluation.sequential import design, plan
from robo_reward.evaluation.sim_to_real import Rate, agreement, mean_maximum_rank_violation, pearson
from robo_reward.runtime.comparing import condition_of, policy_rows, write_table
from robo_reward.runtime.pipeline import evaluate
from robo_reward.runtime.run_folder import RunFolder

# ---- figures ----


def test_rank_violation_counts_what_the_simulation_ranks_the_wrong_way():
    assert mean_maximum_rank_violation([0.1, 0.5, 0.9], [0.2, 0.3, 0.8]) == 0
    # SIMPLER's equation by hand: the pair (0, 1) is swapped and differs by .1 in reality
    assert mean_maximum_rank_violation([0.5, 0.1, 0.9], [0.2, 0.3, 0.8]) == pytest.approx((0.1 + 0.1 + 0) / 3)
    assert mean_maximum_rank_violation([0.9, 0.5, 0.1], [0.1, 0.5, 0.9]) == pytest.approx((0.8 + 0.4 + 0.8) / 3)


def test_correlation_is_undefined_without_spread():
    assert pearson([0.1, 0.5, 0.9], [0.2, 0.6, 1.0]) == pytest.approx(1.0)
    assert pearson([0.5, 0.5], [0.1, 0.9]) is None


def test_gaps_are_pooled_over_policies_condition_by_condition():
    sim = {(p, c): Rate(n, 100) for p, c, n in [("a", "none", 80), ("b", "none", 40), ("a", "mass:2", 70)]}
    real = {("a", "none"): Rate(60, 100), ("b", "none"): Rate(40, 100), ("a", "mass:2"): Rate(71, 100)}
    found = agreement(sim, {**real, ("c", "none"): Rate(1, 2)})
    none, mass = found.gaps
    assert (none.condition, none.policies, none.difference) == ("none", 2, pytest.approx(0.1))
    assert none.interval.low > 0 > mass.interval.low and len(found.pairs) == 3
    with pytest.raises(ValueError, match="share 1 policies under the same condition; at least 2"):
        agreement(sim, {("a", "none"): Rate(1, 2)})


# ---- the command ----


def written(folder, rates, condition="none"):
    folder.mkdir()
    rows = {name: [{"success": n < wins, "steps": 20} for n in range(10)] for name, wins in rates.items()}
    write_table(policy_rows(rows, 20, condition), folder)
    return str(folder)


def test_compare_reads_two_sides_of_several_folders(tmp_path):
    sim = written(tmp_path / "a", {"x": 2, "y": 6, "z": 9})
    heavy = written(tmp_path / "b", {"x": 1, "y": 6}, "mass:2")
    real = written(tmp_path / "c", {"x": 3, "y": 5, "z": 9})
    heavy_real = written(tmp_path / "d", {"x": 3, "y": 6}, "mass:2")
    words = [f"compare={sim}+{heavy},{real}+{heavy_real}", f"run.root={tmp_path / 'r'}", "quiet=true"]
    summary = evaluate(load_config(words, "evaluate"))
    assert summary["compared"] == 5 and summary["pearson"] > 0.9 and summary["gap_mass_2"] == pytest.approx(-0.1)
    with pytest.raises(ValueError, match="nowhere holds no policies.csv"):
        evaluate(load_config([f"compare=nowhere,{real}", f"run.root={tmp_path / 'r'}"], "evaluate"))
    with pytest.raises(ValueError, match="takes two sides"):
        evaluate(load_config([f"compare={real}", f"run.root={tmp_path / 'r'}"], "evaluate"))


def test_the_plan_is_told_without_running_anything(tmp_path, capsys):
    summary = evaluate(load_config(["plan=0.8,0.95", f"run.root={tmp_path}"], "evaluate"))
    assert summary["pairs"] == plan(0.8, 0.95).looks[-1] <= 60 and summary["power"] >= 0.8
    assert f"evaluate.episodes={summary['pairs']} evaluate.looks=4" in capsys.readouterr().out
    with pytest.raises(ValueError, match="allowed: 0 <= first < second <= 1"):
        evaluate(load_config(["plan=0.9,0.8", f"run.root={tmp_path}"], "evaluate"))


def test_a_condition_is_one_perturbation_or_the_operators_word():
    assert condition_of(load_config(["perturb=mass:2"], "evaluate")) == "mass:2"
    assert condition_of(load_config(["evaluate.condition=lighting:1"], "evaluate")) == "lighting:1"
    with pytest.raises(ValueError, match="give one perturb=AXIS:SEVERITY"):
        condition_of(load_config(["perturb=mass"], "evaluate"))
    with pytest.raises(ValueError, match="unknown perturbation axis 'mas': did you mean 'mass'"):
        condition_of(load_config(["perturb=mas:1"], "evaluate"))


# ---- the blind session ----

POLICIES = {"old": "aa" * 32, "new": "bb" * 32}


def run(session, success=lambda rollout: True, stop=None):
    for rollout in session.rollouts():
        session.record(rollout, {"success": success(rollout)})
        if rollout.number == stop:
            return


def test_both_policies_start_from_every_state_in_an_order_that_varies_and_is_not_told(tmp_path):
    session = BlindSession(tmp_path, POLICIES, range(40))
    run(session, lambda rollout: rollout.policy == "new")
    assert {len(rows) for rows in session.outcomes().values()} == {40}
    assert all(row["success"] for row in session.outcomes()["new"])
    assert not any(row["success"] for row in session.outcomes()["old"])
    firsts = [session.order(state)[0] for state in range(40)]
    assert 8 < firsts.count("old") < 32
    log = (tmp_path / "session.jsonl").read_text()
    assert "old" not in log and "new" not in log


def test_an_interrupted_session_goes_on_where_it_was_with_the_same_order(tmp_path):
    first = BlindSession(tmp_path, POLICIES, range(10))
    orders = [first.order(state) for state in range(10)]
    run(first, stop=7)
    again = BlindSession(tmp_path, POLICIES, range(10))
    rollout = next(iter(again.rollouts()))
    assert (rollout.number, rollout.state, rollout.slot, rollout.policy) == (8, 3, 1, orders[3][1])
    assert [again.order(state) for state in range(10)] == orders
    assert {len(rows) for rows in again.outcomes().values()} == {3}  # of whole pairs


def test_a_verdict_ends_the_session_at_a_look(tmp_path):
    session = BlindSession(tmp_path, POLICIES, range(60), design(60, 4))
    run(session, lambda rollout: rollout.policy == "new")
    assert len(session.rows) == 30 and session.over


@pytest.mark.parametrize(
    ("policies", "seeds", "message"),
    [
        ({**POLICIES, "new": "cc" * 32}, range(10), r"begun with policies=old \(aaaaaaaa\), new \(bbbbbbbb\), not"),
        (POLICIES, range(12), "begun with states=10, not 12"),
        (POLICIES, range(5, 15), "begun with first_seed=0, not 5"),
    ],
)
def test_a_half_finished_session_of_others_is_refused_in_one_line(tmp_path, policies, seeds, message):
    run(BlindSession(tmp_path, POLICIES, range(10)), stop=3)
    with pytest.raises(ValueError, match=message):
        BlindSession(tmp_path, policies, seeds)


def test_a_run_folder_of_other_settings_is_refused_before_the_robot_moves(tmp_path):
    config = load_config(["evaluate.episodes=30", f"run.dir={tmp_path}"], "evaluate")
    with RunFolder(tmp_path, config, "evaluate", quiet=True):
        pass
    other = load_config(["evaluate.episodes=40", f"run.dir={tmp_path}"], "evaluate")
    with pytest.raises(ValueError, match="holds a run with evaluate.episodes=30, not 40"):
        RunFolder(tmp_path, other, "evaluate", quiet=True)


def test_agreement_of_labels_is_beyond_chance():
    found = label_agreement([True, True, False, False], [True, True, False, True])
    assert found["label_agreement"] == 0.75 and found["label_kappa"] == pytest.approx(0.5)
    assert label_agreement([True, True], [True, True]) == {"label_agreement": 1.0, "label_kappa": None}
    with pytest.raises(ValueError, match="1 labels of the operator and 0"):
        label_agreement([True], [])


def test_an_overlay_shows_both_and_a_mismatch_is_in_grey_levels():
    dark, light = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 200, np.uint8)
    assert overlay(dark, light).max() == 100 == overlay(light, dark).min()
    assert mismatch({"front": dark}, {"front": light}) == 200 and mismatch({"front": dark}, {"front": dark}) == 0


def test_a_policy_of_another_action_space_is_one_line(monkeypatch, tmp_path):
    from robo_reward.runtime import finished

    demo = SimpleNamespace(action=np.zeros((3, 4)), agent_pos=np.zeros((4, 30)), estimate=np.zeros((4, 16)))
    monkeypatch.setattr(finished, "read_split", lambda *a, **k: [demo])
    config = load_config(["env=nut_assembly"], "evaluate")
    one = finished.FinishedRun(tmp_path, load_config(), config, *[SimpleNamespace(path=tmp_path)] * 4)
    with pytest.raises(
        ValueError, match="trained in robo_reward/PegInsert-v0: it sees 46 numbers and its actions have 4"
    ):
        finished.run_actors(one, 5, 34)


def test_the_log_is_plain_json(tmp_path):
    session = BlindSession(tmp_path, POLICIES, range(2))
    run(session, stop=2)
    assert [json.loads(line)["slot"] for line in (tmp_path / "session.jsonl").read_text().splitlines()] == [0, 1]
