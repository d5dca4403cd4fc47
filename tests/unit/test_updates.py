"""How many updates an episode brings, and on what."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")


from robo_reward.config import AgentConfig, Config, TrainConfig  # noqa: E402
from robo_reward.runtime.updates import learn, updates_due  # noqa: E402
from robo_reward.testing.learners import random_batch, small_learner  # noqa: E402

torch.set_num_threads(1)


def test_updates_a_step_go_from_the_first_number_to_the_last():
    config = Config(
        agent=AgentConfig(updates_per_step=8, last_updates_per_step=2),
        train=TrainConfig(rollouts=13, warmup_rollouts=2, warmup_updates=7),
    )
    due = [updates_due(rollout, 10, config) for rollout in range(13)]
    assert due[:2] == [0, 7] and due[12] == 20 and due[6] == 50
    assert all(a > b for a, b in zip(due[2:], due[3:], strict=False))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_anchor_share_of_what_is_online_comes_from_the_warm_up(share):
    class Source:
        transitions = 1

        def __init__(self, name):
            self.name = name

        def sample(self, rows, rng):
            drawn[self.name] += rows
            return random_batch(rows)

        def prioritise(self, *_):
            pass

    drawn = dict.fromkeys(("demonstrations", "warmup", "online"), 0)
    agent = small_learner(anchor_share=share)
    learn(agent, SimpleNamespace(**{name: Source(name) for name in drawn}), 3, agent.settings, np.random.default_rng(0))
    assert drawn == {"demonstrations": 24, "warmup": 24 * share, "online": 24 * (1 - share)}
