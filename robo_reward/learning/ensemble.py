"""N multilayer perceptrons as one: a batched product a layer, gradients written out, all parameters in one tensor.

Autograd would read and write every activation several times over; here a layer's norm, scale and rectifier work in
place, in memory that is kept from call to call. The tests compare values and gradients with `networks.mlp`.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import torch
from torch import nn

_EPS = 1e-5  # torch's own for LayerNorm


class _Layer(NamedTuple):
    weight_NIH: torch.Tensor
    bias_N1H: torch.Tensor
    scale_N1H: torch.Tensor | None = None
    shift_N1H: torch.Tensor | None = None


class _Views(NamedTuple):
    """The parts of a flat tensor (N, P), one row a head."""

    hidden: tuple[_Layer, _Layer]
    weight_NOH: torch.Tensor
    """Transposed: the products with a few outputs are several times faster."""
    bias_N1O: torch.Tensor


class _Scratch(NamedTuple):
    """Memory of one call, written anew by the next one that takes it."""

    normed: torch.Tensor
    """(2, N, B, H): each hidden layer's product, centred and divided by its deviation."""
    out: torch.Tensor
    """(2, N, B, H): what leaves it; the same memory in calls that nothing goes back through."""
    inverse: torch.Tensor
    """(2, N, B, 1): the inverse deviations."""
    slope: torch.Tensor
    """(N, B, H): the loss's derivative on its way back."""


_FREE: dict[tuple[Any, ...], list[_Scratch]] = {}
"""Shared by all networks of a size: what the targets wrote is still in the cache when the critics write over it."""
SIZES = 16
"""That memory is kept of: whole episodes as batches come in ever other lengths, so the size that came first leaves."""


def _take(flat: torch.Tensor, batch: int, hidden: int) -> _Scratch:
    """Memory that no other call holds, for as many heads as `flat` has."""
    heads = flat.shape[0]
    size = heads, batch, hidden, flat.dtype, flat.device
    if size not in _FREE and len(_FREE) >= SIZES:
        _FREE.pop(list(_FREE)[0], None)
    if free := _FREE.setdefault(size, []):
        return free.pop()
    empty, layers = flat.new_empty, (2, heads, batch, hidden)
    return _Scratch(empty(layers), empty(layers), empty(2, heads, batch, 1), empty(layers[1:]))


def _give(scratch: _Scratch) -> None:
    slope = scratch.slope
    if (free := _FREE.get((*slope.shape, slope.dtype, slope.device))) is not None:
        free.append(scratch)


