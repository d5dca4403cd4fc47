"""Embeddings of the frames seen last: a live tracker asks about its references and its last frame again and again."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from torch import Tensor


class FeatureCache:
    """Up to `frames` embeddings, the one not asked for longest goes first. One process, one model.

    A key must say all that the embedding depends on. Whoever fills it has to compute each embedding on its own: in a
    batch, the other rows change the last bits, and then an answer would depend on what was asked before.
    """

    def __init__(self, frames: int) -> None:
        if frames < 1:
            raise ValueError(f"cache of {frames} frames: expected at least 1")
        self.frames, self.hits, self.misses = frames, 0, 0
        self._kept: dict[Hashable, Tensor] = {}

    def get(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """The embedding of this key, computed when it is not there."""
        found = self._kept.pop(key, None)
        if found is None:
            self.misses += 1
            found = compute()
        else:
            self.hits += 1
        self._kept[key] = found  # the youngest entry is the last
        if len(self._kept) > self.frames:
            del self._kept[next(iter(self._kept))]
        return found

    def __len__(self) -> int:
        return len(self._kept)
