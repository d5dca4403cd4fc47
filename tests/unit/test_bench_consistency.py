"""A hop model's answers against each other: a perfect one agrees with itself, others do not, each in its own way."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from robo_reward.progress.bench.consistency import consistency
from robo_reward.progress.hop import hop_from_potentials
from robo_reward.progress.references import Reference, References
from robo_reward.progress.tracker import TrackerSettings
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode, HopEstimate

LENGTH = 40


def episode(length: int = LENGTH) -> Episode:
    """Its frames brighten evenly from black to white."""
    steps = np.append(np.arange(0, length, 4), length)
    frames = np.array([np.full((2, 2, 3), round(255 * step / length)) for step in steps], np.uint8)
    return make_episode(length, success=False, instruction="push", frame_steps=steps, frames={"front": frames})


def asked(answer) -> SimpleNamespace:
    """A reward model whose hop follows from the two frames' brightness."""

    def hop(query):
        level = query.frames["front"].mean(axis=(1, 2, 3)) / 255
        found = np.asarray(answer(level[query.before_B], level[query.after_B]), np.float32)
        return HopEstimate(found, np.ones(len(found), np.float32), np.ones(len(found), bool))

    black, white = (np.full((1, 2, 2, 3), level, np.uint8) for level in (0, 255))
    references = References(push=Reference({"front": black}, {"front": white}))
    return SimpleNamespace(model=SimpleNamespace(hop=hop, model_id="m"), references=references,
                           tracker=TrackerSettings(every=4, fusion="average"))  # fmt: skip


def test_a_perfect_model_agrees_with_itself():
    found = consistency(asked(hop_from_potentials), [episode()], seed=0)
    assert {name: values.shape for name, values in found.items()} == dict.fromkeys(found, (1,))
    assert found["round_trip_error"] == pytest.approx([0], abs=1e-6)
    assert found["transitivity_residual"] == pytest.approx([0], abs=1e-6)
    assert found["stride_spread"] == pytest.approx([0], abs=1e-6)


def test_progress_that_is_never_taken_back_fails_the_round_trip():
    """Backwards it says 0, so there and back stays where `there` led."""
    model = asked(lambda p, q: np.where(q > p, hop_from_potentials(p, q), 0.0))
    found = consistency(model, [episode()], seed=0)
    assert found["round_trip_error"][0] > 0.1
    assert found["transitivity_residual"] == pytest.approx([0], abs=1e-6), "forwards it is right"


def test_steps_that_count_the_same_however_long_fail_the_others():
    """Every hop forwards covers a tenth of the rest: two hops cover more than one, and many queries more than few."""
    model = asked(lambda p, q: np.where(q > p, 0.1, np.where(q < p, -0.1, 0.0)))
    model.tracker = replace(model.tracker, fusion="kalman")
    found = consistency(model, [episode()], seed=0)
    assert found["transitivity_residual"][0] > 0.01 and found["stride_spread"][0] > 0.01


def test_an_episode_of_two_queries_is_undefined_and_not_perfect():
    found = consistency(asked(hop_from_potentials), [episode(3), episode()], seed=0)
    assert np.isnan(found["round_trip_error"]).tolist() == [True, False]