class EnsembleMLP(nn.Module):
    """N perceptrons with two hidden layers: (B, I) -> (N, B, O). Each is `networks.mlp`, with LayerNorm if `norm`.

    All parameters lie in `flat` (N, P), so that clipping, an optimiser's step and a Polyak average are each one vector
    operation. `rough` multiplies bfloat16 numbers in the hidden layers.
    """

    def __init__(self, heads: int, inputs: int, hidden: int, outputs: int, norm: bool = True, rough: bool = False):
        super().__init__()
        self.rough = rough
        normed = ((1, hidden), (1, hidden)) if norm else ()
        first, second = ((inputs, hidden), (1, hidden), *normed), ((hidden, hidden), (1, hidden), *normed)
        shapes = (*first, *second, (outputs, hidden), (1, outputs))
        ends = list(itertools.accumulate(rows * columns for rows, columns in shapes))
        self._parts = [(shape, end - shape[0] * shape[1]) for shape, end in zip(shapes, ends, strict=True)]
        self.heads, self.hidden, self.norm = heads, hidden, norm
        self.flat = nn.Parameter(torch.empty(heads, ends[-1]))
        self._kept: list[_Views] = []
        """The parts of `flat` and of its gradient: ten views at every call are felt in a small network."""
        views = self.views(self.flat.detach())
        for layer, size in zip(views.hidden, (inputs, hidden), strict=True):
            _init_linear(layer.weight_NIH, layer.bias_N1H, size)
            if layer.scale_N1H is not None and layer.shift_N1H is not None:
                layer.scale_N1H.fill_(1.0)
                layer.shift_N1H.zero_()
        _init_linear(views.weight_NOH, views.bias_N1O, hidden)

    def forward(self, x_BI: torch.Tensor, heads: torch.Tensor | None = None) -> torch.Tensor:
        """Outputs of all heads, or only of those in `heads` (n,): (n, B, O)."""
        flat = self.flat if heads is None else self.flat.index_select(0, heads)
        if torch.is_grad_enabled() and (flat.requires_grad or x_BI.requires_grad):
            return _Differentiable.apply(self, x_BI, flat)
        scratch = _take(flat, x_BI.shape[0], self.hidden)
        y_NBO = _forward(self.views(flat), x_BI, scratch._replace(out=scratch.normed), self.rough)
        _give(scratch)
        return y_NBO

    def record(self, x_BI: torch.Tensor, heads: torch.Tensor | None = None) -> Passage:
        """A call that is gone back through by hand; autograd takes no notice of it."""
        with torch.no_grad():
            return Passage(self, x_BI, self.flat if heads is None else self.flat.index_select(0, heads))

    def views(self, flat: torch.Tensor) -> _Views:
        """The layers within a contiguous tensor (n, P)."""
        (heads, size), place = flat.shape, flat.data_ptr()
        for views in self._kept:
            if views.weight_NOH.shape[0] == heads and views.hidden[0].weight_NIH.data_ptr() == place:
                return views
        plain = flat.detach()
        parts = [plain.as_strided((heads, *shape), (size, shape[1], 1), start) for shape, start in self._parts]
        of_layer = (len(parts) - 2) // 2
        views = _Views((_Layer(*parts[:of_layer]), _Layer(*parts[of_layer:-2])), *parts[-2:])
        if heads == self.heads and place in [own.data_ptr() for own in (self.flat, self.flat.grad) if own is not None]:
            self._kept = [*self._kept[-1:], views]
        return views


def _init_linear(weight: torch.Tensor, bias: torch.Tensor, inputs: int) -> None:
    """The starting values of torch's `nn.Linear`."""
    bound = 1 / math.sqrt(inputs)
    weight.uniform_(-bound, bound)
    bias.uniform_(-bound, bound)


class Passage:
    """One call of a network, `y_NBO`, that can be gone back through, once."""

    def __init__(self, network: EnsembleMLP, x_BI: torch.Tensor, flat: torch.Tensor):
        self._network, self._x_BI, self._flat = network, x_BI, flat
        self._scratch = _take(flat, x_BI.shape[0], network.hidden)
        self.y_NBO = _forward(network.views(flat), x_BI, self._scratch, network.rough)

    def back(self, slope_NBO: torch.Tensor, gradient: torch.Tensor | None, inputs: int = 0) -> torch.Tensor:
        """From a loss's derivative by `y_NBO`: that by the parameters is written to `gradient` (N, P), if given; that
        by the last so many inputs is returned (B, inputs)."""
        found = None if gradient is None else self._network.views(gradient)
        views, rough = self._network.views(self._flat), self._network.rough
        x_gradient = _backward(views, self._x_BI, self._scratch, slope_NBO, found, inputs, rough)
        _give(self._scratch)
        del self._scratch
        return x_gradient


