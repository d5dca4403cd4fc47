"""Several networks as one: what each head says, how exactly, and that none shares memory with another."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from robo_reward.learning import ensemble as module  # noqa: E402
from robo_reward.learning.ensemble import EnsembleMLP  # noqa: E402
from robo_reward.learning.networks import EnsembleCritic, mlp  # noqa: E402
from robo_reward.testing.learners import ACTION as A  # noqa: E402
from robo_reward.testing.learners import STATE as S  # noqa: E402
from robo_reward.testing.learners import random_batch, small_learner  # noqa: E402

torch.set_num_threads(1)


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
    agent = small_learner("none", learning_rate=3e-3)
    batch = random_batch(16, terminated_B=np.ones(16, np.float32))

    def heads():
        with torch.no_grad():
            return agent.critic(torch.from_numpy(batch.state_BS), torch.from_numpy(batch.action_BA))

    assert heads().std(0).min() > 1e-3
    for _ in range(300):
        agent.update_critics(agent.windows(batch))
    torch.testing.assert_close(heads(), torch.from_numpy(batch.reward_B).expand(4, -1), atol=0.15, rtol=0)


def test_batches_of_ever_other_sizes_leave_little_behind_and_a_call_under_way_keeps_its_own():
    torch.manual_seed(0)
    ensemble, x = EnsembleMLP(3, 4, 8, 1), torch.randn(5, 4)
    [alone] = torch.autograd.grad(ensemble(x).square().sum(), ensemble.flat)
    loss = ensemble(x).square().sum()
    with torch.no_grad():
        for rows in range(6, 6 + 2 * module.SIZES):
            ensemble(torch.randn(rows, 4))
    assert len(module._FREE) == module.SIZES
    assert torch.equal(torch.autograd.grad(loss, ensemble.flat)[0], alone)
