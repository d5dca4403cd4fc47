"""How many updates an episode brings, and on what."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")


from robo_reward.config import AgentConfig, Config, TrainConfig  # noqa: E402
from robo_reward.runtime.updates import Progress, learn, learn_from, updates_due  # noqa: E402
from robo_reward.testing.episodes import make_episode  # noqa: E402
from robo_reward.testing.learners import ACTION, SETTINGS, STATE, random_batch, small_learner  # noqa: E402
from robo_reward.types import PhiTrack  # noqa: E402

torch.set_num_threads(1)


def test_updates_a_step_go_from_the_first_number_to_the_last():
    config = Config(
        agent=AgentConfig(updates_per_step=8, last_updates_per_step=2),
        train=TrainConfig(rollouts=13, warmup_rollouts=2, warmup_updates=7),
    )
    due = [updates_due(rollout, 10, config) for rollout in range(13)]
    assert due[:2] == [0, 7] and due[12] == 20 and due[6] == 50
    assert all(a > b for a, b in zip(due[2:], due[3:], strict=False))


class Source:
    """A replay that counts in `drawn` what is drawn from it."""

    transitions = 1

    def __init__(self, name, drawn):
        self.name, self.drawn = name, drawn

    def sample(self, rows, rng):
        self.drawn[self.name] += rows
        return random_batch(rows)

    def prioritise(self, *_):
        pass


def test_the_critics_learn_what_the_base_is_worth_before_the_actor_moves():
    config = Config(agent=SETTINGS, train=TrainConfig(rollouts=9, warmup_rollouts=3, warmup_updates=7))
    drawn = dict.fromkeys(("demonstrations", "warmup", "online"), 0)
    memory = SimpleNamespace(agent=small_learner(), **{name: Source(name, drawn) for name in drawn})
    counters, rng, seen = Progress(), np.random.default_rng(0), []
    for rollout in range(4):
        before = [getattr(memory.agent, name).mlp.flat.detach().clone() for name in ("actor", "critic")]
        learn_from(rollout, make_episode(5), config, memory, counters, rng)
        now = memory.agent.actor.mlp.flat, memory.agent.critic.mlp.flat
        seen.append((counters.updates, *(not torch.equal(a, b) for a, b in zip(before, now, strict=True))))
    assert seen == [(0, False, False), (0, False, False), (7, False, True), (7 + 5 * 4, True, True)]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_anchor_share_of_what_is_online_comes_from_the_warm_up(share):
    drawn = dict.fromkeys(("demonstrations", "warmup", "online"), 0)
    agent = small_learner(anchor_share=share)
    memory = SimpleNamespace(**{name: Source(name, drawn) for name in drawn})
    learn(agent, memory, 3, agent.settings, np.random.default_rng(0))
    assert drawn == {"demonstrations": 24, "warmup": 24 * share, "online": 24 * (1 - share)}


@pytest.mark.parametrize("priority,draws", [(0.0, [16, 4]), (0.6, [1] * 20)])
def test_windows_of_many_updates_are_drawn_together_and_each_update_has_its_own(priority, draws):
    """Its share of each replay, and none that another has; by priority it waits for the errors of the one before."""
    sizes, seen, number = [], [], iter(range(10_000))

    class Numbered:
        transitions = 1

        def __init__(self, shown):
            self.shown = shown

        def sample(self, rows, rng):
            sizes.append(rows)
            numbers = np.array([next(number) for _ in range(rows)], np.float32)
            return random_batch(rows, weight_B=numbers, demonstration_B=np.full(rows, self.shown, np.float32))

        def prioritise(self, place_B, error_B):
            assert len(place_B) == len(error_B) == 8

    agent = small_learner(priority=priority)
    agent.update_critics = lambda windows: seen.append(windows) or {}
    agent.update_actor = lambda windows: {}
    agent._error_NB = torch.zeros(1, 16)
    memory = SimpleNamespace(demonstrations=Numbered(1.0), warmup=Numbered(0.0), online=Numbered(0.0))
    learn(agent, memory, 20, agent.settings, np.random.default_rng(0))
    assert sizes == [8 * updates for updates in draws for _ in range(2)]
    assert all(windows.demonstration_B.tolist() == [1.0] * 8 + [0.0] * 8 for windows in seen) and len(seen) == 20
    assert len({int(value) for windows in seen for value in windows.weight_B}) == 20 * 16


def test_a_ppo_that_diverges_is_told_with_what_to_change():
    config = Config(agent=replace(SETTINGS, kind="residual_ppo", on_policy_rollouts=1))
    shape = {"action": np.zeros((5, ACTION), np.float32), "base_action": np.zeros((6, ACTION), np.float32)}
    episode = make_episode(5, reward=np.full(5, 1e30, np.float32), **shape)
    track = PhiTrack("m", np.zeros(6, np.float32), np.ones(6, np.float32))
    agent = small_learner(settings=config.agent)
    memory = SimpleNamespace(agent=agent, recent=[(episode, track, np.zeros((6, STATE), np.float32))])
    with pytest.raises(ValueError, match=r"the learner has diverged: lower agent\.learning_rate"):
        learn_from(0, episode, config, memory, Progress(), np.random.default_rng(0))
