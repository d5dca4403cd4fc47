"""The residual learner: where it starts, what its targets are, that it learns, that nothing bad reaches its weights.

Masks, foreign frames, executed and human actions, resumption: tests/unit/test_peer_defects.py.
"""

import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from robo_reward.config import AgentConfig, Config, ShapingConfig, TrainConfig  # noqa: E402
from robo_reward.learning.bins import BinnedCritic  # noqa: E402
from robo_reward.learning.ensemble import EnsembleMLP  # noqa: E402
from robo_reward.learning.networks import EnsembleCritic, mlp  # noqa: E402
from robo_reward.learning.replay import Batch, EpisodeReplay  # noqa: E402
from robo_reward.learning.residual_td3 import ResidualTD3  # noqa: E402
from robo_reward.runtime.updates import learn, updates_due  # noqa: E402
from robo_reward.shaping import SCHEMES  # noqa: E402
from robo_reward.types import Episode, PhiTrack  # noqa: E402

torch.set_num_threads(1)
S, A, N, GAMMA = 3, 2, 3, 0.9
SETTINGS = AgentConfig(gamma=GAMMA, n_step=N, heads=4, hidden=32, batch=16)


def learner(kind="potential", scale=1.0, seed=0, size=S, action_size=A, **changes):
    settings = dataclasses.replace(SETTINGS, **changes)
    zeros = np.zeros(size, np.float32)
    return ResidualTD3(zeros, zeros + 1, action_size, settings, SCHEMES[kind], scale, seed)


def make_batch(rows, seed=0, **changes):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    length = rng.integers(1, N + 1, rows)
    batch = Batch(
        state_BS=normal(rows, S), base_BR=np.tanh(normal(rows, A)), action_BA=np.tanh(normal(rows, A)),
        reward_B=normal(rows), discount_B=(GAMMA**length).astype(np.float32), terminated_B=np.zeros(rows, np.float32),
        next_state_BS=normal(rows, S), next_base_BR=np.tanh(normal(rows, A)),
        phi_BW=rng.uniform(size=(rows, N + 1)).astype(np.float32), length_B=length,
        demonstration_B=np.zeros(rows, np.float32), weight_B=np.ones(rows, np.float32), place_B=np.arange(rows),
    )  # fmt: skip
    return dataclasses.replace(batch, **changes)


def snapshot(agent):
    return {name: tensor.clone() for name, tensor in agent.state_dict().items()}


# ---- where it starts ----


def test_before_any_update_it_is_the_base_policy():
    agent, rng = learner(residual_scale=1.0), np.random.default_rng(0)
    for _ in range(50):
        base = rng.uniform(-1, 1, A).astype(np.float32)
        np.testing.assert_array_equal(agent.act(rng.normal(size=S).astype(np.float32) * 100, base), base)


def test_critic_updates_alone_leave_the_policy_as_it_is():
    agent = learner()
    for seed in range(5):
        agent.update_critics(make_batch(16, seed))
    base = np.array([0.3, -0.7], np.float32)
    np.testing.assert_array_equal(agent.act(np.ones(S, np.float32), base), base)


def test_a_step_of_the_actor_moves_the_policy_within_the_residual_s_reach():
    """And gradually: who acts is the average of the actors so far."""
    base, moved = np.array([0.3, -0.7], np.float32), {}
    for tau in (0.05, 1.0):
        agent = learner(residual_scale=0.2, actor_learning_rate=0.1, tau=tau)
        for seed in range(5):
            agent.update_critics(make_batch(16, seed))
            agent.update_actor(make_batch(16, seed))
        moved[tau] = np.abs(agent.act(np.ones(S, np.float32), base) - base).max()
    assert 0 < 1.5 * moved[0.05] < moved[1.0] <= 0.2 + 1e-6 and moved[1.0] > 0.01


# ---- the ensemble ----


