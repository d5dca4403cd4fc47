"""The residual learner: where it starts, what its targets are, that it learns, that nothing bad reaches its weights.

Masks, foreign frames, executed and human actions, resumption: tests/unit/test_peer_defects.py.
"""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from robo_reward.config import AgentConfig  # noqa: E402
from robo_reward.learning.adam import Adam  # noqa: E402
from robo_reward.learning.replay import EpisodeReplay  # noqa: E402
from robo_reward.learning.residual_td3 import ResidualTD3  # noqa: E402
from robo_reward.runtime.updates import learn  # noqa: E402
from robo_reward.shaping import SCHEMES  # noqa: E402
from robo_reward.testing.episodes import make_episode  # noqa: E402
from robo_reward.testing.learners import ACTION as A  # noqa: E402
from robo_reward.testing.learners import GAMMA, ByAutograd, random_batch, small_learner  # noqa: E402
from robo_reward.testing.learners import N_STEP as N  # noqa: E402
from robo_reward.testing.learners import STATE as S  # noqa: E402
from robo_reward.types import PhiTrack  # noqa: E402

torch.set_num_threads(1)


def snapshot(agent):
    return {name: tensor.clone() for name, tensor in agent.state_dict().items()}


# ---- where it starts ----


def test_before_any_update_it_is_the_base_policy():
    agent, rng = small_learner(residual_scale=1.0), np.random.default_rng(0)
    for _ in range(50):
        base = rng.uniform(-1, 1, A).astype(np.float32)
        np.testing.assert_array_equal(agent.act(rng.normal(size=S).astype(np.float32) * 100, base), base)


def test_critic_updates_alone_leave_the_policy_as_it_is():
    agent = small_learner()
    for seed in range(5):
        agent.update_critics(agent.windows(random_batch(16, seed)))
    base = np.array([0.3, -0.7], np.float32)
    np.testing.assert_array_equal(agent.act(np.ones(S, np.float32), base), base)


def test_a_step_of_the_actor_moves_the_policy_within_the_residual_s_reach():
    """And gradually: who acts is the average of the actors so far."""
    base, moved = np.array([0.3, -0.7], np.float32), {}
    for tau in (0.05, 1.0):
        agent = small_learner(residual_scale=0.2, actor_learning_rate=0.1, tau=tau)
        for seed in range(5):
            agent.update_critics(agent.windows(random_batch(16, seed)))
            agent.update_actor(agent.windows(random_batch(16, seed)))
        moved[tau] = np.abs(agent.act(np.ones(S, np.float32), base) - base).max()
    assert 0 < 1.5 * moved[0.05] < moved[1.0] <= 0.2 + 1e-6 and moved[1.0] > 0.01


# ---- the target ----


class Constant(ByAutograd):
    """A critic whose heads say `value`, `value` + 1, ... everywhere."""

    def __init__(self, heads, value):
        super().__init__()
        self.value = nn.Parameter(value + torch.arange(float(heads)))

    def forward(self, state, action, heads=slice(None)):
        heads = slice(None) if heads is None else heads
        return self.value[heads, None].expand(-1, len(state)) + 0 * (state.sum() + action.sum())


def target_of(batch, kind, scale=1.0, next_q=2.0, **changes):
    """The target of a batch of one row, read off the loss of a critic that says 0 (so it must not be negative)."""
    agent = small_learner(kind, scale, heads=1, subset=1, tau=0.0, learning_rate=1e-9, **changes)
    agent.critic, agent.critic_target = Constant(1, 0.0), Constant(1, next_q)
    agent.critic_optimiser = Adam(agent.critic.parameters(), 0.0)
    return np.sqrt(agent.update_critics(agent.windows(batch))["critic_loss"])


ROWS = [random_batch(1, seed, reward_B=np.float32([5.0]), terminated_B=np.float32([seed % 2])) for seed in range(12)]


