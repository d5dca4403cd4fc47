"""Every learner's defining rule, that each learns, and that each goes on bit for bit after an interrupt."""

import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from robo_reward.config import AgentConfig, load_config  # noqa: E402
from robo_reward.learning.agents import AGENTS  # noqa: E402
from robo_reward.learning.replay import Batch  # noqa: E402
from robo_reward.learning.residual_sac import GaussianActor  # noqa: E402
from robo_reward.learning.weights import load_weights, save_weights  # noqa: E402
from robo_reward.testing.episodes import make_episode as blank_episode  # noqa: E402
from robo_reward.testing.learners import small_learner  # noqa: E402
from robo_reward.types import PhiTrack  # noqa: E402

torch.set_num_threads(1)
S, A, GAMMA = 3, 2, 0.9
SETTINGS = AgentConfig(gamma=GAMMA, n_step=1, heads=2, hidden=16, batch=32)
OFF_POLICY = sorted(set(AGENTS) - {"residual_ppo"})


def learner(kind, seed=0, shaping="none", **changes):
    return small_learner(shaping, seed=seed, settings=SETTINGS, kind=kind, **changes)


def make_batch(rows, seed=0, **changes):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    batch = Batch(
        state_BS=normal(rows, S), base_BR=np.tanh(normal(rows, A)), action_BA=np.tanh(normal(rows, A)),
        reward_B=normal(rows), discount_B=np.full(rows, GAMMA, np.float32), terminated_B=np.zeros(rows, np.float32),
        next_state_BS=normal(rows, S), next_base_BR=np.tanh(normal(rows, A)), phi_BW=np.zeros((rows, 2), np.float32),
        length_B=np.ones(rows, np.int64), demonstration_B=np.zeros(rows, np.float32),
        weight_B=np.ones(rows, np.float32), place_B=np.arange(rows),
    )  # fmt: skip
    return dataclasses.replace(batch, **changes)


def make_episode(steps, *, terminated=True, seed=0):
    rng = np.random.default_rng(seed)
    short = np.zeros(steps, np.float32)
    return blank_episode(
        steps, f"e{seed}", success=terminated, seed=seed, action=rng.uniform(-1, 1, (steps, A)).astype(np.float32),
        reward=np.append(short[1:], np.float32(terminated)), base_action=np.zeros((steps + 1, A), np.float32),
    )  # fmt: skip


class Fixed(torch.nn.Module):
    """Critics that value an action by its first entry times `sign`."""

    def __init__(self, sign):
        super().__init__()
        self.sign = sign

    def forward(self, state, action, heads=None):
        return (self.sign * action[:, 0]).expand(2, -1)


# ---- all of them ----


@pytest.mark.parametrize("peer", ["rlpd", "hil_serl", "resfit", "ibrl", "filtered_cloning", "residual_ppo"])
def test_a_peer_has_none_of_what_our_learner_adds_even_where_that_is_the_default(peer):
    config = load_config([f"agent={peer}"])
    off = {"cloning_updates": 0, "anchor_share": 0, "prior": 0, "priority": 0, "q_filter": False, "reach": "fixed",
           "last_updates_per_step": None, "symmetry": False, "search_chance": 0, "value_bins": 0,
           "value_init": "random"}  # fmt: skip
    assert {name: getattr(config.agent, name) for name in off} == off
    assert (config.agent.self_imitation > 0) == (peer == "filtered_cloning")
    assert config.shaping.kind == "none" and (config.base.kind == "zero") == (peer in ("rlpd", "hil_serl"))


@pytest.mark.parametrize("kind", sorted(AGENTS))
def test_a_fresh_learner_that_is_deployed_is_its_base(kind):
    base = np.array([0.3, -0.7], np.float32)
    agent = learner(kind)
    if kind == "ibrl":  # whose own policy does not stand on the base: it has to be the worse one
        agent.critic_target = Fixed(1.0)
    np.testing.assert_array_equal(agent.act(np.ones(S, np.float32), base, deployed=True), base)


@pytest.mark.parametrize("kind", OFF_POLICY)
def test_a_learner_saved_and_loaded_into_another_continues_bit_for_bit(kind, tmp_path):
    def train(agent, first):
        for seed in range(first, first + 3):
            batch = make_batch(32, seed, demonstration_B=np.ones(32, np.float32))
            agent.update_critics(agent.windows(batch))
            agent.update_actor(agent.windows(batch))

    straight, before, after = learner(kind, 1), learner(kind, 1), learner(kind, 2)
    train(straight, 0)
    train(straight, 3)
    train(before, 0)
    save_weights(tmp_path / "learner", before.state_dict(), {})
    torch.manual_seed(999)  # nothing may hang on the process's own random state
    after.load_state_dict(load_weights(tmp_path / "learner")[0])
    train(after, 3)
    wanted, found = straight.state_dict(), after.state_dict()
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        assert torch.equal(tensor, found[name]), name


