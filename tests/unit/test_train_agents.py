"""Every learner in the training loop: an interrupted run ends with the numbers and weights of one that was not."""

import gymnasium
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mujoco")

import robo_reward.envs  # noqa: E402, F401  (registers the environments)
from robo_reward.config import Config, RewardConfig, ShapingConfig, TrainConfig, load_config  # noqa: E402
from robo_reward.evaluation.rollout import run_policy  # noqa: E402
from robo_reward.learning.weights import load_weights  # noqa: E402
from robo_reward.policies.scripted import ScriptedPeg  # noqa: E402
from robo_reward.policies.simple import ZeroPolicy  # noqa: E402
from robo_reward.runtime.local import train_residual  # noqa: E402
from robo_reward.types import PhiTrack  # noqa: E402

PEERS = ("residual_sac", "residual_ppo", "rlpd", "ibrl", "filtered_cloning")
SMALL = ["agent.hidden=8", "agent.heads=2", "agent.batch=8", "agent.on_policy_rollouts=2", "agent.updates_per_step=2"]


def train(config, folder, interrupt_at=None):
    env, annotated = gymnasium.make("robo_reward/PegInsert-v0", horizon=6), 0
    base = ZeroPolicy(4)
    demonstrations = list(run_policy(env, ScriptedPeg("expert", 0), [1, 2], source="expert"))

    def annotate(episodes):
        nonlocal annotated
        annotated += episodes[0].source == "policy"
        if annotated == interrupt_at:
            raise KeyboardInterrupt
        phi = [np.linspace(0.9, 0.1, len(e) + 1).astype(np.float32) for e in episodes]
        return [PhiTrack("falling", values, values) for values in phi]

    return train_residual(config, env, base, demonstrations, annotate, None, folder, lambda *args, **numbers: None)


@pytest.mark.parametrize("peer", PEERS)
def test_an_interrupted_run_of_every_learner_continues_to_the_same_weights(peer, tmp_path):
    config = Config(
        quiet=True,
        reward=RewardConfig(kind="oracle"),
        shaping=ShapingConfig(kind="ra_bc" if peer == "residual_sac" else "potential"),
        agent=load_config([f"agent={peer}", *SMALL]).agent,
        train=TrainConfig(rollouts=5, warmup_rollouts=1, warmup_updates=3, evaluate_every=4, evaluate_episodes=1),
    )
    assert train(config, tmp_path / "whole")["updates"] > 0
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut", interrupt_at=4)
    train(config, tmp_path / "cut")
    wanted, found = (load_weights(tmp_path / name / "agent")[0] for name in ("whole", "cut"))
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        assert torch.equal(tensor, found[name]), name


def test_ra_bc_imitates_nothing_that_lost_progress_and_changes_nothing_else(tmp_path):
    trained = {}
    for kind in ("none", "ra_bc"):
        for imitation in (0.0, 1.0):
            config = Config(
                quiet=True,
                reward=RewardConfig(kind="oracle"),
                shaping=ShapingConfig(kind=kind),
                agent=load_config([*SMALL, f"agent.imitation={imitation}"]).agent,
                train=TrainConfig(rollouts=2, warmup_rollouts=0, evaluate_every=2, evaluate_episodes=1),
            )
            folder = tmp_path / f"{kind}-{imitation}"
            train(config, folder)
            weights, _ = load_weights(folder / "agent")
            trained[kind, imitation] = torch.cat([weights[n].ravel() for n in weights if n.startswith("actor.")])
    assert not torch.equal(trained["none", 1.0], trained["none", 0.0])
    assert torch.equal(trained["ra_bc", 1.0], trained["none", 0.0])  # the potential falls all along
    assert torch.equal(trained["ra_bc", 0.0], trained["none", 0.0])
