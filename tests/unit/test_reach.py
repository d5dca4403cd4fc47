"""How far the residual reaches: fixed, growing, learned."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from robo_reward.testing.learners import ACTION as A  # noqa: E402
from robo_reward.testing.learners import STATE as S  # noqa: E402
from robo_reward.testing.learners import ByAutograd, random_batch, small_learner  # noqa: E402

torch.set_num_threads(1)


def residual_of(agent):
    return np.abs(agent.act(np.ones(S, np.float32), np.zeros(A, np.float32))).max()


def saturate(agent):
    """An actor whose residual is 1 everywhere."""
    for actor in (agent.actor, agent.actor_target, agent.actor_average):
        actor.forward = lambda state, base: torch.ones_like(base)


def test_a_growing_reach_starts_at_a_tenth_and_ends_whole():
    agent = small_learner(residual_scale=0.5, reach="growing", reach_updates=10)
    reach = [float(agent.reach().max())]
    for seed in range(12):
        agent.update_actor(agent.windows(random_batch(16, seed)))
        reach.append(float(agent.reach().max()))
    saturate(agent)
    assert reach[0] == pytest.approx(0.05) and residual_of(agent) == pytest.approx(0.5)
    assert reach[:11] == sorted(set(reach[:11])) and reach[10:] == pytest.approx([0.5] * 3)


def test_a_learned_reach_goes_where_the_critics_pull_each_dimension_and_within_twice_the_scale():
    """They like the first dimension large and the second small; the residual itself is as large as it can be."""

    class Taste(ByAutograd):
        def __init__(self):
            super().__init__()
            self.zero = nn.Parameter(torch.zeros(()))

        def forward(self, state, action, heads=slice(None)):
            return (action[..., 0] - action[..., 1] + self.zero).expand(4, -1)

    agent = small_learner(residual_scale=0.2, reach="learned", actor_learning_rate=0.1, imitation=0.0, pessimism=0.0)
    agent.critic = Taste()
    saturate(agent)
    for _ in range(100):
        agent.update_actor(agent.windows(random_batch(16, base_BR=np.zeros((16, A), np.float32))))
    large, small = agent.reach().tolist()
    assert 0.35 < large <= 0.4 and 0 <= small < 0.05


@pytest.mark.parametrize("reach", ["growing", "learned"])
def test_the_reach_is_restored_with_the_agent(reach):
    agent, other = (small_learner(reach=reach, reach_updates=10, actor_learning_rate=0.1) for _ in range(2))
    for seed in range(4):
        agent.update_critics(agent.windows(random_batch(16, seed)))
        agent.update_actor(agent.windows(random_batch(16, seed)))
    assert not torch.equal(agent.reach(), other.reach())
    other.load_state_dict(agent.state_dict())
    assert torch.equal(agent.reach(), other.reach())
