"""Training beside a simulated operator: corrections are kept, learned from, counted, and resumed exactly."""

from __future__ import annotations

import json
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mujoco")

import robo_reward.envs  # noqa: E402, F401  (registers the environments)
from robo_reward.config import AgentConfig, Config, EnvConfig, HilConfig, RewardConfig, TrainConfig  # noqa: E402
from robo_reward.data.store import TransitionStore  # noqa: E402
from robo_reward.evaluation.rollout import run_policy  # noqa: E402
from robo_reward.learning.networks import mlp  # noqa: E402
from robo_reward.learning.weights import load_weights  # noqa: E402
from robo_reward.policies.cloning import ClonedPolicy  # noqa: E402
from robo_reward.runtime.experience import Experience  # noqa: E402
from robo_reward.runtime.local import new_agent, train_residual  # noqa: E402
from robo_reward.runtime.observing import with_base_actions  # noqa: E402
from robo_reward.settings import build  # noqa: E402
from robo_reward.testing.episodes import oracle  # noqa: E402

HELP = HilConfig(kind="simulated", patience_s=0.1, reaction_s=0.1)
CONFIG = Config(
    quiet=True,
    env=EnvConfig(horizon=16),
    reward=RewardConfig(kind="oracle"),
    agent=AgentConfig(hidden=16, heads=3, batch=8),
    hil=HELP,
    train=TrainConfig(rollouts=4, warmup_rollouts=1, warmup_updates=3, evaluate_every=2, evaluate_episodes=2),
)


@pytest.fixture(scope="module")
def world():
    env = gymnasium.make("robo_reward/PegInsert-v0", horizon=16)
    inputs = sum(env.observation_space[key].shape[0] for key in ("agent_pos", "estimate"))
    torch.manual_seed(0)
    cloned = ClonedPolicy(mlp(inputs, 8, 8 * 4), np.zeros(inputs, np.float32), np.ones(inputs, np.float32), 8, 4)
    return env, cloned, list(run_policy(env, cloned, [1, 2], source="expert"))


@pytest.fixture
def train(world):
    """Run (or continue) a short training in a folder; `interrupt_at` stops it in the middle of that rollout."""

    def run(folder, hil=HELP, interrupt_at=None):
        annotated = 0

        def annotate(episodes):
            nonlocal annotated
            annotated += episodes[0].source == "policy"
            if annotated == interrupt_at:
                raise KeyboardInterrupt
            return oracle(episodes)

        env, base, demonstrations = world
        return train_residual(
            replace(CONFIG, hil=hil), env, base, demonstrations, annotate, None, folder, lambda *args, **numbers: None
        )

    return run


def online(folder):
    store = TransitionStore(folder / "store")
    return [store.read(entry.episode_id) for entry in store.episodes() if entry.actor == "online"]


def assert_same_weights(first, second):
    wanted, found = (load_weights(folder / "agent")[0] for folder in (first, second))
    assert wanted.keys() == found.keys() and all(torch.equal(tensor, found[name]) for name, tensor in wanted.items())


def test_what_the_operator_did_is_stored_and_reported(train, tmp_path):
    summary = train(tmp_path)
    episodes = online(tmp_path)
    driven = sum(int(episode.intervention.sum()) for episode in episodes)
    assert driven > 0 and summary["hil_operator_minutes"] == pytest.approx(driven / 20 / 60)
    compared = 0
    for episode in episodes:
        np.testing.assert_array_equal(episode.human_action.any(axis=1), episode.intervention)
        settled = np.convolve(episode.intervention, [1, 1, 1])[: len(episode)] == 3  # the hand-over is behind it
        driven_there = settled & ~episode.gated
        np.testing.assert_allclose(episode.action[driven_there], episode.human_action[driven_there], atol=1e-6)
        compared += driven_there.sum()
        assert episode.base_action is not None and len(episode.base_action) == len(episode) + 1
    assert compared > 10


