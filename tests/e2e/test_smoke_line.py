"""The whole line in its smallest size, as `robo-reward train` runs it: finished, repeated, interrupted, continued."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

for package in ("torch", "mujoco", "lerobot", "av"):
    pytest.importorskip(package)

import yaml  # noqa: E402

from robo_reward.config import load_config  # noqa: E402
from robo_reward.data.lerobot import read_dataset  # noqa: E402
from robo_reward.data.store import TransitionStore  # noqa: E402
from robo_reward.data.tracks import TrackStore  # noqa: E402
from robo_reward.doctor import doctor  # noqa: E402
from robo_reward.evaluation import vector  # noqa: E402
from robo_reward.learning.weights import load_weights  # noqa: E402
from robo_reward.progress.reward_model import load_reward  # noqa: E402
from robo_reward.runtime import pipeline  # noqa: E402
from robo_reward.runtime.pipeline import evaluate, train  # noqa: E402
from robo_reward.runtime.run_folder import read_metrics  # noqa: E402

TINY = [
    "experiment=smoke", "quiet=true", "train.warmup_updates=20", "agent.updates_per_step=1", "train.evaluate_every=2",
    "evaluate.videos=1",
]  # fmt: skip
ORACLE = [
    *TINY, "env.horizon=40", "reward=oracle", "collect.demos=2", "collect.weak=0", "collect.validation=0",
    "collect.test=0", "base.demos=1", "evaluate.episodes=2",
]  # fmt: skip
PROMISED = {
    "base_success", "final_success", "final_success_low", "final_success_high", "rollouts", "env_steps",
    "rollouts_to_0_8_success", "updates_per_s", "wall_s",
}  # fmt: skip
REWARD = {"reward_voc", "reward_vroc", "reward_progress_error", "reward_progress_error_failure", "reward_success_auc"}


def configured(root, overrides=ORACLE):
    return load_config([*overrides, f"run.root={root}"])


def stage_files(root):
    """Every file of every stage with its time of change."""
    files = (path for path in (root / "stages").rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in files}


def numbers(summary):
    """What two runs with the same settings must agree on, clocks left out."""
    return {
        name: value
        for name, value in summary.items()
        if not name.endswith(("wall_s", "_per_s"))
        and name not in ("date", "git_revision", "command_line", "cores", "train_folder")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: (root, summary, config)."""
    root = tmp_path_factory.mktemp("whole")
    config = configured(root)
    return root, train(config), config


def test_its_policies_are_evaluated_again_by_the_runs_folder(whole, tmp_path):
    root, summary, config = whole
    words = [f"run.root={tmp_path}", "quiet=true", "env.horizon=40", "evaluate.episodes=3", "evaluate.videos=0"]
    alone = evaluate(load_config([*words, f"policies={config.run.dir}", "perturb=mass:1"], "evaluate"))
    assert alone.keys() >= {"final_success", "final_cycle_s", "perturb_mass_1_final_success"}
    assert sum(count for name, count in alone.items() if name.startswith("final_outcome_")) == 3
    folder = root.parent / "seen"
    both = [f"policies=base:{config.run.dir},{config.run.dir}", "evaluate.looks=3", f"run.dir={folder}"]
    found = evaluate(load_config([*words, *both], "evaluate"))
    assert found["decision"] == "undecided" and found["decision_pairs"] == 3
    rows = (folder / "policies.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == [
        f"base of {Path(config.run.dir).name}",
        Path(config.run.dir).name,
    ]
    for policies in (config.run.dir, both[0].removeprefix("policies=")):  # alone, and beside another
        with pytest.raises(ValueError, match="choose the world with env="):
            evaluate(load_config([*words, f"policies={policies}", "env=peg_insert_long"], "evaluate"))


