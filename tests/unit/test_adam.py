"""The optimiser: torch's steps, what is refused, and what a checkpoint keeps."""

import copy

import pytest

torch = pytest.importorskip("torch")

from robo_reward.learning.adam import Adam  # noqa: E402

torch.set_num_threads(1)


def tensors():
    torch.manual_seed(0)
    return [torch.randn(3, 50).requires_grad_(), torch.randn(4).requires_grad_(), torch.randn(()).requires_grad_()]


def given(parameters, seed, size=1.0):
    """Gradients for all but the last of them."""
    torch.manual_seed(seed)
    for parameter in parameters[:-1]:
        parameter.grad = size * torch.randn_like(parameter)


@pytest.mark.parametrize("size", [1e-3, 1.0])
def test_it_steps_as_torch_s_own_does_and_a_checkpoint_goes_on_the_same(size):
    ours, theirs = tensors(), tensors()
    own, torchs = Adam(ours, 1e-2), torch.optim.Adam(theirs, 1e-2)
    for seed in range(6):
        if seed == 3:
            saved, own = own.state_dict(), Adam(ours, 1e-2)
            own.load_state_dict(copy.deepcopy(saved))
        given(ours, seed, size)
        given(theirs, seed, size)
        norm = torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        torchs.step()
        assert own.step(1.0) == pytest.approx(float(norm), rel=1e-6)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    own.zero_grad()
    assert all(parameter.grad is None for parameter in ours)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_moves_nothing(bad):
    ours = tensors()
    own, before = Adam(ours, 1e-2), [parameter.detach().clone() for parameter in ours]
    given(ours, 0)
    ours[1].grad[2] = bad
    with pytest.raises(FloatingPointError, match="not finite"):
        own.step(1.0)
    assert all(torch.equal(a, b) for a, b in zip(ours, before, strict=True))
    assert all(float(slot.abs().sum()) == 0 for slot in own.state_dict().values())
