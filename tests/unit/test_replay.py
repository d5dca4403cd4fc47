"""The ring of episodes: the oldest leave whole, windows stay inside their episode, sampling follows the priorities."""

import numpy as np
import pytest

from robo_reward.learning.replay import EpisodeReplay
from robo_reward.learning.sum_tree import SumTree
from robo_reward.testing.episodes import make_episode as blank_episode
from robo_reward.types import PhiTrack

GAMMA, N_STEP = 0.9, 3


def make_episode(number, steps):
    """Every observation says which episode and step it is."""
    codes = np.stack([np.full(steps + 1, number), np.arange(steps + 1)], axis=1).astype(np.float32)
    zeros = np.zeros((steps + 1, 1), np.float32)
    return blank_episode(
        steps, f"e{number}", instruction="go", seed=number, agent_pos=codes, reward=np.arange(steps, dtype=np.float32),
        oracle=zeros[:, 0], base_action=zeros, base_phase=codes / 100,
    )  # fmt: skip


def track(episode, model="m", value=0.5):
    phi = np.full(len(episode) + 1, value, np.float32)
    return PhiTrack(model, phi, np.ones_like(phi))


def fill(capacity, lengths, **settings):
    replay = EpisodeReplay(capacity, 2, 1, N_STEP, GAMMA, phase_size=2, **settings)
    for number, steps in enumerate(lengths):
        episode = make_episode(number, steps)
        replay.append(episode, episode.agent_pos, track(episode), demonstration=number % 2 == 0)
    return replay


def held(replay, draws=4000):
    """(episode, step) of every first step that sampling ever gives, after checking each window."""
    batch = replay.sample(draws, np.random.default_rng(0))
    first, last = batch.state_BS.astype(int), batch.next_state_BS.astype(int)
    np.testing.assert_array_equal(first[:, 0], last[:, 0])  # never into a foreign episode
    np.testing.assert_array_equal(last[:, 1] - first[:, 1], batch.length_B)
    np.testing.assert_array_equal(batch.base_BR[:, 1:], batch.state_BS / np.float32(100))  # the phase goes along
    np.testing.assert_array_equal(batch.next_base_BR[:, 1:], batch.next_state_BS / np.float32(100))
    sums = [sum(GAMMA**i * (t + i) for i in range(m)) for t, m in zip(first[:, 1], batch.length_B, strict=True)]
    np.testing.assert_allclose(batch.reward_B, sums, rtol=1e-5)
    np.testing.assert_array_equal(batch.demonstration_B, first[:, 0] % 2 == 0)
    return {(int(a), int(b)) for a, b in first}


def steps_of(numbers, lengths):
    return {(number, step) for number in numbers for step in range(lengths[number])}


@pytest.mark.parametrize("priority", [0.0, 0.6])
def test_a_full_ring_drops_whole_episodes_oldest_first(priority):
    lengths = [5, 1, 9, 4, 7, 3, 6, 2, 8, 5, 5, 4, 1, 1, 9]
    for count in range(1, len(lengths) + 1):
        replay = fill(24, lengths[:count], priority=priority)
        found = held(replay)
        kept = sorted({number for number, _ in found})
        assert kept == list(range(count - len(kept), count)), "the newest are there, without a hole"
        assert found == steps_of(kept, lengths) and replay.episodes == len(kept)
        assert replay.transitions == len(found)
        used = sum(lengths[number] + 1 for number in kept)
        assert used <= 24
        if kept[0] > 0:  # nothing was dropped without need: with the next older one it would not have fitted
            assert used + lengths[kept[0] - 1] + 1 > 24 - max(lengths)


def test_an_episode_larger_than_the_ring_is_refused():
    with pytest.raises(ValueError, match="an episode of 30 steps exceeds agent.replay_capacity=24"):
        fill(24, [30])