@pytest.mark.parametrize("kind", ["residual_td3", "residual_sac", "ibrl"])
def test_an_off_policy_learner_finds_the_better_action(kind):
    """One state, one step, reward -(a - .4)^2, from a base that does nothing."""
    agent = learner(kind, learning_rate=3e-3, actor_learning_rate=3e-3, tau=0.05, average_rate=0.05,
                    residual_scale=1.0, imitation=0.0, pessimism=0.0, temperature=1e-3)  # fmt: skip
    still = np.zeros((64, S), np.float32)
    for seed in range(250):
        tried = np.random.default_rng(seed).uniform(-1, 1, (64, A)).astype(np.float32)
        batch = make_batch(
            64, seed, state_BS=still, next_state_BS=still, base_BR=np.zeros((64, A), np.float32), action_BA=tried,
            reward_B=-np.square(tried - 0.4).sum(1), terminated_B=np.ones(64, np.float32),
        )  # fmt: skip
        agent.update_critics(agent.windows(batch))
        agent.update_actor(agent.windows(batch))
    found = agent.act(np.zeros(S, np.float32), np.zeros(A, np.float32), deployed=True)
    np.testing.assert_allclose(found, 0.4, atol=0.15)


def test_layer_norm_can_be_left_out():
    sizes = []
    for norm in (False, True):
        agent = learner("residual_td3", layer_norm=norm)
        assert agent.update_critics(agent.windows(make_batch(16)))
        sizes.append(sum(tensor.numel() for tensor in agent.critic.state_dict().values()))
    assert sizes[1] - sizes[0] == SETTINGS.heads * 2 * 2 * SETTINGS.hidden  # scale and shift of two layers


# ---- SAC ----


def test_the_density_of_a_draw_is_that_of_a_squashed_gaussian():
    torch.manual_seed(0)
    actor, normal = GaussianActor(S, A, SETTINGS).double(), torch.randn(5, A).double()
    torch.nn.init.normal_(actor.layers[-1].weight)
    state, base = torch.randn(5, S).double(), torch.rand(5, A).double()
    residual, log_density = actor.draw(state, base, normal)
    mean, log_std = actor._gaussian(state, base)
    squashed = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean, log_std.exp()), torch.distributions.TanhTransform(cache_size=1)
    )
    torch.testing.assert_close(log_density, squashed.log_prob(residual).sum(-1))


def test_sac_explores_by_its_own_draws_which_hang_on_the_generator_alone():
    agent, state, base = learner("residual_sac", exploration_noise=0.1), np.ones(S, np.float32), np.zeros(A, np.float32)
    draws = np.array([agent.act(state, base, rng=np.random.default_rng(seed)) for seed in range(300)])
    np.testing.assert_array_equal(draws[0], agent.act(state, base, rng=np.random.default_rng(0)))
    assert draws.std() == pytest.approx(0.1, rel=0.15) and agent.exploration_noise == 0


@pytest.mark.parametrize("target, rises", [(5.0, True), (-5.0, False)])
def test_the_temperature_rises_while_the_policy_is_less_random_than_wanted(target, rises):
    agent = learner("residual_sac", target_entropy=target, imitation=0.0, actor_learning_rate=0.01)
    before = float(agent.actor.log_temperature.detach())
    for seed in range(5):
        agent.update_actor(agent.windows(make_batch(32, seed)))
    assert (float(agent.actor.log_temperature.detach()) > before) == rises


def test_the_target_counts_the_entropy_to_come_unless_told_not_to():
    values = {}
    for backup in (True, False):
        agent = learner("residual_sac", temperature=1.0, entropy_backup=backup)
        values[backup] = agent._next_value(torch.zeros(4, S), torch.zeros(4, A))
    generator = torch.Generator().manual_seed(0)
    normal = torch.empty(4, A).normal_(generator=generator)
    _, log_density = learner("residual_sac", temperature=1.0).actor.draw(torch.zeros(4, S), torch.zeros(4, A), normal)
    torch.testing.assert_close(values[True] - values[False], -log_density)


# ---- IBRL ----


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_ibrl_acts_as_whichever_of_base_and_policy_is_valued_more(sign):
    agent, state = learner("ibrl"), np.ones(S, np.float32)
    agent.critic_target = Fixed(sign)
    learned = np.zeros(A, np.float32)  # what a fresh policy does
    for base in (np.array([0.5, 0.2], np.float32), np.array([-0.5, 0.2], np.float32)):
        better = base if sign * base[0] > 0 else learned
        np.testing.assert_array_equal(agent.act(state, base), better)


