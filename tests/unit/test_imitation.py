"""The imitation term: cloning, the pull of the prior, what is worth how much."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from robo_reward.testing.learners import random_batch, small_learner  # noqa: E402

torch.set_num_threads(1)


def shown_batch(rows=16, value=0.2, worth=1.0, seed=0):
    """Demonstrated actions: the base's, shifted by `value`."""
    batch = random_batch(rows, seed)
    action = np.clip(batch.base_BR + value, -1, 1).astype(np.float32)
    return dataclasses.replace(batch, action_BA=action, demonstration_B=np.full(rows, worth, np.float32))


def distance(agent, batch):
    """Mean distance of the agent's actions from the batch's."""
    rows = zip(batch.state_BS, batch.base_BR, batch.action_BA, strict=True)
    return np.mean([np.abs(agent.act(state, base) - action).mean() for state, base, action in rows])


def test_cloning_starts_the_residual_from_what_was_shown_and_touches_no_critic():
    agent, batch = small_learner(residual_scale=0.5, actor_learning_rate=1e-2), shown_batch()
    critic = [parameter.clone() for parameter in agent.critic.parameters()]
    agent.clone([agent.windows(batch)] * 200)
    assert distance(agent, batch) < 0.05 < distance(small_learner(), batch)
    assert all(torch.equal(a, b) for a, b in zip(critic, agent.critic.parameters(), strict=True))
    state, base = batch.state_BS[0], batch.base_BR[0]
    np.testing.assert_array_equal(agent.act(state, base), agent.act(state, base, deployed=True))


def test_the_prior_holds_the_actor_to_the_clone_on_its_own_steps():
    own, apart = dataclasses.replace(random_batch(16), demonstration_B=np.zeros(16, np.float32)), {}
    for prior in (0.0, 100.0):
        agent = small_learner(residual_scale=0.5, actor_learning_rate=1e-3, tau=1.0, prior=prior)
        agent.clone([agent.windows(shown_batch())] * 20)
        clone = [agent.act(state, base) for state, base in zip(own.state_BS, own.base_BR, strict=True)]
        for _ in range(50):
            agent.update_actor(agent.windows(own))
        apart[prior] = distance(agent, dataclasses.replace(own, action_BA=np.array(clone)))
    assert apart[100.0] < 0.2 * apart[0.0]


def test_what_is_half_worth_imitating_pulls_half_as_much():
    numbers = {}
    for worth in (1.0, 0.5):
        agent, batch = small_learner(actor_learning_rate=1e-9), shown_batch(worth=worth)
        windows = agent.windows(batch)
        loss, _ = agent._imitation(windows, agent._action(agent.actor, windows.state_BS, windows.base_BA))
        numbers[worth] = float(loss.detach())
    assert numbers[0.5] == pytest.approx(numbers[1.0] / 2)


def test_the_q_filter_imitates_only_what_the_critics_prefer():
    """Critics that like large actions: those shown above the actor's are imitated, those below are not."""

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.zero = nn.Parameter(torch.zeros(()))

        def forward(self, state, action, heads=slice(None)):
            return (action.sum(-1) + self.zero).expand(4, -1)

    for value, imitated in ((0.2, True), (-0.2, False)):
        agent, batch = small_learner(q_filter=True), shown_batch(value=value)
        agent.critic = Sum()
        windows = agent.windows(batch)
        action = agent._action(agent.actor, windows.state_BS, windows.base_BA)
        loss, _ = agent._imitation(windows, action, filtered=True)
        assert (float(loss.detach()) > 0) == imitated
