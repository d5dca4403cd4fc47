"""The completion rule on the rollouts of a store: who is counted, and what is said without failures or frames."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from robo_reward.data.store import TransitionStore
from robo_reward.progress.completion import CompletionRule, CompletionTarget
from robo_reward.progress.models.compact import CompactModel
from robo_reward.progress.models.compact_net import CompactNet, CompactSettings
from robo_reward.progress.references import Reference, References
from robo_reward.progress.reward_model import RewardModel, load_reward
from robo_reward.progress.tracker import TrackerSettings
from robo_reward.runtime.experience import DEMONSTRATIONS, ONLINE
from robo_reward.runtime.overrule import read_outcomes, recalibrate
from robo_reward.runtime.pipeline import annotate, bench_reward
from robo_reward.runtime.recheck import recheck_completion
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode, HopEstimate

TASK, LENGTH = "push", 8


class Bright:
    """Progress is the brightness of the frame."""

    model_id = "bright"

    def hop(self, query):
        level = np.array([frame.mean() / 255 for frame in query.frames["front"]])
        before, after = level[query.before_B], level[query.after_B]
        up = after >= before
        hop = np.where(up, (after - before) / np.maximum(1 - before, 1e-6), (after - before) / np.maximum(before, 1e-6))
        return HopEstimate(hop.astype(np.float32), np.ones(len(hop), np.float32), np.ones(len(hop), bool))


def rollout(
    name: str, levels: tuple[float, float, float], success: bool, oracle: float, frames: bool = True
) -> Episode:
    """Queried at steps 0, 4 and 8, where its frames are that bright."""
    steps = np.array([0, 4, 8] if frames else [], np.int64)
    shown = np.array([np.full((4, 4, 3), round(255 * level)) for level in levels[: len(steps)]], np.uint8)
    return make_episode(
        LENGTH, name, success=success, instruction=TASK, oracle=np.linspace(0, oracle, LENGTH + 1).astype(np.float32),
        frame_steps=steps, frames={"front": shown} if frames else {},
    )  # fmt: skip


@pytest.fixture
def trained(monkeypatch):
    edge = {"front": np.zeros((1, 4, 4, 3), np.uint8)}, {"front": np.full((1, 4, 4, 3), 255, np.uint8)}
    settings = TrackerSettings(every=4, fusion="average", completion=CompletionRule(0.8, 2))
    found = SimpleNamespace(model=Bright(), references=References({TASK: Reference(*edge)}), tracker=settings)
    monkeypatch.setattr("robo_reward.progress.reward_model.load_reward", lambda folder: found)


@pytest.fixture
def real(tmp_path):
    """The folder of a reward model that was never trained."""
    net = CompactNet(CompactSettings(("front",), 32, channels=(4,), kernels=(4,), strides=(4,), hidden=16))
    edge = {"front": np.zeros((1, 32, 32, 3), np.uint8)}, {"front": np.full((1, 32, 32, 3), 255, np.uint8)}
    folder = tmp_path / "reward"
    folder.mkdir()
    settings = TrackerSettings(every=4, completion=CompletionRule(0.6, 2))
    RewardModel(CompactModel(net), References({TASK: Reference(*edge)}), settings).save(folder)
    return folder


def stored(folder, *episodes, actor=ONLINE):
    with TransitionStore(folder / "store", writable=True) as store:
        sequence = store.index.actors[actor].acknowledged + 1 if actor in store.index.actors else 0
        for episode in episodes:
            sequence = store.append_episode(actor, sequence, episode)
    return folder


def test_failures_that_were_called_done_are_counted_with_their_interval(trained, tmp_path):
    stored(tmp_path, rollout("demo", (0, 1, 1), True, 1.0), actor=DEMONSTRATIONS)
    stored(
        tmp_path, rollout("done", (0, 1, 1), True, 1.0), rollout("fooled", (0, 1, 1), False, 0.2),
        rollout("for a while", (1, 1, 0), False, 0.2), rollout("near", (0, 0.6, 0.7), False, 0.6),
    )  # fmt: skip
    summary, rows = recheck_completion(tmp_path, "reward", quiet=True)
    assert [(r["episode_id"], r["fired"], r["verdict"]) for r in rows] == [
        ("done", True, "success"), ("fooled", True, "success"), ("for a while", True, "failure"),
        ("near", False, "partial"),
    ]  # fmt: skip
    assert summary["completion_onpolicy_failures"] == 3 and summary["completion_onpolicy_successes"] == 1
    assert summary["completion_onpolicy_false_success_rate"] == pytest.approx(2 / 3)
    # Clopper-Pearson's interval of 2 in 3.
    assert summary["completion_onpolicy_false_success_rate_low"] == pytest.approx(0.0943, abs=1e-3)
    assert summary["completion_onpolicy_false_success_rate_high"] == pytest.approx(0.9916, abs=1e-3)
    assert summary["completion_onpolicy_recall"] == 1 and summary["completion_onpolicy_three_way_accuracy"] == 0.75


def test_without_failures_the_rate_is_undefined_and_not_zero(trained, tmp_path):
    summary, _ = recheck_completion(stored(tmp_path, rollout("done", (0, 1, 1), True, 1.0)), "reward", quiet=True)
    assert summary["completion_onpolicy_false_success_rate"] is None and summary["completion_onpolicy_failures"] == 0


def test_a_store_without_frames_is_refused_in_one_line(trained, tmp_path):
    stored(tmp_path, rollout("blind", (0, 1, 1), True, 1.0, frames=False))
    with pytest.raises(ValueError, match="episode blind stores no camera frames"):
        recheck_completion(tmp_path, "reward", quiet=True)


def test_the_command_leaves_a_table_a_report_and_the_numbers(trained, tmp_path, capsys):
    from robo_reward.config import load_config

    stored(tmp_path, rollout("done", (0, 1, 1), True, 1.0), rollout("fooled", (0, 1, 1), False, 0.2))
    words = [f"store={tmp_path}", "reward_model=reward", f"run.root={tmp_path / 'runs'}"]
    summary = bench_reward(load_config(words, command="bench-reward"))
    assert "100.0% of 1 failures called done (95% interval 2.5% to 100.0%)" in capsys.readouterr().out
    with open(summary["table"], newline="") as file:
        assert [row["fired"] for row in csv.DictReader(file)] == ["True", "True"]
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "summary.json").read_text())["completion_onpolicy_false_success_rate"] == 1
    assert "learner&#x27;s own rollouts" in (folder / "report.html").read_text()


def test_an_operators_word_counts_in_place_of_the_records(trained, tmp_path):
    stored(tmp_path, rollout("done", (0, 1, 1), True, 1.0), rollout("fooled", (0, 1, 1), False, 0.2))
    summary, rows = recheck_completion(tmp_path, "reward", True, {"fooled": "success", "done": "partial"})
    assert [row["outcome"] for row in rows] == ["partial", "success"]
    assert summary["completion_onpolicy_failures"] == 1 and summary["completion_onpolicy_recall"] == 1
    with pytest.raises(ValueError, match="outcomes names episode lost, which is no rollout in the store"):
        recheck_completion(tmp_path, "reward", True, {"lost": "success"})


def test_a_new_reward_model_gets_the_threshold_that_the_operator_asks_for(real, tmp_path):
    """The rule called `near` done, the operator says it was not: the copy's threshold lies above it."""
    rows = [{"outcome": "success", "score": 0.9}, {"outcome": "partial", "score": 0.7},
            {"outcome": "failure", "score": 0.1}]  # fmt: skip
    before = (real / "tracker.json").read_bytes()
    summary = recalibrate(real, rows, CompletionTarget(), tmp_path / "new")
    assert summary["completion_threshold"] == pytest.approx(0.8) and summary["completion_bound_met"] is False
    old, new = load_reward(real), load_reward(tmp_path / "new")
    assert new.tracker.completion.threshold == pytest.approx(0.8) and new.model.model_id == old.model.model_id
    assert new.tracker.every == old.tracker.every and (real / "tracker.json").read_bytes() == before
    with pytest.raises(ValueError, match="new is there already: give a new folder"):
        recalibrate(real, rows, CompletionTarget(), tmp_path / "new")
    with pytest.raises(ValueError, match="0 successes and 2 others"):
        recalibrate(real, rows[1:], CompletionTarget(), tmp_path / "other")
    assert {path.name for path in tmp_path.iterdir()} == {"new", "reward"}


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "is no JSON"), ("[]", "holds a list"), ('{"a": "good"}', "episode a is 'good'; allowed: failure, partial")],
)
def test_a_wrong_file_of_outcomes_is_told_in_one_line(tmp_path, text, words):
    path = tmp_path / "outcomes.json"
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_outcomes(path)
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_outcomes(path)