@pytest.mark.parametrize("interrupt_at", [2, 4])
def test_an_interrupted_session_continues_to_the_same_numbers_and_weights(train, tmp_path, interrupt_at):
    help_ends = replace(HELP, budget_minutes=16 / 20 / 60)  # spent on the way: it must be remembered
    whole = train(tmp_path / "whole", help_ends)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", help_ends, interrupt_at)
    continued = train(tmp_path / "cut", help_ends)
    assert {**continued, "updates_per_s": 0} == {**whole, "updates_per_s": 0}
    assert continued["hil_operator_minutes"] == pytest.approx(help_ends.budget_minutes)
    assert_same_weights(tmp_path / "whole", tmp_path / "cut")


def test_an_operator_who_never_helps_changes_no_weight(train, tmp_path):
    nobody = train(tmp_path / "nobody", HilConfig())
    idle = train(tmp_path / "idle", replace(HELP, attention=0.0))
    assert not any(key.startswith("hil_") for key in nobody)
    assert idle["hil_operator_minutes"] == 0 and idle["curve"] == nobody["curve"]
    assert all(episode.intervention is None for episode in online(tmp_path / "nobody"))
    assert_same_weights(tmp_path / "nobody", tmp_path / "idle")


@pytest.mark.parametrize("success", [False, True])
def test_corrections_join_the_demonstrations_and_are_imitated_only_where_they_led_to_success(world, tmp_path, success):
    _, base, demonstrations = world
    mask = np.arange(len(demonstrations[0])) % 4 == 1
    known = [with_base_actions(episode, base) for episode in demonstrations]
    corrected = replace(known[0], episode_id="c", source="policy", intervention=mask, success=success,
                        human_action=known[0].action)  # fmt: skip
    with Experience(CONFIG, new_agent(CONFIG, known, base), tmp_path, oracle, None) as experience:
        experience.add_demonstrations(known)
        before = experience.demonstrations.transitions
        experience.add(0, [corrected, replace(corrected, episode_id="d", intervention=np.zeros_like(mask))])
        assert experience.demonstrations.transitions == before + mask.sum()
        assert experience.online.transitions == 2 * len(mask)
        shown = experience.demonstrations.sample(4000, np.random.default_rng(0)).demonstration_B
        share = 1.0 if success else before / (before + mask.sum())
        assert shown.mean() == pytest.approx(share, abs=0.05)


GRADED = replace(HELP, protocol="graded", demonstrations=1, returns=1)


@pytest.mark.parametrize("interrupt_at", [2, 3])
def test_the_graded_protocol_shows_returns_and_guides_and_is_resumed_exactly(train, tmp_path, interrupt_at):
    whole = train(tmp_path / "whole", GRADED)
    episodes = online(tmp_path / "whole")
    assert whole["hil_rollouts_demonstrate"] == 1 and episodes[0].intervention[1:].all()
    assert not episodes[1].intervention.any()  # free: it got stuck
    [place] = sorted((tmp_path / "whole" / "places").glob("*.json"))[:1]
    assert place.name == "00001.json" and whole["hil_rollouts_return"] == 1 and not episodes[2].intervention.any()
    step = json.loads(place.read_text())["step"]
    assert len(episodes[2]) == 16 - step
    np.testing.assert_array_equal(episodes[2].agent_pos[0], episodes[1].agent_pos[step])
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", GRADED, interrupt_at)
    assert {**train(tmp_path / "cut", GRADED), "updates_per_s": 0} == {**whole, "updates_per_s": 0}
    assert_same_weights(tmp_path / "whole", tmp_path / "cut")
    assert (tmp_path / "cut" / "places" / place.name).read_bytes() == place.read_bytes()


def test_one_operator_attends_to_one_arm():
    with pytest.raises(ValueError, match="hil=simulated with env.count=2: an operator attends to one arm, set 1"):
        build(Config, {"hil": {"kind": "simulated"}, "env": {"count": 2}})
