"""Where a policy gets stuck, and how to come back there: return-and-explore of VLAC's graded protocol (2509.15937).

A monitor finds the observation from which the potential stalls or falls. The place is kept with its pictures, for a
person who puts the scene there by hand, and with the commands that led to it, by which a deterministic simulator comes
back to the very state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float32

from robo_reward.data.disk import replace_file
from robo_reward.types import Episode

ADVANCE = 0.02
"""Potential that counts as getting on."""
FALL = 0.15
"""Potential whose loss counts as a fall."""


@dataclass(frozen=True)
class Place:
    """A state that a policy got stuck in."""

    number: int
    """Of the rollout that found it."""
    seed: int
    """Of the initial state from which `actions` lead there."""
    actions: tuple[tuple[float, ...], ...]
    """Commanded since then, in [-1, 1] action units."""
    step: int
    """Observation of the rollout's episode."""
    phi: float
    """Potential there, in [0, 1]."""
    reason: str
    """`stalls` or `falls`: what the potential did from there on."""


def find_trouble(phi: Float32[np.ndarray, "T+1"], least: int) -> tuple[int, str] | None:
    """The observation from which a failed episode's potential fell or stalled, and which of the two; None for neither.

    Args:
        phi: potential of its observations.
        least: [steps] without progress at the end that count as a stall.
    """
    best = np.maximum.accumulate(phi)
    if (best - phi).max() >= FALL:
        bottom = int(np.argmax(best - phi))
        return int(np.argmax(phi[: bottom + 1])), "falls"
    advances, reached = 0, float(phi[0])
    for step, value in enumerate(phi):
        if value > reached + ADVANCE:
            advances, reached = step, float(value)
    return (advances, "stalls") if len(phi) - 1 - advances >= least else None


class Returning(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that remembers what was commanded, and begins chosen episodes at a place.

    The time that the way there took counts against the horizon.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.begin: dict[int, Place] = {}
        """Episode's seed -> where it begins."""
        self.seed, self.actions = 0, list[tuple[float, ...]]()
        """Of the present episode's scene, and what was commanded since its reset."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """The initial state of `seed`, or the place that is kept for it."""
        place = self.begin.get(seed) if seed is not None else None
        self.seed, self.actions = (seed or 0) if place is None else place.seed, []
        answer = self.env.reset(seed=seed if place is None else place.seed, options=options)
        for action in () if place is None else place.actions:
            observation, _, terminated, truncated, info = self.step(np.array(action, np.float32))
            if terminated or truncated:
                raise ValueError(f"place {place and place.number}: its episode ends on the way there; delete its file")
            answer = observation, info
        return answer

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """A step, remembered."""
        self.actions.append(tuple(float(value) for value in action))
        return self.env.step(action)


def propose(env: Returning, number: int, episode: Episode, phi: Float32[np.ndarray, "T+1"], least: int) -> Place | None:
    """The place that the episode which just ended in `env` got stuck in; None for a success or one that got on.

    Where the episode has pictures, it is the last pictured observation before the trouble.

    Args:
        number: of the rollout.
        phi, least: see `find_trouble`.
    """
    found = None if episode.success else find_trouble(phi, least)
    if found is None:
        return None
    step, reason = found
    if len(episode.frame_steps):
        step = int(episode.frame_steps[np.searchsorted(episode.frame_steps, step, side="right") - 1])
    before = len(env.actions) - len(episode)
    return Place(number, env.seed, tuple(env.actions[: before + step]), step, round(float(phi[step]), 4), reason)


def save_place(folder: Path, place: Place, episode: Episode) -> None:
    """NUMBER.json, and its views side by side as NUMBER.png where the episode has pictures."""
    folder.mkdir(exist_ok=True)
    at = np.flatnonzero(episode.frame_steps == place.step)
    if len(at) and episode.frames:
        from PIL import Image

        views = [episode.frames[name][at[0]] for name in sorted(episode.frames)]
        Image.fromarray(np.concatenate(views, axis=1)).save(folder / f"{place.number:05d}.png")
    replace_file(folder / f"{place.number:05d}.json", (json.dumps(asdict(place)) + "\n").encode())


def load_places(folder: Path, before: int | None = None) -> list[Place]:
    """The places of all rollouts, or of those before this number, in order. ValueError for a damaged file."""
    places = []
    for path in sorted(folder.glob("*.json")):
        try:
            found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            place = Place(**{**found, "actions": tuple(tuple(action) for action in found["actions"])})
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path} is no place of this program: delete it, others are found") from None
        if before is None or place.number < before:
            places.append(place)
    return places