def test_the_command_takes_outcomes_and_leaves_a_recalibrated_model(real, tmp_path):
    from robo_reward.config import load_config

    store = tmp_path / "run"
    shown = [rollout(f"{i}", (0, level, level), i < 3, level) for i, level in enumerate((0.9, 0.8, 0.7, 0.2, 0.1))]
    stored(store, *(replace(e, frames={"front": e.frames["front"].repeat(8, 1).repeat(8, 2)}) for e in shown))
    (tmp_path / "outcomes.json").write_text('{"2": "partial"}')
    words = [f"store={store}", f"reward_model={real}", f"outcomes={tmp_path / 'outcomes.json'}",
             f"to={tmp_path / 'new'}", f"run.root={tmp_path / 'runs'}", "quiet=true"]  # fmt: skip
    summary = bench_reward(load_config(words, command="bench-reward"))
    assert summary["reward_model"] == str(tmp_path / "new") and summary["completion_successes"] == 2
    assert load_reward(tmp_path / "new").tracker.completion.threshold == summary["completion_threshold"]
    with pytest.raises(ValueError, match=r"outcomes=x\.json are those of a store's episodes: add store=FOLDER"):
        load_config(["outcomes=x.json"], command="bench-reward")


@pytest.mark.parametrize("command", [bench_reward, annotate])
def test_a_store_that_is_not_there_is_told_before_a_model_is_trained_for_it(command, tmp_path):
    from robo_reward.config import load_config

    words = [f"store={tmp_path / 'gone'}", f"run.root={tmp_path / 'runs'}", "quiet=true"]
    with pytest.raises(FileNotFoundError, match="no transition store in .*gone"):
        command(load_config(words, command.__name__.replace("_", "-")))
    assert not (tmp_path / "runs").exists()
