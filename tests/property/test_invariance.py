"""Policy invariance, proved on random tabular tasks with the project's own shaping functions.

Two settings. `solve` runs value iteration on a whole MDP. `fixed_point` is what a tabular critic converges to on a
fixed replay of episodes (n-step windows, time-outs included), so that what is done per transition in replay can be
judged. Every claim has a control that breaks it.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_reward.shaping import SCHEMES, gated, naive, none, potential
from robo_reward.testing.episodes import make_episode
from robo_reward.types import PhiTrack

STATES, ACTIONS, GAMMA = 6, 3, 0.9
GOAL = STATES - 1  # the terminal state; every other state goes on
seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Task:
    """A random MDP: transition_SAS probabilities, reward_SAS, and one terminal state."""

    transition_SAS: np.ndarray
    reward_SAS: np.ndarray

    @classmethod
    def random(cls, rng, sparse=False):
        """Any reward at all, or (`sparse`) a robot's: 1 on reaching the goal and 0 before."""
        transition = rng.dirichlet(np.full(STATES, 0.3), size=(STATES, ACTIONS))
        success = np.broadcast_to(np.arange(STATES) == GOAL, transition.shape) * 1.0
        return cls(transition, success if sparse else rng.normal(size=transition.shape))


def solve(task, shaping, phi_S, mask_terminal=True):
    """Q* of the shaped task, by value iteration over every (state, action, next state)."""
    s, _, following = np.indices(task.reward_SAS.shape)
    terminated = following.ravel() == GOAL
    shaped_SAS = shaping(
        task.reward_SAS.ravel(),
        np.stack([phi_S[s.ravel()], phi_S[following.ravel()]], axis=1),
        np.ones(s.size, int),
        terminated & mask_terminal,
        gamma=GAMMA,
    ).reshape(s.shape)
    q_SA = np.zeros((STATES, ACTIONS))
    while True:
        value_S = np.where(np.arange(STATES) == GOAL, 0.0, q_SA.max(axis=1))
        before, q_SA = q_SA, (task.transition_SAS * (shaped_SAS + GAMMA * value_S)).sum(axis=2)
        if np.abs(q_SA - before).max() < 1e-13:
            return q_SA[:GOAL]


def difference(task, shaping, phi_S, **options):
    """(Q* - Q*_shaped) - Phi for every live state and action: zero exactly when the shaping is invariant."""
    return solve(task, none, phi_S) - solve(task, shaping, phi_S, **options) - phi_S[:GOAL, None]


@settings(deadline=None, max_examples=50)
@given(seeds)
def test_the_shaped_optimum_is_the_optimum_minus_the_potential(seed):
    rng = np.random.default_rng(seed)
    task, phi_S = Task.random(rng), rng.random(STATES)  # the terminal state's own potential is not 0 either
    np.testing.assert_allclose(difference(task, potential, phi_S), 0.0, atol=1e-10)


@settings(deadline=None, max_examples=50)
@given(seeds)
def test_control_a_terminal_state_that_keeps_its_potential_breaks_it(seed):
    rng = np.random.default_rng(seed)
    task, phi_S = Task.random(rng), rng.random(STATES)
    phi_S[GOAL] = 1.0
    assert np.abs(difference(task, potential, phi_S, mask_terminal=False)).max() > 1e-3


INVARIANT, REWARD_UNTOUCHED = {"potential"}, {"none", "ra_bc"}
CHANGING = {"naive", "absolute", "par", "contrast"}
GATED = {"gated"}  # depends on whole episodes: judged on replays, below


def test_every_scheme_is_judged_here():
    assert set(SCHEMES) == INVARIANT | REWARD_UNTOUCHED | CHANGING | GATED


@pytest.mark.parametrize("name", sorted(REWARD_UNTOUCHED))
def test_a_scheme_that_leaves_the_reward_alone_leaves_every_value_alone(name):
    rng = np.random.default_rng(0)
    task, phi_S = Task.random(rng), rng.random(STATES)
    np.testing.assert_array_equal(solve(task, SCHEMES[name], phi_S), solve(task, none, phi_S))