def test_ibrl_bootstraps_from_the_more_valued_one_for_each_state_by_itself():
    agent = learner("ibrl", target_noise=0.0)
    agent.critic_target = Fixed(1.0)
    base = torch.tensor([[0.5, 0.0], [-0.5, 0.0]])
    torch.testing.assert_close(agent._next_value(torch.zeros(2, S), base), torch.tensor([0.5, 0.0]))


def test_ibrl_explores_with_its_own_action_and_leaves_the_base_s_alone():
    agent, state, base = learner("ibrl"), np.ones(S, np.float32), np.array([-0.5, 0.2], np.float32)
    agent.critic_target = Fixed(-1.0)  # likes the base
    np.testing.assert_array_equal(agent.act(state, base, rng=np.random.default_rng(0)), base)
    agent.critic_target = Fixed(1.0)
    moved = agent.act(state, base, rng=np.random.default_rng(0))
    assert 0 < np.abs(moved).max() < 0.5


# ---- filtered cloning ----


def test_filtered_cloning_learns_from_what_was_shown_and_from_nothing_else():
    agent = learner("filtered_cloning", residual_scale=2.0, actor_learning_rate=3e-3, average_rate=0.05)
    state, base = np.ones(S, np.float32), np.array([0.5, 0.5], np.float32)
    shape = dict(state_BS=np.tile(state, (32, 1)), base_BR=np.tile(base, (32, 1)),
                 action_BA=np.full((32, A), -0.5, np.float32))  # fmt: skip
    failures = make_batch(32, **shape)
    shown = make_batch(32, **shape, demonstration_B=np.ones(32, np.float32))
    for batch, expected, tolerance in ((failures, base, 0.0), (shown, np.full(A, -0.5), 0.15)):
        for _ in range(150):
            assert agent.update_critics(agent.windows(batch)) == {}
            agent.update_actor(agent.windows(batch))
        np.testing.assert_allclose(agent.act(state, base, deployed=True), expected, atol=tolerance)


# ---- PPO ----


def rollout(episode, phi=None):
    phi = np.zeros(len(episode) + 1, np.float32) if phi is None else phi
    return episode, PhiTrack("model", phi, np.ones_like(phi)), np.zeros((len(episode) + 1, S), np.float32)


def without_values(agent):
    for parameter in agent.critic.parameters():
        torch.nn.init.zeros_(parameter)
    return agent


def test_ppo_s_returns_are_the_discounted_rewards_and_shaping_takes_the_first_potential_off():
    agent = without_values(learner("residual_ppo", gae=1.0))
    *_, advantage, returned = agent._advantages(*rollout(make_episode(3)))
    np.testing.assert_allclose(returned, [GAMMA**2, GAMMA, 1.0], rtol=1e-6)
    torch.testing.assert_close(advantage, returned)
    phi = np.array([0.1, 0.4, 0.6, 0.9], np.float32)
    shaped = without_values(learner("residual_ppo", gae=1.0, shaping="potential"))
    *_, returned_shaped = shaped._advantages(*rollout(make_episode(3), phi))
    np.testing.assert_allclose(returned_shaped, returned.numpy() - phi[:3], rtol=1e-5)


@pytest.mark.parametrize("terminated", [True, False])
def test_ppo_bootstraps_a_time_out_and_not_the_end_of_the_task(terminated):
    agent = learner("residual_ppo", gae=1.0)
    agent.critic = Fixed(1.0)
    episode = dataclasses.replace(
        make_episode(2, terminated=terminated), base_action=np.float32([[0.0, 0], [0.0, 0], [0.5, 0]])
    )
    *_, returned = agent._advantages(*rollout(episode))
    assert float(returned[-1]) == pytest.approx(1.0 if terminated else GAMMA * 0.5)


def test_ppo_moves_to_the_actions_that_paid_and_not_far_in_one_update():
    agent = learner("residual_ppo", residual_scale=1.0, exploration_noise=0.2, epochs=20, actor_learning_rate=0.01,
                    learning_rate=0.01)  # fmt: skip
    state, base = np.zeros(S, np.float32), np.zeros(A, np.float32)
    moved = []
    for update in range(15):
        rollouts = []
        for number in range(32):
            rng = np.random.default_rng([update, number])
            action = agent.act(state, base, rng=rng)[None]
            reward = np.float32([-np.square(action - 0.4).sum()])
            rollouts.append(rollout(dataclasses.replace(make_episode(1), action=action, reward=reward)))
        steps, numbers = agent.learn_from(rollouts)
        moved.append(agent.act(state, base, deployed=True))
    assert steps == 20 and numbers["clipped_share"] > 0
    assert np.abs(moved[0]).max() < 0.2
    np.testing.assert_allclose(moved[-1], 0.4, atol=0.15)
    assert all(math.isfinite(value) for value in numbers.values())