def test_it_leaves_what_it_promises(whole):
    _, summary, config = whole
    (folder,) = [path for path in whole[0].iterdir() if path.name != "stages"]
    assert str(folder) == config.run.dir
    written = json.loads((folder / "summary.json").read_text())
    assert written == summary and summary.keys() >= PROMISED
    assert not any(isinstance(value, (dict, list)) for value in summary.values())
    assert 0 <= summary["final_success_low"] <= summary["final_success"] <= summary["final_success_high"] <= 1
    assert summary["rollouts"] == 4 and 4 <= summary["env_steps"] <= 160
    assert summary["updates"] > 0 and summary["updates_per_s"] > 0 and summary["wall_s"] > 0
    assert not any(key.startswith("reward_") and key != "reward_model_rollouts" for key in summary)
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    assert settings["reward"]["kind"] == "oracle" and settings["env"]["horizon"] == 40
    rows = read_metrics(folder)
    assert [row["rollout"] for row in rows] == [1, 2, 3, 4] and rows[-1]["step"] == summary["env_steps"]
    assert ["success" in row for row in rows] == [False, True, False, True]
    page = (folder / "report.html").read_text()
    assert "Learning curve" in page and "<video" in page and "http://" not in page.split("</head>")[0]


def test_a_second_call_reuses_every_stage_and_says_the_same(whole):
    root, summary, config = whole
    before = stage_files(root)
    again = train(config)
    assert stage_files(root) == before
    assert numbers(again) == numbers(summary)
    assert again["wall_s"] == summary["wall_s"] and again["updates_per_s"] == summary["updates_per_s"]


def test_the_trained_policy_goes_to_the_robot_and_acts_as_it_was_trained(whole, tmp_path):
    """`export` after `train`: no stage anew, and the graph drives an episode as base and residual did."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from contextlib import closing

    from robo_reward.deploy.policy import ExportedPolicy
    from robo_reward.runtime import collecting, steps
    from robo_reward.runtime.acting import ResidualRollout
    from robo_reward.runtime.tasks import make_env

    root, _, config = whole
    before = stage_files(root)
    exported = load_config([*ORACLE, f"run.root={root}", f"run.dir={tmp_path / 'run'}", f"to={tmp_path / 'robot'}"])
    summary = pipeline.export(exported)
    assert stage_files(root) == before and 0 < summary["policy_difference"] < 1e-4
    assert {"policy.onnx", "policy.ts", "policy.json"} <= {path.name for path in (tmp_path / "robot").iterdir()}
    assert not (tmp_path / "robot" / "reward_model").exists()  # the potential was the simulator's
    policy = ExportedPolicy(tmp_path / "robot")
    assert policy.description["env"] == config.env.id
    data = collecting.dataset_stage(exported)
    base = steps.base_stage(exported, data)
    trained = steps.residual_stage(exported, data, None, base, lambda *_, **__: None)
    loaded = steps.load_base(exported, base)
    rollout = ResidualRollout(loaded, steps.load_agent(exported, data, loaded, trained), deployed=True)
    state = policy.initial_state(1)
    with closing(make_env(config.env)) as env:
        seen, _ = env.reset(seed=0)
        for _ in range(12):
            wanted, _ = rollout(seen["agent_pos"], seen["estimate"])
            action, state = policy.act(seen["agent_pos"][None], seen["estimate"][None], state)
            np.testing.assert_allclose(action[0], wanted, atol=1e-4)
            seen = env.step(action[0])[0]


@pytest.fixture
def interrupted(tmp_path, whole, monkeypatch):
    """Start from the whole run's data and base, interrupt the learner at its k-th episode, and run it again."""

    def run(at):
        for stage in ("collect", "train-base"):
            (folder,) = (path for path in (whole[0] / "stages").glob(f"{stage}-*") if path.is_dir())
            shutil.copytree(folder, tmp_path / "stages" / folder.name)
        config, episodes, run_episode = configured(tmp_path), itertools.count(1), vector.run_episode

        def interrupt(*arguments, **named):
            if next(episodes) == at:
                raise KeyboardInterrupt
            return run_episode(*arguments, **named)

        monkeypatch.setattr(vector, "run_episode", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config)
        monkeypatch.undo()
        (left,) = (tmp_path / "stages").glob("*.partial")
        assert left.name.startswith("train-")
        return tmp_path, train(config)

    return run


