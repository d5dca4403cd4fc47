"""What the replays are given of an episode: how much its steps are worth imitating, and which are the warm-up's."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from robo_reward.config import AgentConfig, Config, RewardConfig, TrainConfig  # noqa: E402
from robo_reward.policies.simple import ZeroPolicy  # noqa: E402
from robo_reward.runtime.experience import Experience  # noqa: E402
from robo_reward.runtime.local import new_agent  # noqa: E402
from robo_reward.runtime.observing import with_base_actions  # noqa: E402
from robo_reward.runtime.tasks import task_of  # noqa: E402
from robo_reward.testing.episodes import make_episode, oracle  # noqa: E402

CONFIG = Config(
    quiet=True, reward=RewardConfig(kind="oracle"), train=TrainConfig(warmup_rollouts=2),
    agent=AgentConfig(hidden=8, heads=2, batch=8, self_imitation=0.5, symmetry=False),
)  # fmt: skip


def episode(name, success):
    rng, wide = np.random.default_rng(0), max(task_of(CONFIG.env).columns or (0,)) + 1
    rows = rng.normal(size=(11, wide)).astype(np.float32)
    made = make_episode(
        10, name, success=success, agent_pos=rows, estimate=rows[:, :0],
        action=np.tanh(rows[:10, :4]), oracle=np.linspace(0, 1, 11, dtype=np.float32),
    )  # fmt: skip
    return with_base_actions(made, ZeroPolicy(4))


@pytest.fixture
def experience(tmp_path):
    shown = [replace(episode("d", True), source="expert")]
    with Experience(CONFIG, new_agent(CONFIG, shown, ZeroPolicy(4)), tmp_path, oracle, None) as made:
        made.add_demonstrations(shown)
        yield made


def worth(replay):
    return set(replay.sample(200, np.random.default_rng(0)).demonstration_B.tolist())


def test_own_successes_are_imitated_by_their_share_and_failures_never(experience):
    sequence = experience.add(0, [episode("won", True)])
    assert worth(experience.demonstrations) == {1.0} and worth(experience.online) == {0.5}
    experience.add(sequence, [episode("lost", False)])
    assert worth(experience.online) == {0.0, 0.5}


def test_the_warm_up_is_kept_apart_and_is_online_experience_too(experience):
    sequence = 0
    for number in range(4):
        sequence = experience.add(sequence, [episode(f"o{number}", False)])
    assert experience.warmup.episodes == 2 and experience.online.episodes == 4