@pytest.mark.parametrize("batch", ROWS[:4])
def test_the_target_is_the_n_step_return_and_what_follows_unless_it_ended(batch):
    length, alive = batch.length_B[0], 1 - batch.terminated_B[0]
    assert target_of(batch, "none") == pytest.approx(5 + alive * GAMMA**length * 2, rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_shaped_and_sparse_targets_differ_by_the_telescoped_potential_and_nothing_else(scale):
    for batch in ROWS:
        length, alive, phi = batch.length_B[0], 1 - batch.terminated_B[0], batch.phi_BW[0]
        shaped, sparse = target_of(batch, "potential", scale), target_of(batch, "none", scale)
        assert shaped - sparse == pytest.approx(scale * (alive * GAMMA**length * phi[length] - phi[0]), abs=1e-5)
        # A critic that has learned Q - scale Phi instead of Q (so a next value smaller by scale Phi') agrees exactly.
        lowered = target_of(batch, "potential", scale, next_q=2 - scale * phi[length])
        assert lowered == pytest.approx(sparse - scale * phi[0], abs=1e-5)


def test_potentials_beyond_a_shortened_window_are_not_read():
    batch = random_batch(1, 0, reward_B=np.float32([5.0]), length_B=np.array([1]), discount_B=np.float32([GAMMA]))
    padded = dataclasses.replace(batch, phi_BW=np.concatenate([batch.phi_BW[:, :2], [[np.nan] * (N - 1)]], 1))
    for kind in SCHEMES:
        assert target_of(batch, kind) == pytest.approx(target_of(padded, kind))


def test_the_target_takes_the_smaller_of_the_drawn_heads():
    """Of heads that say 0, 1, 2, 3 two are drawn: the target is 5 + GAMMA times the smaller, 3 never."""
    batch = random_batch(1, 0, reward_B=np.float32([5.0]), length_B=np.array([1]), discount_B=np.float32([GAMMA]))
    seen = set()
    agent = small_learner("none", tau=0.0)
    agent.critic, agent.critic_target = Constant(4, 0.0), Constant(4, 0.0)
    agent.critic.value.data[:] = 0
    agent.critic_optimiser = Adam(agent.critic.parameters(), 0.0)
    for _ in range(60):
        seen.add(round((np.sqrt(agent.update_critics(agent.windows(batch))["critic_loss"]) - 5) / GAMMA, 3))
    assert seen == {0.0, 1.0, 2.0}


# ---- the actor's objective ----


@pytest.mark.parametrize("pessimism", [0.0, 2.0])
def test_the_actor_climbs_where_the_heads_agree_and_with_pessimism_only_there(pessimism):
    """All heads like the second dimension; on average they like the first one too, but far from all of them."""

    class Divided(ByAutograd):
        def __init__(self):
            super().__init__()
            self.liking = nn.Parameter(torch.tensor([3.0, 1.0, 0.0, -2.0]))

        def forward(self, state, action, heads=None):
            return self.liking[:, None] * action[:, 0] + action[:, 1]

    agent = small_learner(pessimism=pessimism, imitation=0.0, actor_learning_rate=3e-2, residual_scale=0.4)
    agent.critic, base = Divided(), np.zeros((16, A), np.float32)
    for seed in range(60):
        agent.update_actor(agent.windows(random_batch(16, seed, base_BR=base)))
    agent.actor_target.load_state_dict(agent.actor.state_dict())
    divided, agreed = agent.act(np.zeros(S, np.float32), base[0])
    assert agreed > 0.3 and (abs(divided) < 0.1 if pessimism else divided > 0.3)


# ---- nothing bad reaches the weights ----


@pytest.mark.parametrize(
    "field,value",
    [("reward_B", np.nan), ("reward_B", np.inf), ("phi_BW", np.nan), ("phi_BW", np.inf), ("action_BA", np.nan),
     ("action_BA", np.inf), ("state_BS", np.nan), ("next_state_BS", np.nan)],
)  # fmt: skip
def test_a_value_that_is_not_finite_stops_the_critics_and_leaves_every_weight(field, value):
    agent = small_learner()
    agent.update_critics(agent.windows(random_batch(16)))  # so that the optimiser has a state too
    before = snapshot(agent)
    batch = random_batch(16, 1)
    array = getattr(batch, field).copy()
    array.flat[0] = value
    with pytest.raises(FloatingPointError, match="not finite"):
        agent.update_critics(agent.windows(dataclasses.replace(batch, **{field: array})))
    after = snapshot(agent)
    assert after.keys() == before.keys()
    for name in before.keys() - {"generator"}:
        assert torch.equal(before[name], after[name]), name


def test_a_nan_stops_the_actor_too():
    agent = small_learner()
    agent.update_actor(agent.windows(random_batch(16)))
    before = snapshot(agent)
    state = random_batch(16).state_BS.copy()
    state[0, 0] = np.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        agent.update_actor(agent.windows(random_batch(16, state_BS=state)))
    after = snapshot(agent)
    for name in before.keys() - {"generator"}:
        assert torch.equal(before[name], after[name]), name
    agent.update_critics(agent.windows(random_batch(16, 2)))  # and it goes on with good data
    agent.update_actor(agent.windows(random_batch(16, 2)))


# ---- it learns ----

HORIZON = 15


def base_action(x):
    """Heads for .3, not 0: a biased estimate, as a base policy has."""
    return np.clip(-2 * (x - 0.3), -1, 1).astype(np.float32)


def roll(act, seed, number):
    """One episode of a point on a line that must come within .1 of 0 from .5 to 1; act(x) -> action."""
    rng = np.random.default_rng(seed)
    x, reached = [rng.uniform(0.5, 1.0)], False
    actions, rewards = [], []
    while len(actions) < HORIZON and not reached:
        actions.append(np.clip(act(np.float32([x[-1]])), -1, 1))
        x.append(x[-1] + 0.15 * float(actions[-1][0]))
        reached = abs(x[-1]) < 0.1
        rewards.append(float(reached))
    where, steps = np.float32(x)[:, None], len(actions)
    phi = np.clip(1 - np.abs(where[:, 0]), 0, 1)
    episode = make_episode(
        steps, str(number), success=reached, instruction="reach", seed=seed, agent_pos=where,
        estimate=np.zeros((steps + 1, 0), np.float32), action=np.float32(actions), reward=np.float32(rewards),
        oracle=phi, base_action=base_action(where),
    )  # fmt: skip
    return episode, PhiTrack("exact", phi, np.ones_like(phi))


def success(act, episodes=40):
    return np.mean([roll(act, 10_000 + seed, 0)[0].success for seed in range(episodes)])


@pytest.mark.parametrize("kind", ["none", "potential"])
def test_it_learns_a_task_that_its_base_cannot_do(kind):
    """A few hundred updates, seeded: from a base that never arrives to nearly always."""
    settings = AgentConfig(
        n_step=3, heads=4, hidden=32, batch=64, residual_scale=1.0, learning_rate=3e-3, actor_learning_rate=3e-3,
        tau=0.02, gamma=0.99, target_noise=0.1, pessimism=0.0, imitation=0.0, actor_every=2,
    )  # fmt: skip
    agent = ResidualTD3(np.zeros(1, np.float32), np.ones(1, np.float32), 1, settings, SCHEMES[kind], 1.0, 0)
    demos, online = (EpisodeReplay(5000, 1, 1, settings.n_step, settings.gamma) for _ in range(2))
    memory, rng = SimpleNamespace(demonstrations=demos, warmup=online, online=online), np.random.default_rng(0)
    for number in range(5):
        demos.append(*_with_state(roll(lambda x: np.clip(-3 * x, -1, 1), number, number)), demonstration=True)
    before = success(base_action)
    for number in range(30):

        def explore(x):
            return agent.act(x, base_action(x)) + 0.3 * rng.normal(size=1).astype(np.float32)

        online.append(*_with_state(roll(explore, 100 + number, number)), demonstration=False)
        learn(agent, memory, 15, settings, rng, actor_moves=number >= 5)
    after = success(lambda x: agent.act(x, base_action(x)))
    assert before < 0.05 and after > 0.9


def _with_state(rolled):
    episode, track = rolled
    return episode, episode.agent_pos, track


def test_one_seed_gives_one_learner():
    def trained(seed):
        agent = small_learner(seed=seed)
        for number in range(4):
            agent.update_critics(agent.windows(random_batch(16, number)))
            agent.update_actor(agent.windows(random_batch(16, number)))
        return agent.act(np.ones(S, np.float32), np.zeros(A, np.float32))

    np.testing.assert_array_equal(trained(0), trained(0))
    assert not np.array_equal(trained(0), trained(1))