def test_some_heads_of_the_ensemble_say_what_they_say_among_all():
    ensemble, state, action = EnsembleCritic(5, S + A, 16), torch.randn(7, S), torch.randn(7, A)
    drawn = torch.tensor([3, 1])
    assert torch.equal(ensemble(state, action, drawn), ensemble(state, action)[drawn])


def separate(ensemble, head):
    """A copy of one head as a plain network, which autograd goes through op by op."""
    views = ensemble.views(ensemble.flat.detach())
    inputs, hidden = views.hidden[0].weight_NIH.shape[1:]
    alone = mlp(inputs, hidden, views.bias_N1O.shape[2], ensemble.norm).to(ensemble.flat.dtype)
    with torch.no_grad():
        for own, part in zip(alone.parameters(), in_order(views), strict=True):
            own.copy_(part[head].reshape(own.shape))
    return alone


def in_order(views):
    """The parts of an ensemble's flat tensor, each head's as a plain network has them."""
    for layer in views.hidden:
        yield layer.weight_NIH.transpose(1, 2)
        yield from (part for part in layer[1:] if part is not None)
    yield from (views.weight_NOH, views.bias_N1O)


@pytest.mark.parametrize("heads,outputs", [(1, 3), (5, 1)])
@pytest.mark.parametrize("norm", [True, False])
def test_the_ensemble_is_as_many_separate_networks(heads, outputs, norm):
    """Values, and gradients by parameters and inputs: what is written out by hand is what autograd finds."""
    torch.manual_seed(0)
    ensemble = EnsembleMLP(heads, S + A, 16, outputs, norm).double()
    nn.init.normal_(ensemble.flat, std=0.5)  # scales and shifts of the norms too
    x, slope = torch.randn(7, S + A, dtype=torch.float64, requires_grad=True), torch.randn(heads, 7, outputs).double()
    plain = [separate(ensemble, head) for head in range(heads)]
    wanted = torch.stack([network(x) for network in plain])
    exact = {"atol": 1e-9, "rtol": 1e-9}
    with torch.no_grad():
        torch.testing.assert_close(ensemble(x), wanted, **exact)
    wanted_x, *wanted_by = torch.autograd.grad(wanted, [x, *(p for n in plain for p in n.parameters())], slope)
    for _ in range(2):  # the second call works in the memory of the first
        found = ensemble(x)
        torch.testing.assert_close(found, wanted, **exact)
        x_gradient, gradient = torch.autograd.grad(found, [x, ensemble.flat], slope)
        torch.testing.assert_close(x_gradient, wanted_x, **exact)
        by_head = [part[head] for head in range(heads) for part in in_order(ensemble.views(gradient))]
        for ours, theirs in zip(by_head, wanted_by, strict=True):
            torch.testing.assert_close(ours.reshape(theirs.shape), theirs, **exact)


def test_single_precision_agrees_to_a_millionth():
    torch.manual_seed(0)
    ensemble = EnsembleMLP(2, 50, 256, 1)
    x, plain = torch.randn(256, 50), [separate(ensemble, head) for head in range(2)]
    wanted = torch.stack([network(x) for network in plain])
    torch.testing.assert_close(ensemble(x), wanted, atol=1e-5, rtol=1e-5)
    wanted_by = torch.autograd.grad(wanted.square().mean(), [p for network in plain for p in network.parameters()])
    views = ensemble.views(torch.autograd.grad(ensemble(x).square().mean(), ensemble.flat)[0])
    by_head = [part[head] for head in range(2) for part in in_order(views)]
    for ours, theirs in zip(by_head, wanted_by, strict=True):
        torch.testing.assert_close(ours.reshape(theirs.shape), theirs, atol=1e-6, rtol=1e-5)


