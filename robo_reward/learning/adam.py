"""Adam for a few large tensors, in one fused call.

torch's optimiser classes keep books around every step, which in a small network takes longer than the step itself.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.optim.adam import adam


class Adam:
    """Adam (arXiv 1412.6980) with torch's own arithmetic and defaults; steps along what lies in `grad`."""

    def __init__(self, parameters: Iterable[torch.Tensor], learning_rate: float):
        self.parameters, self.learning_rate = list(parameters), learning_rate
        self._first = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
        self._second = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
        self._steps = [torch.zeros((), device=p.device) for p in self.parameters]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, largest_norm: float) -> float:
        """One step along the gradients, cut to a norm; returns the norm they had.

        A gradient that is not finite never reaches the parameters: FloatingPointError instead.
        """
        with_one = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        parameters, first, second, steps = (
            [slots[i] for i in with_one] for slots in (self.parameters, self._first, self._second, self._steps)
        )
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norms = [torch.linalg.vector_norm(gradient) for gradient in gradients]
        norm = float(norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms)))
        if not norm < float("inf"):
            raise FloatingPointError("a gradient is not finite; the weights were left as they were")
        if norm > largest_norm:
            torch._foreach_mul_(gradients, largest_norm / (norm + 1e-6))
        adam(
            parameters, gradients, first, second, [], steps, fused=True, amsgrad=False, beta1=0.9, beta2=0.999,
            lr=self.learning_rate, weight_decay=0.0, eps=1e-8, maximize=False,
        )  # fmt: skip
        return norm

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Moments and numbers of steps, by the parameters' places."""
        slots = {"exp_avg": self._first, "exp_avg_sq": self._second, "step": self._steps}
        return {f"{i}.{name}": slot for name, of in slots.items() for i, slot in enumerate(of)}

    @torch.no_grad()
    def load_state_dict(self, tensors: dict[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned."""
        for key, slot in self.state_dict().items():
            slot.copy_(tensors[key])