def learned(root):
    """Weights and stored episodes of the one learner in the folder."""
    (folder,) = [path for path in (root / "stages").glob("train-*") if (path / "store").is_dir()]
    store = TransitionStore(folder / "store")
    episodes = {entry.episode_id: vars(store.read(entry.episode_id)) for entry in store.episodes()}
    return load_weights(folder / "agent")[0], episodes


@pytest.mark.parametrize("at", [3, 6])
def test_interrupted_and_run_again_it_equals_the_run_that_was_not(whole, interrupted, at):
    """In the evaluation after the second rollout; in the fourth rollout."""
    root, summary = interrupted(at)
    assert numbers(summary) == numbers(whole[1])
    (weights, episodes), (found, found_episodes) = learned(whole[0]), learned(root)
    assert len(episodes) == 2 + 4  # demonstrations and rollouts
    assert found.keys() == weights.keys() and all((found[name] == weights[name]).all() for name in weights)
    np.testing.assert_equal(found_episodes, episodes)


@pytest.mark.slow
def test_with_the_learned_reward_the_summary_also_measures_it(tmp_path, capsys):
    """Every station: demonstrations, labels, reward model, its benchmark, base, learner, evaluation, report."""
    config = configured(tmp_path, TINY)
    summary = train(config)
    assert summary.keys() >= PROMISED | REWARD
    assert all(summary[key] is None or np.isfinite(summary[key]) for key in PROMISED | REWARD)
    # The weak and the validation rollouts are counted, and those that were drawn in vain.
    assert summary["reward_model_rollouts"] == 5 + summary["validation_redrawn"]
    assert summary["completion_onpolicy_failures"] + summary["completion_onpolicy_successes"] == 4
    (folder,) = [path for path in tmp_path.iterdir() if path.name != "stages"]
    assert load_reward(folder).model.model_id == load_reward(Path(summary["reward_model"])).model.model_id
    page = (folder / "report.html").read_text()
    assert "Reward model on held-out episodes" in page and "Best and worst episodes" in page
    assert "learner&#x27;s own rollouts" in page and "reward terms" in page
    try_the_store_out(tmp_path, capsys)
    before = stage_files(tmp_path)
    assert numbers(train(config)) == numbers(summary) and stage_files(tmp_path) == before


def try_the_store_out(root, capsys):
    """Doctor, another reward model's annotation, and export, as a user types them."""
    (folder,) = [path for path in (root / "stages").glob("train-*") if (path / "store").is_dir()]
    command([f"store={folder}"], "doctor")
    assert "7 episodes" in capsys.readouterr().out
    (reward,) = [path for path in (root / "stages").glob("train-reward-*") if path.is_dir()]
    found = command([f"store={folder}", f"reward_model={reward}", f"run.root={root / 'more'}"], "annotate")
    assert found["annotated_episodes"] == 7 and found["newly_annotated_episodes"] == 0  # the run's own model
    assert TrackStore(folder / "tracks").proposal.model_id == found["reward_model_id"]
    settings = [f"store={folder}", f"to={root / 'dataset'}", f"run.root={root / 'more'}"]
    assert command(settings, "export")["exported_episodes"] == 7
    episodes = read_dataset(root / "dataset", query_every=1, views=())
    stored = {entry.episode_id: entry.ending.steps for entry in TransitionStore(folder / "store").episodes()}
    assert {episode.episode_id: len(episode) for episode in episodes} == stored


def command(settings, name):
    """What `robo-reward <name> <settings>` returns."""
    config = load_config([*settings, "quiet=true"], command=name)
    return doctor(config) if name == "doctor" else getattr(pipeline, name)(config)
