"""A vision-language model that nobody trained, behind a chat server, rewards a run: from demonstrations to a policy."""

import re

import numpy as np
import pytest

for package in ("torch", "mujoco", "transformers", "aiohttp"):
    pytest.importorskip(package)

from robo_reward.config import load_config  # noqa: E402
from robo_reward.interfaces import Unanswered  # noqa: E402
from robo_reward.runtime.pipeline import train  # noqa: E402
from robo_reward.testing.reward_server import BadServer  # noqa: E402

pytestmark = pytest.mark.slow


def chat(asked):
    """Percentages that grow with the number of bytes that a picture takes; says Hello to whom asks who it is."""
    parts = asked["messages"][0]["content"]
    if isinstance(parts, str):
        return {"message": {"role": "assistant", "content": "Hello"}}
    assert "Initial robot scene: " in parts[0]["text"] and parts[1]["type"] == "image_url"
    sizes = [len(part["image_url"]["url"]) % 97 for part in parts if part["type"] == "image_url"][1:]
    said = [f"Frame {n}: Frame Description: a peg. Task Completion Percentages:{s}%" for n, s in enumerate(sizes, 1)]
    return {"message": {"role": "assistant", "content": "\n".join(said)}}


def test_gvl_rewards_a_run(tmp_path):
    with BadServer(chat=chat) as server:
        words = [
            "experiment=smoke", "quiet=true", f"run.root={tmp_path}", "env.horizon=20", "collect.demos=2",
            "collect.weak=0", "collect.validation=0", "collect.test=0", "collect.query_every=10", "base.demos=1",
            "train.rollouts=2", "train.warmup_updates=2", "agent.updates_per_step=1", "train.evaluate_every=2",
            "evaluate.episodes=1", "evaluate.videos=0", "reward=gvl", "reward.model=big", f"reward.url={server.url}",
            "reward.attempts=1", "reward.cool_down_s=0",
        ]  # fmt: skip
        summary = train(load_config(words))
        assert summary["rollouts"] == 2 and "waiting_episodes" not in summary
        [kept] = tmp_path.glob("stages/train-reward-*/sibling.json")
        assert re.search(r'"weights": \[\s*"big"\s*\]', kept.read_text())
        [tracks] = tmp_path.glob("stages/annotate-*/annotations.npz")
        values = np.load(tracks)
        phi = np.concatenate([values[name] for name in values.files if name.endswith(".phi")])
        assert len(set(phi.round(3))) > 3 and phi.min() >= 0 and phi.max() <= 1
        server.way = "html"
        with pytest.raises(Unanswered, match="answered nonsense"):
            train(load_config([*words, "reward.seed=1"]))