class _Differentiable(torch.autograd.Function):
    """A call that autograd can go back through, once."""

    @staticmethod
    def forward(ctx: Any, network: EnsembleMLP, x_BI: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
        ctx.passage = Passage(network, x_BI, flat)
        ctx.save_for_backward(x_BI, flat)
        return ctx.passage.y_NBO

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[None, torch.Tensor | None, torch.Tensor | None]:
        x_BI, flat = ctx.saved_tensors  # raises when this call was gone back through before
        _, of_input, of_weights = ctx.needs_input_grad
        gradient = torch.empty_like(flat) if of_weights else None
        x_gradient = ctx.passage.back(slopes[0], gradient, x_BI.shape[1] if of_input else 0)
        ctx.passage = None
        return None, x_gradient if of_input else None, gradient


def _forward(views: _Views, x_BI: torch.Tensor, scratch: _Scratch, rough: bool) -> torch.Tensor:
    """Outputs (N, B, O); leaves in `scratch` what `_backward` needs."""
    x = x_BI.expand(views.bias_N1O.shape[0], -1, -1)
    for layer, y, out, inverse in zip(views.hidden, scratch.normed, scratch.out, scratch.inverse, strict=True):
        if layer.scale_N1H is None or layer.shift_N1H is None:
            x = _product(x, layer.weight_NIH, out, rough, layer.bias_N1H).relu_()
            continue
        _product(x, layer.weight_NIH, y, rough, layer.bias_N1H)
        y.sub_(torch.mean(y, dim=-1, keepdim=True, out=inverse))
        torch.linalg.vector_norm(y, dim=-1, keepdim=True, out=inverse)
        y.mul_(inverse.square_().div_(y.shape[-1]).add_(_EPS).rsqrt_())
        x = torch.addcmul(layer.shift_N1H, y, layer.scale_N1H, out=out).relu_()
    return torch.baddbmm(views.bias_N1O, x, views.weight_NOH.transpose(1, 2))


def _product(
    x: torch.Tensor, y: torch.Tensor, out: torch.Tensor, rough: bool, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """x @ y + bias, batched, into `out`; sums are in single precision, `rough` or not."""
    if rough and x.shape[1] > 1:  # one observation on a robot is worth the exact product
        out.copy_(torch.bmm(x.bfloat16(), y.bfloat16()))
        return out if bias is None else out.add_(bias)
    return torch.bmm(x, y, out=out) if bias is None else torch.baddbmm(bias, x, y, out=out)


def _backward(
    views: _Views,
    x_BI: torch.Tensor,
    scratch: _Scratch,
    slope_NBO: torch.Tensor,
    found: _Views | None,
    inputs: int,
    rough: bool,
) -> torch.Tensor:
    """The loss's derivative by the last so many inputs (B, inputs); that by the parameters is written to `found`."""
    outer = torch.mul if slope_NBO.shape[2] == 1 else torch.bmm  # of two vectors: several times faster
    slope = outer(slope_NBO, views.weight_NOH, out=scratch.slope)
    if found is not None:
        torch.bmm(slope_NBO.transpose(1, 2), scratch.out[1], out=found.weight_NOH)
        torch.sum(slope_NBO, dim=1, keepdim=True, out=found.bias_N1O)
    for i in (1, 0):
        layer, out = views.hidden[i], scratch.out[i]
        torch.ops.aten.threshold_backward.grad_input(slope, out, 0, grad_input=slope)
        if layer.scale_N1H is not None:
            normed, inverse = scratch.normed[i], scratch.inverse[i]
            if found is not None:
                by_scale = torch.mul(slope, normed, out=out)
                torch.sum(slope, dim=1, keepdim=True, out=found.hidden[i].shift_N1H)
                torch.sum(by_scale, dim=1, keepdim=True, out=found.hidden[i].scale_N1H)
            # What is normed already has mean 0 and deviation 1.
            none, one, wanted = torch.zeros_like(inverse), torch.ones_like(inverse), [True, False, False]
            slope = torch.ops.aten.native_layer_norm_backward(
                slope.mul_(layer.scale_N1H), normed, slope.shape[-1:], none, one, None, None, wanted
            )[0].mul_(inverse)
        below = scratch.out[0] if i else x_BI.expand(slope.shape[0], -1, -1)
        if found is not None:
            _product(below.transpose(1, 2), slope, found.hidden[i].weight_NIH, rough)
            torch.sum(slope, dim=1, keepdim=True, out=found.hidden[i].bias_N1H)
        if i:
            slope = _product(slope, layer.weight_NIH.transpose(1, 2), scratch.normed[1], rough)
    if not inputs:
        return slope.new_empty(x_BI.shape[0], 0)
    return torch.bmm(slope, views.hidden[0].weight_NIH[:, -inputs:].transpose(1, 2)).sum(0)