def test_bfloat16_products_agree_to_a_few_hundredths_but_for_a_single_observation_which_is_exact():
    torch.manual_seed(0)
    half = EnsembleMLP(2, 50, 256, 1, rough=True)
    exact, x = copy.deepcopy(half), torch.randn(256, 50)
    exact.rough = False
    assert not torch.equal(half(x), exact(x)), "the products were single precision"
    torch.testing.assert_close(half(x), exact(x), atol=0.02, rtol=0)
    found, wanted = (torch.autograd.grad(e(x).square().mean(), e.flat)[0] for e in (half, exact))
    assert (found - wanted).norm() < 0.03 * wanted.norm()
    with torch.no_grad():
        assert torch.equal(half(x[:1]), exact(x[:1]))


def test_a_copy_of_an_ensemble_is_a_network_of_its_own():
    """Also after calls, and when its parameters are moved to other memory."""
    ensemble, x = EnsembleMLP(3, 4, 8, 1), torch.randn(5, 4)
    before = ensemble(x)
    copied = copy.deepcopy(ensemble)
    with torch.no_grad():
        copied.flat.zero_()
    assert copied(x).abs().max() == 0 and torch.equal(ensemble(x), before)
    torch.testing.assert_close(ensemble.double()(x.double()).float(), before)
    ensemble.load_state_dict(copied.state_dict())
    assert ensemble(x.double()).abs().max() == 0


def test_two_calls_under_way_at_once_do_not_share_memory():
    """A loss may call one ensemble on several batches; each call's gradient is its own."""
    torch.manual_seed(0)
    ensemble, first, second = EnsembleMLP(3, 4, 8, 1), torch.randn(5, 4), torch.randn(5, 4)
    alone = [torch.autograd.grad(ensemble(x).square().sum(), ensemble.flat)[0] for x in (first, second)]
    [together] = torch.autograd.grad(ensemble(first).square().sum() + ensemble(second).square().sum(), ensemble.flat)
    torch.testing.assert_close(together, alone[0] + alone[1], atol=1e-6, rtol=1e-5)
    value = ensemble(first).sum()
    torch.autograd.grad(value, ensemble.flat)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(value, ensemble.flat)


def test_the_heads_start_different_and_all_learn():
    agent = learner("none", learning_rate=3e-3)
    batch = make_batch(16, terminated_B=np.ones(16, np.float32))

    def heads():
        with torch.no_grad():
            return agent.critic(torch.from_numpy(batch.state_BS), torch.from_numpy(batch.action_BA))

    assert heads().std(0).min() > 1e-3
    for _ in range(300):
        agent.update_critics(batch)
    torch.testing.assert_close(heads(), torch.from_numpy(batch.reward_B).expand(4, -1), atol=0.15, rtol=0)


# ---- the target ----


class Constant(nn.Module):
    """A critic whose heads say `value`, `value` + 1, ... everywhere."""

    def __init__(self, heads, value):
        super().__init__()
        self.value = nn.Parameter(value + torch.arange(float(heads)))

    def forward(self, state, action, heads=slice(None)):
        heads = slice(None) if heads is None else heads
        return self.value[heads, None].expand(-1, len(state)) + 0 * (state.sum() + action.sum())


def target_of(batch, kind, scale=1.0, next_q=2.0, **changes):
    """The target of a batch of one row, read off the loss of a critic that says 0 (so it must not be negative)."""
    agent = learner(kind, scale, heads=1, subset=1, tau=0.0, learning_rate=1e-9, **changes)
    agent.critic, agent.critic_target = Constant(1, 0.0), Constant(1, next_q)
    agent.critic_optimiser = torch.optim.SGD(agent.critic.parameters(), lr=0.0)
    return np.sqrt(agent.update_critics(batch)["critic_loss"])


ROWS = [make_batch(1, seed, reward_B=np.float32([5.0]), terminated_B=np.float32([seed % 2])) for seed in range(12)]


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
    batch = make_batch(1, 0, reward_B=np.float32([5.0]), length_B=np.array([1]), discount_B=np.float32([GAMMA]))
    padded = dataclasses.replace(batch, phi_BW=np.concatenate([batch.phi_BW[:, :2], [[np.nan] * (N - 1)]], 1))
    for kind in SCHEMES:
        assert target_of(batch, kind) == pytest.approx(target_of(padded, kind))