def test_windows_begin_where_they_may_and_end_at_their_own_next_observation():
    replay = EpisodeReplay(40, 2, 1, N_STEP, GAMMA, phase_size=2)
    corrections = [np.isin(np.arange(9), at) for at in ([2, 3, 8], [0], [], [4, 5])] * 3
    for number, begin in enumerate(corrections):
        episode = make_episode(2 * number, 9)
        replay.append(episode, episode.agent_pos, track(episode), demonstration=True, begin_T=begin)
    kept = range(len(corrections) - replay.episodes, len(corrections))
    wanted = {(2 * number, int(step)) for number in kept for step in np.flatnonzero(corrections[number])}
    assert held(replay) == wanted and replay.transitions == len(wanted)


def test_uniform_sampling_is_uniform_after_many_laps():
    replay = fill(60, [7, 5, 9, 3] * 20)
    batch = replay.sample(60_000, np.random.default_rng(0))
    _, counts = np.unique(batch.state_BS, axis=0, return_counts=True)
    expected = 60_000 / replay.transitions
    assert len(counts) == replay.transitions and np.abs(counts / expected - 1).max() < 0.2


def test_prioritised_sampling_follows_the_errors_and_corrects_for_it():
    replay = fill(1000, [50], priority=1.0)
    rng = np.random.default_rng(0)
    errors = np.linspace(1, 5, 50)
    everything = replay.sample(5000, rng)
    steps = everything.state_BS[:, 1].astype(int)
    replay.prioritise(everything.place_B, errors[steps])
    batch = replay.sample(100_000, rng, beta=1.0)
    steps = batch.state_BS[:, 1].astype(int)
    share = np.bincount(steps, minlength=50) / len(steps)
    np.testing.assert_allclose(share, errors / errors.sum(), rtol=0.15)
    # With beta 1 the weights undo the preference exactly.
    weighted = np.bincount(steps, weights=batch.weight_B, minlength=50)
    np.testing.assert_allclose(weighted / weighted.sum(), 1 / 50, rtol=0.15)
    uniform = fill(1000, [50])
    uniform.prioritise(np.array([3]), np.array([100.0]))  # harmless
    assert set(uniform.sample(64, rng).weight_B) == {1.0}


def test_a_swap_replaces_every_potential_or_none():
    replay, lengths = fill(100, [5, 9, 3]), [5, 9, 3]
    episodes = [make_episode(number, steps) for number, steps in enumerate(lengths)]
    new = {episode.episode_id: track(episode, "new", 0.9) for episode in episodes}
    for broken in (
        {name: t for name, t in new.items() if name != "e1"},
        new | {"e1": track(episodes[1], "other", 0.9)},
        new | {"e1": track(episodes[2], "new", 0.9)},
    ):
        with pytest.raises(ValueError, match="episode e1 is not annotated by new"):
            replay.swap_tracks("new", broken)
        assert replay.model_id == "m" and set(replay.sample(500, np.random.default_rng(0)).phi_BW.flat) == {0.5}
    replay.swap_tracks("new", new)
    assert set(replay.sample(500, np.random.default_rng(0)).phi_BW.flat) == {np.float32(0.9)}
    late = make_episode(7, 4)
    with pytest.raises(ValueError, match="annotated by m, this replay by new"):
        replay.append(late, late.agent_pos, track(late), demonstration=False)


@pytest.mark.parametrize("size", [1, 2, 5, 8, 1000])
def test_the_sum_tree_samples_in_proportion_and_never_a_zero(size):
    rng = np.random.default_rng(size)
    tree, weights = SumTree(size), np.zeros(size)
    with pytest.raises(ValueError, match="every weight is zero"):
        tree.sample(4, rng)
    for _ in range(20):
        places = rng.integers(size, size=min(size, 7))
        places = np.unique(places)
        values = rng.choice([0.0, 0.5, 2.0], len(places))
        weights[places] = values
        tree.set(places, values)
    weights[0] = 1.0
    tree.set(np.array([0]), np.array([1.0]))
    assert tree.total == pytest.approx(weights.sum())
    places, chances = tree.sample(20_000, rng)
    np.testing.assert_allclose(chances, weights[places] / weights.sum())
    assert (weights[places] > 0).all()
    if size <= 8:
        np.testing.assert_allclose(np.bincount(places, minlength=size) / 20_000, weights / weights.sum(), atol=0.01)
