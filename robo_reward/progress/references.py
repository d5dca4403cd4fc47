"""Reference start and goal images: a demonstration's first and last frame, per instruction."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robo_reward.data.arrays import read_arrays
from robo_reward.types import Episode


@dataclass(frozen=True, eq=False)
class Reference:
    """K reference pairs of one task: view -> (K, H, W, 3) uint8 start frames and goal frames.

    Two of them are equal only if they are the same object, which therefore names its pictures in a cache.
    """

    start: Mapping[str, np.ndarray]
    goal: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.start.values())))


class References(dict[str, Reference]):
    """Instruction -> Reference. Looking up an unknown instruction raises ValueError with the known ones."""

    def __missing__(self, instruction: str) -> Reference:
        raise ValueError(f"no reference demonstration for instruction {instruction!r}; known: {sorted(self)}")

    @classmethod
    def from_demonstrations(cls, episodes: Sequence[Episode], per_task: int = 3) -> References:
        """The first `per_task` successful demonstrations of every instruction (experts and people before others)."""
        if per_task < 1:
            raise ValueError(f"per_task={per_task}: expected at least 1")
        found = cls()
        ranked = sorted(
            (e for e in episodes if e.success and len(e.frame_steps)), key=lambda e: e.source not in ("expert", "human")
        )
        for instruction in sorted({e.instruction for e in ranked}):
            chosen = [e for e in ranked if e.instruction == instruction][:per_task]
            views = sorted(set.intersection(*(set(e.frames) for e in chosen)))
            found[instruction] = Reference(
                {v: np.stack([e.frames[v][0] for e in chosen]) for v in views},
                {v: np.stack([e.frames[v][-1] for e in chosen]) for v in views},
            )
        if not found:
            raise ValueError("no successful demonstration among the episodes: references need at least one per task")
        return found

    def digest(self) -> str:
        """Twelve hex digits naming the instructions and their pixels."""
        sha = hashlib.sha256()
        for instruction in sorted(self):
            sha.update(instruction.encode())
            for side in (self[instruction].start, self[instruction].goal):
                for view in sorted(side):
                    sha.update(view.encode() + np.ascontiguousarray(side[view]).tobytes())
        return sha.hexdigest()[:12]

    def save(self, path: Path) -> None:
        """Write a compressed npz without pickles."""
        arrays: dict[str, np.ndarray] = {"instructions": np.array(sorted(self), dtype=np.str_)}
        for i, instruction in enumerate(sorted(self)):
            for name in ("start", "goal"):
                for view, frames in getattr(self[instruction], name).items():
                    arrays[f"{i}/{name}/{view}"] = frames
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> References:
        """Read what `save` wrote. Raises FileNotFoundError, or ValueError for a damaged file."""
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no reference images; train the reward model first")
        found = cls()
        try:
            data = read_arrays(path)
            for i, instruction in enumerate(data["instructions"].tolist()):
                sides = {
                    name: {k.split("/", 2)[2]: data[k] for k in data if k.startswith(f"{i}/{name}/")}
                    for name in ("start", "goal")
                }
                found[instruction] = Reference(**sides)
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(f"{path}: damaged reference file ({error}); train the reward model again") from error
        return found
