"""A training run that was interrupted goes on and ends with the numbers of one that was not; nothing is lost."""

import os
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mujoco")

import robo_reward.envs  # noqa: E402, F401  (registers the environments)
from robo_reward.config import AgentConfig, Config, RewardConfig, TrainConfig  # noqa: E402
from robo_reward.data.store import TransitionStore  # noqa: E402
from robo_reward.evaluation.rollout import run_policy  # noqa: E402
from robo_reward.learning.networks import mlp  # noqa: E402
from robo_reward.learning.weights import load_weights, save_weights  # noqa: E402
from robo_reward.policies.cloning import ClonedPolicy  # noqa: E402
from robo_reward.policies.scripted import ScriptedPeg  # noqa: E402
from robo_reward.runtime.local import train_residual  # noqa: E402
from robo_reward.testing.episodes import oracle  # noqa: E402

CONFIG = Config(
    quiet=True,
    reward=RewardConfig(kind="oracle"),
    agent=AgentConfig(hidden=16, heads=3, batch=8),
    train=TrainConfig(rollouts=5, warmup_rollouts=1, warmup_updates=3, evaluate_every=2, evaluate_episodes=2),
)


@pytest.fixture(params=["cloned", "scripted"])
def train(request):
    """Run (or continue) a short training in a folder; `interrupt_at` stops it in the middle of that rollout.

    Every call has a base of its own, as every process has; the scripted one draws another style for every episode.
    """
    env = gymnasium.make("robo_reward/PegInsert-v0", horizon=8)
    inputs = sum(env.observation_space[key].shape[0] for key in ("agent_pos", "estimate"))
    torch.manual_seed(0)
    cloned = ClonedPolicy(mlp(inputs, 8, 8 * 4), np.zeros(inputs, np.float32), np.ones(inputs, np.float32), 8, 4)
    demonstrations = list(run_policy(env, cloned, [1, 2], source="expert"))

    def run(folder, interrupt_at=None, wrap=lambda env: env, **agent):
        annotated = 0

        def annotate(episodes):
            nonlocal annotated
            annotated += episodes[0].source == "policy"
            if interrupt_at is not None and annotated == interrupt_at:
                raise KeyboardInterrupt
            return oracle(episodes)

        base = cloned if request.param == "cloned" else ScriptedPeg("weak", 0)
        world, config = wrap(env), replace(CONFIG, agent=replace(CONFIG.agent, **agent))
        return train_residual(config, world, base, demonstrations, annotate, None, folder, lambda *_, **numbers: None)

    return run


@pytest.mark.parametrize(
    ("interrupt_at", "agent"),
    [(1, {}), (4, {}), (4, {"priority": 0.6}), (4, {"priority": 0.6, "replay_capacity": 30})],
)
def test_an_interrupted_run_continues_to_the_same_numbers_and_weights(train, tmp_path, interrupt_at, agent):
    whole = train(tmp_path / "whole", **agent)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", interrupt_at, **agent)
    continued = train(tmp_path / "cut", **agent)
    for key in ("rollouts", "env_steps", "updates", "curve"):
        assert continued[key] == whole[key], key
    wanted, found = (load_weights(tmp_path / name / "agent")[0] for name in ("whole", "cut"))
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        assert torch.equal(tensor, found[name]), name


class Unrepeatable(gymnasium.Wrapper):
    """Like a robot: the same seed begins the same episode and ends it at another time."""

    runs = 0

    def reset(self, **options):
        type(self).runs += 1
        self.left = 2 + self.runs % 5
        return self.env.reset(**options)

    def step(self, action):
        self.left -= 1
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated or self.left <= 0, info


@pytest.mark.parametrize("interrupt_at", [1, 2, 4])
def test_a_stored_rollout_that_cannot_be_repeated_is_not_run_again(train, tmp_path, interrupt_at):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, interrupt_at, Unrepeatable)
    continued = train(tmp_path, None, Unrepeatable)
    store = TransitionStore(tmp_path / "store")
    online = [entry for entry in store.episodes() if entry.actor == "online"]
    assert len(online) == CONFIG.train.rollouts and not store.index.abandoned and not store.index.broken
    assert sum(len(store.read(entry.episode_id)) for entry in online) == continued["env_steps"]


def test_a_finished_run_called_again_does_nothing_and_says_the_same(train, tmp_path):
    first = train(tmp_path)
    segments = [path.read_bytes() for path in sorted((tmp_path / "store").glob("*.log"))]
    stored = [entry.actor for entry in TransitionStore(tmp_path / "store").episodes()]
    assert stored.count("online") == CONFIG.train.rollouts  # every rollout is kept
    again = train(tmp_path)
    assert {key: again[key] for key in ("rollouts", "env_steps", "curve")} == {
        key: first[key] for key in ("rollouts", "env_steps", "curve")
    }
    assert [path.read_bytes() for path in sorted((tmp_path / "store").glob("*.log"))] == segments


@pytest.mark.parametrize("survived", [0, 1])
def test_a_crash_while_a_checkpoint_is_written_leaves_a_readable_one(tmp_path, monkeypatch, survived):
    """Power fails after `survived` of the files were put in place: the old or the new checkpoint must load."""
    old, new = ({"w": torch.full((2,), value)} for value in (1.0, 2.0))
    save_weights(tmp_path / "checkpoint", old, {"rollouts": 1})
    replaced, replace = 0, os.replace

    def failing(source, target):
        nonlocal replaced
        if replaced == survived:
            raise OSError("power failure")
        replaced += 1
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    try:
        save_weights(tmp_path / "checkpoint", new, {"rollouts": 2})
    except OSError:
        pass
    monkeypatch.undo()
    weights, header = load_weights(tmp_path / "checkpoint")
    assert weights["w"][0] == header["rollouts"]
