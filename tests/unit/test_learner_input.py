"""What a learner cannot use is refused in one line, before or as it meets it."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from robo_reward.config import AgentConfig  # noqa: E402
from robo_reward.learning.replay import EpisodeReplay  # noqa: E402
from robo_reward.learning.residual_td3 import ResidualTD3  # noqa: E402
from robo_reward.runtime.demonstrations import check_demonstrations  # noqa: E402
from robo_reward.runtime.updates import learn  # noqa: E402
from robo_reward.shaping import SCHEMES  # noqa: E402
from robo_reward.testing.episodes import make_episode  # noqa: E402
from robo_reward.types import PhiTrack  # noqa: E402

SETTINGS = AgentConfig(n_step=1, heads=2, hidden=8, batch=8)


def episode(reach=1.0, size=2):
    action = np.linspace(-reach, reach, 3 * size).reshape(3, size)
    return make_episode(
        3, "shown", source="expert", action=action.astype(np.float32), base_action=np.zeros((4, size), np.float32),
    )  # fmt: skip


@pytest.mark.parametrize("episodes, expected", [
    ([], "no demonstrations to learn from"),
    ([episode(), episode(size=3)], "actions of 3 numbers, the environment takes 2"),
    ([episode(0.01), episode(0.02)], "reach 0.02, expected more than 0.05"),
    ([episode(), episode(25.0)], "reach 25, expected more than 0.05 and at most 1"),
])  # fmt: skip
def test_demonstrations_that_are_missing_or_in_other_units_are_refused(episodes, expected):
    with pytest.raises(ValueError, match=expected) as caught:
        check_demonstrations(episodes, 2)
    assert "\n" not in str(caught.value)


def test_demonstrations_that_use_their_range_are_taken():
    check_demonstrations([episode(0.01), episode(0.6)], 2)


def learn_from(phi, **changes):
    agent = ResidualTD3(np.zeros(1, np.float32), np.ones(1, np.float32), 2, dataclasses.replace(SETTINGS, **changes),
                        SCHEMES["potential"], 1.0, 0)  # fmt: skip
    replay = EpisodeReplay(100, 1, 2, 1, SETTINGS.gamma)
    replay.append(episode(), np.zeros((4, 1), np.float32), PhiTrack("m", phi, np.ones_like(phi)), demonstration=True)
    memory = SimpleNamespace(demonstrations=replay, warmup=replay, online=replay)
    before = {name: tensor.clone() for name, tensor in agent.state_dict().items() if "critic." in name}
    with pytest.raises(ValueError) as caught:
        learn(agent, memory, 50, agent.settings, np.random.default_rng(0))
    return str(caught.value), all(torch.equal(agent.state_dict()[name], kept) for name, kept in before.items())


def test_a_batch_with_a_value_that_is_not_finite_is_named_and_leaves_the_weights_alone():
    line, unchanged = learn_from(np.float32([0.0, np.nan, 0.5, 1.0]))
    assert line.startswith("phi_BW is not finite in ") and "doctor store=" in line and "\n" not in line
    assert unchanged


def test_a_learner_that_diverges_says_which_rate_to_lower():
    line, _ = learn_from(np.float32([0.0, 0.2, 0.5, 1.0]), learning_rate=1e38)
    assert line.startswith("the learner has diverged: lower agent.learning_rate")
