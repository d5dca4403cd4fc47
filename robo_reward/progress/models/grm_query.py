"""What a language model is asked about a hop query: whole questions of eight pictures, each named by its pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from robo_reward.progress.blank import shows_nothing
from robo_reward.progress.models.grm_prompt import REFERENCE_IMAGES, SLOTS, image_slots
from robo_reward.types import HopQuery

SMALLEST, LARGEST = 28, 4096
"""Sides of a frame [pixels]."""


@dataclass(frozen=True)
class Question:
    """One question: what the robot is told, and the digests of its eight pictures."""

    instruction: str
    images: tuple[bytes, ...]

    @property
    def shared(self) -> int:
        """Pictures of its beginning that later questions begin with too: five when `before` is a reference."""
        before_is_reference = self.images[REFERENCE_IMAGES] in self.images[:REFERENCE_IMAGES]
        return REFERENCE_IMAGES + SLOTS if before_is_reference else REFERENCE_IMAGES


def questions_of(
    query: HopQuery, frames: Mapping[str, np.ndarray]
) -> tuple[list[list[Question]], dict[bytes, np.ndarray]]:
    """The questions of each pair, several beyond three views, and the pictures that they show by their digests.

    A picture that shows nothing counts as missing; a pair without a view that all its frames have has no question.
    Raises ValueError for a missing reference.
    """
    columns = np.stack([query.reference_start_B, query.reference_goal_B, query.before_B, query.after_B])
    used = np.unique(columns)
    if len(used) and not 0 <= used[0] <= used[-1] < len(next(iter(frames.values()))):
        raise ValueError(
            "hop query: a language model is shown both references in every question, and one of them is missing"
        )
    names: dict[tuple[str, int], bytes] = {}  # of pictures that show something
    pixels: dict[bytes, np.ndarray] = {}
    for view, pool in frames.items():
        for n, blank in zip(used.tolist(), shows_nothing(pool[used]).tolist(), strict=True):
            if not blank:
                digest = names[view, n] = digest_of(pool[n])
                pixels[digest] = pool[n]
    rows = []
    for b, (start, goal, before, after) in enumerate(columns.T.tolist()):
        seen = [v for v in frames if all((v, n) in names for n in (start, goal, before, after))]
        row = []
        for slots in image_slots(seen) if seen else ():
            shown = [(slots[0], start), (slots[0], goal), *((v, n) for n in (before, after) for v in slots)]
            row.append(Question(query.instruction_B[b], tuple(names[each] for each in shown)))
        rows.append(row)
    return rows, pixels


def checked_frames(frames: Mapping[str, np.ndarray], views: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Those of the frames that the model looks at, in its order. ValueError for none, or wrong size or type."""
    known = {v: frames[v] for v in views if v in frames}
    if not known:
        raise ValueError(
            f"0 views: cameras {sorted(frames)}, and the reward model looks at {', '.join(views)}; set reward.views"
        )
    for view, f in known.items():
        if f.dtype != np.uint8 or f.ndim != 4 or f.shape[3] != 3:
            raise ValueError(f"view {view}: frames {f.shape} {f.dtype}, expected (N, H, W, 3) uint8")
        if not SMALLEST <= min(f.shape[1:3]) <= max(f.shape[1:3]) <= LARGEST:
            raise ValueError(
                f"view {view}: frames of {f.shape[2]} x {f.shape[1]} pixels, expected sides of {SMALLEST} to "
                f"{LARGEST}; scale them"
            )
    return known


def digest_of(image: np.ndarray) -> bytes:
    """Names a picture by its pixels."""
    name = f"{image.shape}".encode()
    return hashlib.blake2b(np.ascontiguousarray(image).tobytes() + name, digest_size=16).digest()