@pytest.mark.parametrize("name", sorted(CHANGING | INVARIANT))
def test_which_schemes_change_the_best_action(name):
    """In a random sparse task with a random potential; a tie broken the other way is no change."""
    changed, tasks = 0, 60
    for seed in range(tasks):
        rng = np.random.default_rng(seed)
        task, phi_S = Task.random(rng, sparse=True), rng.random(STATES)
        plain, shaped = solve(task, none, phi_S), solve(task, SCHEMES[name], phi_S)
        regret_S = plain.max(axis=1) - plain[np.arange(GOAL), shaped.argmax(axis=1)]
        changed += regret_S.max() > 1e-6
    assert changed == 0 if name in INVARIANT else changed > tasks / 5


def test_a_scaled_potential_is_still_a_potential():
    rng = np.random.default_rng(0)
    task, phi_S = Task.random(rng), rng.random(STATES)
    scaled = solve(task, lambda *window, gamma: potential(*window, gamma=gamma, scale=7.0), phi_S)
    np.testing.assert_allclose(
        solve(task, none, phi_S) - scaled, 7.0 * np.broadcast_to(phi_S[:GOAL, None], scaled.shape)
    )


# ---- a replay of episodes, n-step windows ----


@dataclass(frozen=True)
class Replay:
    """B windows of at most n steps, none crossing the end of an episode."""

    state_BW: np.ndarray
    action_B: np.ndarray
    reward_BN: np.ndarray
    length_B: np.ndarray
    terminated_B: np.ndarray
    truncated_B: np.ndarray
    episode_B: np.ndarray

    def task_return(self):
        """Discounted task return of every window: the unshaped n-step reward."""
        return (self.reward_BN * GAMMA ** np.arange(self.reward_BN.shape[1])).sum(axis=1)


def play(task, rng, n, episodes=250, horizon=8):
    """Episodes of a random policy, ended by the goal or by a time-out, cut into windows."""
    rows = []
    cumulative = task.transition_SAS.cumsum(axis=2)
    for episode in range(episodes):
        states, actions, rewards = [int(rng.integers(GOAL))], [], []
        while len(actions) < horizon and states[-1] != GOAL:
            actions.append(int(rng.integers(ACTIONS)))
            draw = cumulative[states[-1], actions[-1]].searchsorted(rng.random())
            states.append(min(int(draw), GOAL))
            rewards.append(task.reward_SAS[states[-2], actions[-1], states[-1]])
        for t in range(len(actions)):
            m = min(n, len(actions) - t)
            at_end = t + m == len(actions)
            rows.append(
                (
                    states[t : t + m + 1] + [0] * (n - m),
                    actions[t],
                    rewards[t : t + m] + [0.0] * (n - m),
                    m,
                    at_end and states[-1] == GOAL,
                    at_end and states[-1] != GOAL,
                    episode,
                )
            )
    replay = Replay(*(np.array(column) for column in zip(*rows, strict=True)))
    pairs = set(zip(replay.state_BW[:, 0].tolist(), replay.action_B.tolist(), strict=True))
    return replay if len(pairs) == GOAL * ACTIONS else play(task, rng, n, 2 * episodes, horizon)


def windows(replay, phi_BW):
    return replay.task_return(), phi_BW, replay.length_B, replay.terminated_B


def fixed_point(replay, shaped_B):
    """The Q a tabular n-step critic converges to: the mean target of every visited (state, action)."""
    cell_B = replay.state_BW[:, 0] * ACTIONS + replay.action_B
    end_B = replay.state_BW[np.arange(len(cell_B)), replay.length_B]
    discount_B = GAMMA**replay.length_B * ~replay.terminated_B
    count = np.bincount(cell_B, minlength=GOAL * ACTIONS)
    q_SA = np.zeros((STATES, ACTIONS))
    while True:
        target_B = shaped_B + discount_B * q_SA[end_B].max(axis=1)
        before = q_SA[:GOAL].copy()
        q_SA[:GOAL] = (np.bincount(cell_B, target_B, GOAL * ACTIONS) / count).reshape(GOAL, ACTIONS)
        if np.abs(q_SA[:GOAL] - before).max() < 1e-13:
            return q_SA[:GOAL]


