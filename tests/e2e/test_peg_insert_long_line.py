"""`robo-reward train experiment=peg_insert_long` from collecting to the report, in its smallest size."""

import pytest

for package in ("torch", "mujoco"):
    pytest.importorskip(package)

from robo_reward.config import load_config  # noqa: E402
from robo_reward.data.store import TransitionStore, find_store  # noqa: E402
from robo_reward.runtime.pipeline import train  # noqa: E402

SMALL = [
    "experiment=peg_insert_long", "quiet=true", "reward=oracle", "collect.demos=2", "collect.weak=0",
    "collect.validation=0", "collect.test=0", "collect.all_frames=false", "base.demos=2", "base.steps=20",
    "agent.hidden=32", "agent.batch=32", "agent.heads=4", "agent.updates_per_step=1", "train.rollouts=2",
    "train.warmup_rollouts=1", "train.warmup_updates=10", "train.evaluate_every=2", "train.evaluate_episodes=1",
    "evaluate.episodes=1", "evaluate.videos=0",
]  # fmt: skip


def test_the_whole_line_runs_on_the_long_task(tmp_path):
    config = load_config([*SMALL, f"run.root={tmp_path}"])
    summary = train(config)
    assert summary["rollouts"] == 2 and summary["updates"] > 0 and 0 <= summary["final_success"] <= 1
    (stage,) = [path for path in (tmp_path / "stages").glob("train-*") if (path / "store").is_dir()]
    store = TransitionStore(find_store(stage))
    episodes = [store.read(entry.episode_id) for entry in store.episodes()]
    assert len(episodes) == 2 + 2  # demonstrations and rollouts
    for episode in episodes:
        assert episode.action.shape[1] == 5 and episode.agent_pos.shape[1] == 31 and episode.estimate.shape[1] == 17
    shown = [episode for episode in episodes if episode.success]
    assert len(shown) >= 2 and all(set(episode.stage) == {0, 1, 2, 3, 4} for episode in shown)
    assert any(tmp_path.glob("train-*/report.html"))
