"""What the critics are: bins of values, and where they start."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")


from robo_reward.config import AgentConfig, Config, ShapingConfig  # noqa: E402
from robo_reward.learning.bins import BinnedCritic  # noqa: E402
from robo_reward.learning.networks import EnsembleCritic, lower_bound  # noqa: E402
from robo_reward.testing.learners import ACTION as A  # noqa: E402
from robo_reward.testing.learners import STATE as S  # noqa: E402
from robo_reward.testing.learners import random_batch, small_learner  # noqa: E402

torch.set_num_threads(1)


def test_bins_hold_a_target_s_mass_and_give_its_value_back():
    critic = BinnedCritic(2, S + A, 16, norm=True, rough=False, bins=51, limit=1.0)
    target = torch.tensor([-0.8, -0.013, 0.0, 0.5, 0.9])
    mass = critic.spread(target)
    torch.testing.assert_close(mass.sum(1), torch.ones(5))
    torch.testing.assert_close(mass[:4] @ critic.centres, target[:4], atol=1e-3, rtol=0)
    assert critic.spread(torch.tensor([7.0]))[0].argmax() == 50  # cut to the limit


def test_a_critic_of_bins_learns_the_values():
    agent = small_learner("none", learning_rate=3e-3, value_bins=51, value_limit=2.0)
    rewards = np.linspace(-1.5, 1.5, 16, dtype=np.float32)
    batch = random_batch(16, terminated_B=np.ones(16, np.float32), reward_B=rewards)
    for _ in range(300):
        agent.update_critics(agent.windows(batch))
    with torch.no_grad():
        values = agent.critic(torch.from_numpy(batch.state_BS), torch.from_numpy(batch.action_BA))
    torch.testing.assert_close(values, torch.from_numpy(rewards).expand(4, -1), atol=0.2, rtol=0)
    restored = small_learner("none", seed=1, value_bins=51, value_limit=2.0)
    restored.load_state_dict(agent.state_dict())
    with torch.no_grad():
        again = restored.critic(torch.from_numpy(batch.state_BS), torch.from_numpy(batch.action_BA))
    assert torch.equal(again, values)


def test_bins_learn_large_values_with_the_gradients_of_small_ones():
    """A hundred times the value within a hundred times the limit is the same lesson; the squared error's is not."""
    batch, gradients = random_batch(16), {}
    state, action = torch.from_numpy(batch.state_BS), torch.from_numpy(batch.action_BA)
    for size in (1.0, 100.0):
        torch.manual_seed(0)
        critic = BinnedCritic(2, S + A, 16, norm=True, rough=False, bins=51, limit=size)
        critic.fit(state, action, size * torch.linspace(-0.9, 0.9, 16), torch.ones(16))
        gradients[size] = critic.mlp.flat.grad
    assert gradients[1.0].abs().max() > 1e-3
    torch.testing.assert_close(gradients[100.0], gradients[1.0])


@pytest.mark.parametrize("bins", [0, 11])
def test_what_is_written_out_by_hand_is_what_autograd_finds(bins):
    """The gradient that fits the critics, the slope by the state, and the way uphill."""
    torch.manual_seed(0)
    shape = (4, S + A, 16, True, False)
    critic = (BinnedCritic(*shape, bins, 1.0) if bins else EnsembleCritic(*shape)).double()
    torch.nn.init.normal_(critic.mlp.flat, std=0.5)
    state, action, target = (torch.randn(*size, dtype=torch.float64) for size in ((7, S), (7, A), (7,)))
    weight, state = torch.rand(7, dtype=torch.float64), state.requires_grad_()
    y = critic.mlp(torch.cat([state, action], -1))
    if bins:
        wanted_loss = -(critic.spread(target) * torch.log_softmax(y, -1)).sum(-1)
    else:
        wanted_loss = (y.squeeze(-1) - target).square()
    by_state, by_weights = torch.autograd.grad((weight * wanted_loss).mean(1).sum(), [state, critic.mlp.flat])
    q, loss, slope = critic.fit(state, action, target, weight, of_state=True)
    torch.testing.assert_close(loss, wanted_loss)
    torch.testing.assert_close(slope, by_state)
    torch.testing.assert_close(critic.mlp.flat.grad, by_weights)
    with torch.no_grad():
        assert torch.equal(critic(state, action), q)
    action.requires_grad_()
    q = critic(state, action)
    wanted_bound = q.mean(0) - 0.7 * q.std(0)
    bound, slope = critic.uphill(state, action, 0.7)
    torch.testing.assert_close(bound, wanted_bound)
    torch.testing.assert_close(slope, torch.autograd.grad(wanted_bound.sum(), action)[0])


def test_heads_that_agree_exactly_have_a_way_uphill_all_the_same():
    bound, slope = lower_bound(torch.ones(4, 3), pessimism=1.0)
    assert torch.equal(bound, torch.ones(3)) and torch.equal(slope, torch.full((4, 3), 0.25))


@pytest.mark.parametrize("norm", [True, False])
def test_layer_norm_bounds_the_values_of_actions_never_seen(norm):
    """By the last layer's weights (RLPD, arXiv 2302.02948); without it they grow with the action."""
    critic, state = EnsembleCritic(4, S + A, 32, norm), torch.zeros(1, S)
    last = critic.mlp.views(critic.mlp.flat.detach())
    bound = (last.weight_NOH.norm(dim=-1) * 32**0.5 + last.bias_N1O.abs()[..., 0]).squeeze(-1)
    with torch.no_grad():
        beyond = critic(state, torch.full((1, A), 1e4)).abs().squeeze(-1)
    assert bool((beyond <= bound).all()) == norm


@pytest.mark.parametrize("bins", [0, 51])
def test_critics_that_start_at_the_potential_add_nothing_to_it_and_still_learn(bins):
    """Under shaping they learn Q - Phi: 0 everywhere says that the value is the potential."""
    agent, batch = small_learner(value_init="potential", value_bins=bins), random_batch(16)
    inputs = torch.from_numpy(batch.state_BS), torch.from_numpy(batch.action_BA)
    with torch.no_grad():
        torch.testing.assert_close(agent.critic(*inputs), torch.zeros(4, 16), atol=1e-6, rtol=0)
    for _ in range(3):
        agent.update_critics(agent.windows(batch))
    assert agent.critic(*inputs).abs().max() > 1e-3


def test_starting_at_the_potential_without_one_is_refused():
    with pytest.raises(ValueError, match="agent.value_init=potential with shaping=none"):
        Config(agent=AgentConfig(value_init="potential"), shaping=ShapingConfig(kind="none"))
