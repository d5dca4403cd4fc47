"""Symmetries of a task about the vertical: what is seen and done, turned and mirrored, is as true.

Every window that is drawn is turned at random, so that what was learned of one direction holds for all eight ways of
looking at it, or four where quarter turns make a difference. The rewards, the potential and the base's phase stay what
they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from robo_reward.learning.replay import Batch


@dataclass(frozen=True)
class Parts:
    """Where the quantities that turn lie in a row; all other columns stay as they are."""

    vectors: tuple[int, ...] = ()
    """First column of each x, y pair of a place, a way or a force."""
    axial: tuple[int, ...] = ()
    """First column of each x, y pair of a rotation or a moment: a mirror turns it the other way."""
    angles: tuple[int, ...] = ()
    """Rotations and moments about the vertical."""


@dataclass(frozen=True)
class Symmetry:
    """A task that turns about the vertical and a mirror along it leave the same."""

    observation: Parts
    """Columns of (agent_pos, estimate)."""
    action: Parts
    quarters: bool = True
    """Whether quarter turns do; else only half turns, as with a hand of two fingers."""


@dataclass(frozen=True)
class Turns:
    """The K elements of a symmetry, each a choice of columns and their signs."""

    state_KS: np.ndarray
    state_sign_KS: np.ndarray
    action_KA: np.ndarray
    action_sign_KA: np.ndarray


def turns_of(symmetry: Symmetry, columns: Sequence[int], action_size: int) -> Turns:
    """The elements on the policy's input, which is made of these columns of (agent_pos, estimate), and on actions.

    Raises ValueError for an x whose y is not among the columns.
    """
    place = {column: index for index, column in enumerate(columns)}
    for first in (*symmetry.observation.vectors, *symmetry.observation.axial):
        if (first in place) != (first + 1 in place):
            raise ValueError(f"columns hold one of {first} and {first + 1}, which turn together: take both or neither")
    kept = Parts(*(
        tuple(place[column] for column in group if column in place)
        for group in (symmetry.observation.vectors, symmetry.observation.axial, symmetry.observation.angles)
    ))  # fmt: skip
    parts = ((kept, len(columns)), (symmetry.action, action_size))
    return Turns(*(array for part, size in parts for array in _elements(part, size, symmetry.quarters)))


def turned(batch: Batch, turns: Turns, rng: np.random.Generator) -> Batch:
    """The batch with every window turned by an element of its own."""
    drawn_B = rng.integers(len(turns.state_KS), size=len(batch.state_BS))

    def turn(values_BX: np.ndarray, places_KX: np.ndarray, signs_KX: np.ndarray) -> np.ndarray:
        size = places_KX.shape[1]
        rest = values_BX[:, size:]  # the base's phase
        new = np.take_along_axis(values_BX, places_KX[drawn_B], axis=1) * signs_KX[drawn_B]
        return np.concatenate([new, rest], axis=1) if rest.size else new

    state, action = (turns.state_KS, turns.state_sign_KS), (turns.action_KA, turns.action_sign_KA)
    return replace(
        batch,
        state_BS=turn(batch.state_BS, *state),
        next_state_BS=turn(batch.next_state_BS, *state),
        base_BR=turn(batch.base_BR, *action),
        next_base_BR=turn(batch.next_base_BR, *action),
        action_BA=turn(batch.action_BA, *action),
    )


def _elements(parts: Parts, size: int, quarters: bool) -> tuple[np.ndarray, np.ndarray]:
    """For each turn, plain and mirrored: the column that each one takes its value from, and its sign."""
    places, signs = [], []
    for mirrored in (False, True):
        place, sign = np.arange(size), np.ones(size, np.float32)
        if mirrored:  # y becomes -y
            sign[[x + 1 for x in parts.vectors]] *= -1
            sign[list(parts.axial)] *= -1
            sign[list(parts.angles)] *= -1
        for _ in range(4):
            places.append(place.copy())
            signs.append(sign.copy())
            for x in (*parts.vectors, *parts.axial):  # a quarter turn: x becomes -y, y becomes x
                place[x], place[x + 1] = place[x + 1], place[x]
                sign[x], sign[x + 1] = -sign[x + 1], sign[x]
    step = 1 if quarters else 2
    return np.array(places[::step]), np.array(signs[::step])
