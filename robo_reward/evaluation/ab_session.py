"""A blind session on a robot: several policies from matched initial states, in an order that nobody is told.

The order is drawn from a secret that the session keeps, so an interrupted session goes on with it; the log names slots,
not policies, until somebody asks for the outcomes.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.data.disk import replace_file
from robo_reward.evaluation.sequential import SequentialTest, decide

SESSION, LOG = "session.json", "session.jsonl"


@dataclass(frozen=True)
class Rollout:
    """The next one to run."""

    number: int
    """From 1."""
    state: int
    """Of the matched initial states, from 0."""
    slot: int
    """Of this state's rollouts, from 0; the first one's picture is what the others are matched to."""
    seed: int
    policy: str
    """Not to be shown."""


class BlindSession:
    """Opens the session in a folder, or begins one.

    Args:
        folder: exists.
        policies: name -> what identifies its weights.
        seeds: one for each initial state.
        test: of two policies, ends the session early; None runs all states.

    Raises:
        ValueError: the folder holds a session of other policies or states.
    """

    def __init__(
        self, folder: Path, policies: Mapping[str, str], seeds: Sequence[int], test: SequentialTest | None = None
    ) -> None:
        self._folder, self._names, self._seeds, self._test = folder, list(policies), list(seeds), test
        settings = {"policies": dict(policies), "first_seed": seeds[0], "states": len(seeds)}
        path = folder / SESSION
        if path.exists():
            held = json.loads(path.read_text(encoding="utf-8"))
            for name, value in settings.items():
                if held.get(name) != value:
                    raise ValueError(
                        f"{folder} holds a session begun with {name}={_short(held.get(name))}, not {_short(value)}: "
                        "finish it with what it began with, or choose another run.dir"
                    )
        else:
            held = {**settings, "secret": secrets.randbits(64)}
            replace_file(path, (json.dumps(held) + "\n").encode())
        self._secret = int(held["secret"])
        self.rows = _whole_lines(folder / LOG)

    def order(self, state: int) -> list[str]:
        """The policies of an initial state, in the order in which they run. Not to be shown."""
        return [self._names[i] for i in np.random.default_rng([self._secret, state]).permutation(len(self._names))]

    def rollouts(self) -> Iterator[Rollout]:
        """Those that are left; `record` each before the next is asked for."""
        while not self.over:
            number, count = len(self.rows), len(self._names)
            state, slot = divmod(number, count)
            yield Rollout(number + 1, state, slot, self._seeds[state], self.order(state)[slot])
            if len(self.rows) != number + 1:
                raise AssertionError("a rollout was not recorded")

    @property
    def over(self) -> bool:
        """Whether all states are done, or the test has its verdict."""
        states, left = divmod(len(self.rows), len(self._names))
        if states == len(self._seeds):
            return True
        if self._test is None or left or not states:
            return False
        first, second = ([row["success"] for row in rows] for rows in self.outcomes().values())
        return decide(first, second, self._test).done

    def record(self, rollout: Rollout, row: Mapping[str, Any]) -> None:
        """Append what became of a rollout, its `success` among it; on the disk before it returns."""
        self.rows.append({"number": rollout.number, "state": rollout.state, "slot": rollout.slot, **row})
        text = "".join(json.dumps(line) + "\n" for line in self.rows)
        replace_file(self._folder / LOG, text.encode())

    def outcomes(self) -> dict[str, list[dict[str, Any]]]:
        """Policy -> its rows, of the states at which all policies have run."""
        count = len(self._names)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in self._names}
        for row in self.rows[: len(self.rows) // count * count]:
            found[self.order(row["state"])[row["slot"]]].append(row)
        return found


def label_agreement(operator: Sequence[bool], completion: Sequence[bool]) -> dict[str, float | None]:
    """Share of rollouts that both label alike, and Cohen's kappa, None where neither label varies.

    Raises:
        ValueError: no labels, or rows of different lengths.
    """
    a, b = np.asarray(operator, bool), np.asarray(completion, bool)
    if not len(a) or len(a) != len(b):
        raise ValueError(f"{len(a)} labels of the operator and {len(b)} of the completion; expected equal numbers")
    alike = float((a == b).mean())
    chance = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
    return {"label_agreement": alike, "label_kappa": (alike - chance) / (1 - chance) if chance < 1 else None}


def overlay(target: np.ndarray, live: np.ndarray) -> np.ndarray:
    """Target start picture and live camera, half and half: what is out of place is seen twice. uint8 (H, W, 3)."""
    return ((target.astype(np.uint16) + live) // 2).astype(np.uint8)


def mismatch(target: Mapping[str, np.ndarray], start: Mapping[str, np.ndarray]) -> float:
    """Mean absolute difference of two start pictures over all cameras, in grey levels of 255."""
    return float(np.mean([np.abs(target[view].astype(float) - start[view]).mean() for view in target]))


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _short(value: Any) -> str:
    return ", ".join(f"{name} ({digest[:8]})" for name, digest in value.items()) if isinstance(value, dict) else value