def test_the_target_takes_the_smaller_of_the_drawn_heads():
    """Of heads that say 0, 1, 2, 3 two are drawn: the target is 5 + GAMMA times the smaller, 3 never."""
    batch = make_batch(1, 0, reward_B=np.float32([5.0]), length_B=np.array([1]), discount_B=np.float32([GAMMA]))
    seen = set()
    agent = learner("none", tau=0.0)
    agent.critic, agent.critic_target = Constant(4, 0.0), Constant(4, 0.0)
    agent.critic.value.data[:] = 0
    agent.critic_optimiser = torch.optim.SGD(agent.critic.parameters(), lr=0.0)
    for _ in range(60):
        seen.add(round((np.sqrt(agent.update_critics(batch)["critic_loss"]) - 5) / GAMMA, 3))
    assert seen == {0.0, 1.0, 2.0}


# ---- nothing bad reaches the weights ----


@pytest.mark.parametrize(
    "field,value",
    [("reward_B", np.nan), ("reward_B", np.inf), ("phi_BW", np.nan), ("phi_BW", np.inf), ("action_BA", np.nan),
     ("action_BA", np.inf), ("state_BS", np.nan), ("next_state_BS", np.nan)],
)  # fmt: skip
def test_a_value_that_is_not_finite_stops_the_critics_and_leaves_every_weight(field, value):
    agent = learner()
    agent.update_critics(make_batch(16))  # so that the optimiser has a state too
    before = snapshot(agent)
    batch = make_batch(16, 1)
    array = getattr(batch, field).copy()
    array.flat[0] = value
    with pytest.raises(FloatingPointError, match="not finite"):
        agent.update_critics(dataclasses.replace(batch, **{field: array}))
    after = snapshot(agent)
    assert after.keys() == before.keys()
    for name in before.keys() - {"generator"}:
        assert torch.equal(before[name], after[name]), name


