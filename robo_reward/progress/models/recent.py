"""What was used last, up to a budget: for features and caches that are too large to keep them all."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any


class Recent:
    """Values by key; beyond the budget, those not asked for longest go first. The last one put in always stays."""

    def __init__(self, budget: int) -> None:
        self.budget, self.used = budget, 0
        self._kept: dict[Hashable, tuple[Any, int]] = {}

    def get(self, key: Hashable) -> Any:
        """The value of this key, or None."""
        found = self._kept.pop(key, None)
        if found is None:
            return None
        self._kept[key] = found  # the youngest is the last
        return found[0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of so many units of the budget."""
        if key in self._kept:
            self.used -= self._kept.pop(key)[1]
        self._kept[key] = (value, size)
        self.used += size
        while self.used > self.budget and len(self._kept) > 1:
            self.used -= self._kept.pop(next(iter(self._kept)))[1]

    def __len__(self) -> int:
        return len(self._kept)