@pytest.mark.parametrize("n", [1, 3, 5])
def test_the_n_step_critic_moves_by_the_potential_and_nothing_else(n):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        replay, phi_S = play(Task.random(rng), rng, n), rng.random(STATES)
        assert replay.terminated_B.any() and replay.truncated_B.any() and len(np.unique(replay.length_B)) == n
        window = windows(replay, phi_S[replay.state_BW])
        gap = fixed_point(replay, none(*window, gamma=GAMMA)) - fixed_point(replay, potential(*window, gamma=GAMMA))
        np.testing.assert_allclose(gap - phi_S[:GOAL, None], 0.0, atol=1e-10)


def test_control_masking_the_potential_at_a_time_out_breaks_it():
    rng = np.random.default_rng(0)
    replay, phi_S = play(Task.random(rng), rng, 3), rng.random(STATES)
    reward_B, phi_BW, length_B, terminated_B = windows(replay, phi_S[replay.state_BW])
    wrong_B = potential(reward_B, phi_BW, length_B, terminated_B | replay.truncated_B, gamma=GAMMA)
    gap = fixed_point(replay, reward_B) - fixed_point(replay, wrong_B)
    assert np.abs(gap - phi_S[:GOAL, None]).max() > 1e-2


@settings(deadline=None, max_examples=50)
@given(seeds, st.integers(1, 6))
def test_the_two_telescoped_terms_are_the_sum_of_the_single_steps(seed, n):
    rng = np.random.default_rng(seed)
    m, terminated = int(rng.integers(1, n + 1)), bool(rng.integers(2))
    reward_N, phi_W = rng.normal(size=m), rng.random(n + 1)  # columns after m are foreign and must not be read
    single = 0.0
    for i in range(m):
        ends = np.array([terminated and i == m - 1])
        step = potential(reward_N[i : i + 1], phi_W[None, i : i + 2], np.array([1]), ends, gamma=GAMMA)
        single += GAMMA**i * step[0]
    task = np.array([(reward_N * GAMMA ** np.arange(m)).sum()])
    telescoped = potential(task, phi_W[None], np.array([m]), np.array([terminated]), gamma=GAMMA)
    assert telescoped[0] == pytest.approx(single, abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(seeds, st.integers(1, 5), st.integers(1, 8))
def test_a_held_potential_still_pays_a_whole_episode_its_task_return_minus_the_first_potential(seed, n, held):
    """The tracker is asked every few steps and held between, and follows the episode's history, not its state."""
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(1, 40))
    phi = np.repeat(rng.random(steps // held + 1), held)[: steps + 1]
    phi = np.append(phi, np.full(steps + 1 - len(phi), phi[-1]))
    reward = rng.normal(size=steps)
    total = 0.0
    for t in range(0, steps, n):
        m = min(n, steps - t)
        task = np.array([(reward[t : t + m] * GAMMA ** np.arange(m)).sum()])
        shaped = potential(task, phi[None, t : t + m + 1], np.array([m]), np.array([t + m == steps]), gamma=GAMMA)
        total += GAMMA**t * shaped[0]
    assert total == pytest.approx((reward * GAMMA ** np.arange(steps)).sum() - phi[0], abs=1e-10)


# ---- one reward model per batch ----


def share_of_changed_optima(shape, tasks=60):
    """Share of random tasks in which some state's best action under the replay differs from the unshaped one.

    `shape(replay, rng) -> shaped_B`. One fixed replay per task, so that only the shaping differs.
    """
    changed = 0
    for seed in range(tasks):
        rng = np.random.default_rng(seed)
        replay = play(Task.random(rng, sparse=True), rng, n=1, episodes=120)
        plain = fixed_point(replay, replay.task_return())
        best = fixed_point(replay, shape(replay, rng)).argmax(axis=1)
        regret_S = plain.max(axis=1) - plain[np.arange(GOAL), best]
        changed += regret_S.max() > 1e-6  # a tie broken the other way is no change
    return changed / tasks


def one_model(replay, rng):
    return potential(*windows(replay, rng.random(STATES)[replay.state_BW]), gamma=GAMMA)


def two_models_mixed(replay, rng):
    """Half of the episodes were annotated before the reward model was replaced."""
    phi_2S = rng.random((2, STATES))
    model_B = rng.integers(2, size=replay.episode_B.max() + 1)[replay.episode_B]
    return potential(*windows(replay, phi_2S[model_B[:, None], replay.state_BW]), gamma=GAMMA)


def dropped_on_a_fifth(replay, rng):
    """A late answer's transitions get the task reward alone."""
    shaped_B = one_model(replay, rng)
    return np.where(rng.random(len(shaped_B)) < 0.2, replay.task_return(), shaped_B)


def gated_by_success(replay, rng):
    """Each episode's track is that of `gated`, which looks at the task reward of the whole episode."""
    phi_S, tracks = rng.random(STATES), {}
    for number in range(replay.episode_B.max() + 1):
        earned = replay.task_return()[(replay.episode_B == number) & replay.terminated_B].sum()
        phi = phi_S.astype(np.float32)
        tracks[number] = gated(an_episode(reward=earned), PhiTrack("model", phi, np.ones_like(phi))).phi
    phi_ES = np.stack([tracks[number] for number in range(len(tracks))])
    return SCHEMES["gated"](*windows(replay, phi_ES[replay.episode_B[:, None], replay.state_BW]), gamma=GAMMA)


def an_episode(reward):
    """One step that earned this reward."""
    return make_episode(1, success=reward > 0, reward=np.float32([reward]))


def test_one_reward_model_in_replay_never_changes_the_best_action():
    assert share_of_changed_optima(one_model) == 0.0


@pytest.mark.parametrize("shape", [two_models_mixed, dropped_on_a_fifth, gated_by_success])
def test_mixed_models_or_dropped_or_gated_shaping_change_the_best_action_in_many_tasks(shape):
    assert share_of_changed_optima(shape) > 0.5


# ---- loitering ----


def values_of_waiting_and_finishing(shaping):
    """A peg that looks nearly inserted (Phi .9) must be lifted and aligned again (Phi .2, ten steps) to succeed."""
    detour = np.array([0.9, *[0.2] * 9, 1.0])
    reward = np.zeros(10)
    reward[-1] = 1.0
    n = len(reward)
    task = np.array([(reward * GAMMA ** np.arange(n)).sum()])
    finish = shaping(task, detour[None], np.array([n]), np.array([True]), gamma=GAMMA)[0]
    loiter = np.full((1, 2), 0.9)
    step = shaping(np.zeros(1), loiter, np.array([1]), np.array([False]), gamma=GAMMA)[0]
    return step / (1.0 - GAMMA), finish


@pytest.mark.parametrize("name", ["naive", "absolute", "contrast"])
def test_some_schemes_prefer_to_loiter_where_the_potential_is_high_and_the_invariant_form_does_not(name):
    for scheme in (none, potential):
        wait, finish = values_of_waiting_and_finishing(scheme)
        assert finish > wait
    wait, finish = values_of_waiting_and_finishing(SCHEMES[name])
    assert wait > finish


def test_preference_as_reward_pays_for_going_round_in_circles():
    """Ten small steps forward and one jump back: differences cancel, squashed ones do not."""
    loop = np.array([*np.linspace(0.2, 0.7, 11), 0.2])[None]
    never, length = np.zeros(1, bool), np.array([loop.shape[1] - 1])
    assert SCHEMES["par"](np.zeros(1), loop, length, never, gamma=1.0)[0] > 1.0
    for name in ("naive", "potential"):
        assert SCHEMES[name](np.zeros(1), loop, length, never, gamma=1.0)[0] == pytest.approx(0.0)


@settings(deadline=None, max_examples=50)
@given(seeds)
def test_naive_delta_pays_the_time_spent_at_high_potential(seed):
    """Its return is gamma^(T-1) Phi_T - Phi_0 + (1 - gamma) sum_t gamma^(t-1) Phi_t over t = 1 .. T-1."""
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(1, 30))
    phi = rng.random(steps + 1)
    paid = naive(np.zeros(1), phi[None], np.array([steps]), np.array([True]), gamma=GAMMA)[0]
    loitering = (1 - GAMMA) * sum(GAMMA ** (t - 1) * phi[t] for t in range(1, steps))
    assert paid == pytest.approx(GAMMA ** (steps - 1) * phi[steps] - phi[0] + loitering, abs=1e-12)