def test_a_nan_stops_the_actor_too():
    agent = learner()
    agent.update_actor(make_batch(16))
    before = snapshot(agent)
    state = make_batch(16).state_BS.copy()
    state[0, 0] = np.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        agent.update_actor(make_batch(16, state_BS=state))
    after = snapshot(agent)
    for name in before.keys() - {"generator"}:
        assert torch.equal(before[name], after[name]), name
    agent.update_critics(make_batch(16, 2))  # and it goes on with good data
    agent.update_actor(make_batch(16, 2))


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
    episode = Episode(
        episode_id=str(number), instruction="reach", source="policy", seed=seed, agent_pos=where,
        estimate=np.zeros((steps + 1, 0), np.float32), action=np.float32(actions), reward=np.float32(rewards),
        stage=np.zeros(steps + 1, np.int64), oracle=phi, terminated=reached, truncated=not reached, success=reached,
        frame_steps=np.zeros(0, np.int64), frames={}, base_action=base_action(where),
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
        agent = learner(seed=seed)
        for number in range(4):
            agent.update_critics(make_batch(16, number))
            agent.update_actor(make_batch(16, number))
        return agent.act(np.ones(S, np.float32), np.zeros(A, np.float32))

    np.testing.assert_array_equal(trained(0), trained(0))
    assert not np.array_equal(trained(0), trained(1))


# ---- imitation ----


def shown_batch(rows=16, value=0.2, worth=1.0, seed=0):
    """Demonstrated actions: the base's, shifted by `value`."""
    batch = make_batch(rows, seed)
    action = np.clip(batch.base_BR + value, -1, 1).astype(np.float32)
    return dataclasses.replace(batch, action_BA=action, demonstration_B=np.full(rows, worth, np.float32))


def distance(agent, batch):
    """Mean distance of the agent's actions from the batch's."""
    rows = zip(batch.state_BS, batch.base_BR, batch.action_BA, strict=True)
    return np.mean([np.abs(agent.act(state, base) - action).mean() for state, base, action in rows])


def test_cloning_starts_the_residual_from_what_was_shown_and_touches_no_critic():
    agent, batch = learner(residual_scale=0.5, actor_learning_rate=1e-2), shown_batch()
    critic = [parameter.clone() for parameter in agent.critic.parameters()]
    agent.clone([batch] * 200)
    assert distance(agent, batch) < 0.05 < distance(learner(), batch)
    assert all(torch.equal(a, b) for a, b in zip(critic, agent.critic.parameters(), strict=True))
    state, base = batch.state_BS[0], batch.base_BR[0]
    np.testing.assert_array_equal(agent.act(state, base), agent.act(state, base, deployed=True))


def test_the_prior_holds_the_actor_to_the_clone_on_its_own_steps():
    own, apart = dataclasses.replace(make_batch(16), demonstration_B=np.zeros(16, np.float32)), {}
    for prior in (0.0, 100.0):
        agent = learner(residual_scale=0.5, actor_learning_rate=1e-3, tau=1.0, prior=prior)
        agent.clone([shown_batch()] * 20)
        clone = [agent.act(state, base) for state, base in zip(own.state_BS, own.base_BR, strict=True)]
        for _ in range(50):
            agent.update_actor(own)
        apart[prior] = distance(agent, dataclasses.replace(own, action_BA=np.array(clone)))
    assert apart[100.0] < 0.2 * apart[0.0]


def test_what_is_half_worth_imitating_pulls_half_as_much():
    numbers = {}
    for worth in (1.0, 0.5):
        agent, batch = learner(actor_learning_rate=1e-9), shown_batch(worth=worth)
        state, base = agent._observe(batch.state_BS, batch.base_BR)
        loss, _ = agent._imitation(state, base, agent._action(agent.actor, state, base), batch)
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
        agent, batch = learner(q_filter=True), shown_batch(value=value)
        agent.critic = Sum()
        state, base = agent._observe(batch.state_BS, batch.base_BR)
        loss, _ = agent._imitation(state, base, agent._action(agent.actor, state, base), batch, filtered=True)
        assert (float(loss.detach()) > 0) == imitated


# ---- how far the residual reaches ----


def residual_of(agent):
    return np.abs(agent.act(np.ones(S, np.float32), np.zeros(A, np.float32))).max()


def saturate(agent):
    """An actor whose residual is 1 everywhere."""
    for actor in (agent.actor, agent.actor_target, agent.actor_average):
        actor.forward = lambda state, base: torch.ones_like(base)


def test_a_growing_reach_starts_at_a_tenth_and_ends_whole():
    agent = learner(residual_scale=0.5, reach="growing", reach_updates=10)
    reach = [float(agent.reach().max())]
    for seed in range(12):
        agent.update_actor(make_batch(16, seed))
        reach.append(float(agent.reach().max()))
    saturate(agent)
    assert reach[0] == pytest.approx(0.05) and residual_of(agent) == pytest.approx(0.5)
    assert reach[:11] == sorted(set(reach[:11])) and reach[10:] == pytest.approx([0.5] * 3)


def test_a_learned_reach_goes_where_the_critics_pull_each_dimension_and_within_twice_the_scale():
    """They like the first dimension large and the second small; the residual itself is as large as it can be."""

    class Taste(nn.Module):
        def __init__(self):
            super().__init__()
            self.zero = nn.Parameter(torch.zeros(()))

        def forward(self, state, action, heads=slice(None)):
            return (action[..., 0] - action[..., 1] + self.zero).expand(4, -1)

    agent = learner(residual_scale=0.2, reach="learned", actor_learning_rate=0.1, imitation=0.0, pessimism=0.0)
    agent.critic = Taste()
    saturate(agent)
    for _ in range(100):
        agent.update_actor(make_batch(16, base_BR=np.zeros((16, A), np.float32)))
    large, small = agent.reach().tolist()
    assert 0.35 < large <= 0.4 and 0 <= small < 0.05


@pytest.mark.parametrize("reach", ["growing", "learned"])
def test_the_reach_is_restored_with_the_agent(reach):
    agent, other = (learner(reach=reach, reach_updates=10, actor_learning_rate=0.1) for _ in range(2))
    for seed in range(4):
        agent.update_critics(make_batch(16, seed))
        agent.update_actor(make_batch(16, seed))
    assert not torch.equal(agent.reach(), other.reach())
    other.load_state_dict(agent.state_dict())
    assert torch.equal(agent.reach(), other.reach())


# ---- how many updates, on what ----


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
            return make_batch(rows)

        def prioritise(self, *_):
            pass

    drawn = dict.fromkeys(("demonstrations", "warmup", "online"), 0)
    agent = learner(anchor_share=share)
    learn(agent, SimpleNamespace(**{name: Source(name) for name in drawn}), 3, agent.settings, np.random.default_rng(0))
    assert drawn == {"demonstrations": 24, "warmup": 24 * share, "online": 24 * (1 - share)}


# ---- what the critics are ----


def test_bins_hold_a_target_s_mass_and_give_its_value_back():
    critic = BinnedCritic(2, S + A, 16, norm=True, rough=False, bins=51, limit=1.0)
    target = torch.tensor([-0.8, -0.013, 0.0, 0.5, 0.9])
    mass = critic.spread(target)
    torch.testing.assert_close(mass.sum(1), torch.ones(5))
    torch.testing.assert_close(mass[:4] @ critic.centres, target[:4], atol=1e-3, rtol=0)
    assert critic.spread(torch.tensor([7.0]))[0].argmax() == 50  # cut to the limit


def test_a_critic_of_bins_learns_the_values():
    agent = learner("none", learning_rate=3e-3, value_bins=51, value_limit=2.0)
    rewards = np.linspace(-1.5, 1.5, 16, dtype=np.float32)
    batch = make_batch(16, terminated_B=np.ones(16, np.float32), reward_B=rewards)
    for _ in range(300):
        agent.update_critics(batch)
    with torch.no_grad():
        values = agent.critic(torch.from_numpy(batch.state_BS), torch.from_numpy(batch.action_BA))
    torch.testing.assert_close(values, torch.from_numpy(rewards).expand(4, -1), atol=0.2, rtol=0)
    restored = learner("none", seed=1, value_bins=51, value_limit=2.0)
    restored.load_state_dict(agent.state_dict())
    with torch.no_grad():
        again = restored.critic(torch.from_numpy(batch.state_BS), torch.from_numpy(batch.action_BA))
    assert torch.equal(again, values)


@pytest.mark.parametrize("bins", [0, 51])
def test_critics_that_start_at_the_potential_add_nothing_to_it_and_still_learn(bins):
    """Under shaping they learn Q - Phi: 0 everywhere says that the value is the potential."""
    agent, batch = learner(value_init="potential", value_bins=bins), make_batch(16)
    inputs = torch.from_numpy(batch.state_BS), torch.from_numpy(batch.action_BA)
    with torch.no_grad():
        torch.testing.assert_close(agent.critic(*inputs), torch.zeros(4, 16), atol=1e-6, rtol=0)
    for _ in range(3):
        agent.update_critics(batch)
    assert agent.critic(*inputs).abs().max() > 1e-3


def test_starting_at_the_potential_without_one_is_refused():
    with pytest.raises(ValueError, match="agent.value_init=potential with shaping=none"):
        Config(agent=AgentConfig(value_init="potential"), shaping=ShapingConfig(kind="none"))
