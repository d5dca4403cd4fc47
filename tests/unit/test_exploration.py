"""Exploration: noise as large and as correlated as asked for, and steps back from contact."""

import numpy as np
import pytest

from robo_reward.config import AgentConfig
from robo_reward.progress.segmentation import EventSignal
from robo_reward.runtime.exploration import BACK_STEPS, Exploration, contact_signal

CONTACT = EventSignal(2, "contact", threshold=4.0)
PRESS = np.array([0.1, 0.0, -0.4], np.float32)
AIR, TOUCH = np.zeros(3), np.array([0.0, 0.0, 6.0])


def explore(seed=0, noise=0.0, contact=CONTACT, **settings):
    return Exploration(AgentConfig(**settings), noise, np.random.default_rng(seed), contact)


def test_the_noise_has_its_size_and_leans_on_something_for_a_while():
    act = explore(noise=0.1, contact=None, noise_correlation=0.8)
    drift = np.array([act(np.zeros(3), AIR) for _ in range(20_000)])
    assert drift.std() == pytest.approx(0.1, rel=0.05)
    assert np.mean(drift[1:] * drift[:-1]) / drift.var() == pytest.approx(0.8, abs=0.03)


def test_no_noise_and_no_search_change_nothing():
    act = explore(contact=None)
    assert act(PRESS, TOUCH) is PRESS


def test_after_so_many_steps_of_contact_it_goes_back_the_way_it_came_and_then_leaves_the_policy_alone():
    act = explore(search_chance=1.0, search_after=5)
    heights = np.array([act(PRESS, TOUCH)[2] for _ in range(5 + BACK_STEPS[1])])
    assert (heights[:5] == PRESS[2]).all() and heights[5] > 0 and heights[-1] == PRESS[2]
    assert BACK_STEPS[0] <= (heights != PRESS[2]).sum() < BACK_STEPS[1]


def test_a_contact_that_ends_is_not_counted_on():
    act = explore(search_chance=1.0, search_after=5)
    touches = [TOUCH] * 4 + [AIR]
    assert all(act(PRESS, touches[step % 5]) is PRESS for step in range(50))


def test_steps_back_differ_aside_and_stay_actions():
    backs = []
    for seed in range(50):
        act = explore(seed, search_chance=1.0, search_after=1)
        backs.append([act(PRESS, TOUCH) for _ in range(2)][1])
    assert np.std(backs, axis=0)[:2].min() > 0.1 and np.abs(backs).max() <= 1.0


def test_the_chance_is_that_of_every_step():
    begun = [(explore(seed, search_chance=0.25, search_after=1), seed)[0] for seed in range(400)]
    for act in begun:
        act(PRESS, TOUCH)
    assert np.mean([act(PRESS, TOUCH) is not PRESS for act in begun]) == pytest.approx(0.25, abs=0.07)


def test_searching_needs_a_task_that_tells_of_contact():
    gripper = EventSignal(0, "gripper", threshold=0.1)
    assert contact_signal(AgentConfig(search_chance=0.1), (gripper, CONTACT), "World-v0") is CONTACT
    assert contact_signal(AgentConfig(), (), "World-v0") is None
    with pytest.raises(ValueError, match=r"agent\.search_chance=0\.1 needs a signal of contact, and World-v0 has none"):
        contact_signal(AgentConfig(search_chance=0.1), (gripper,), "World-v0")
