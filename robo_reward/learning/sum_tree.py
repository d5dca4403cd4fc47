"""Sampling in proportion to changing weights: a binary tree of sums, whole batches at a time."""

from __future__ import annotations

import numpy as np


class SumTree:
    """`size` weights, zero at first. Setting and sampling a batch cost log2(size) array operations."""

    def __init__(self, size: int):
        self._leaves = 1 << max(size - 1, 1).bit_length()
        self._sums = np.zeros(2 * self._leaves)

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return float(self._sums[1])

    def weights(self, places_B: np.ndarray) -> np.ndarray:
        """The weights of these places."""
        return self._sums[places_B + self._leaves]

    def set(self, places_B: np.ndarray, weights_B: np.ndarray) -> None:
        """Give these places these weights >= 0; of a place named twice the last one counts."""
        nodes = places_B + self._leaves
        self._sums[nodes] = weights_B
        while nodes[0] > 1:  # all nodes are on one level
            nodes = np.unique(nodes >> 1)
            # Sums are formed anew from the children, so that rounding errors do not pile up.
            self._sums[nodes] = self._sums[2 * nodes] + self._sums[2 * nodes + 1]

    def sample(self, batch: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Places (B,), one from each of B equal shares of the total, and the chance of each."""
        if self.total <= 0:
            raise ValueError("every weight is zero: nothing to sample")
        wanted = (np.arange(batch) + rng.random(batch)) / batch * self.total
        nodes = np.ones(batch, np.int64)
        while nodes[0] < self._leaves:
            nodes *= 2
            left = self._sums[nodes]
            # A share that rounding has pushed past the end must not leave the weights that are there.
            right = (wanted >= left) & (self._sums[nodes + 1] > 0)
            wanted = np.where(right, wanted - left, wanted)
            nodes += right
        return nodes - self._leaves, self._sums[nodes] / self.total
