"""Lift's stages and oracle: what they say of a good path, of failures and of a dropped cube."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robo_reward.envs.lift_progress import CubeInHand, oracle_of, stage_of

FAR = CubeInHand(along=0.05, across=0.05, height=0.20, gap=0.04, grasped=False, lift=0.0)
HOVERING = CubeInHand(along=0.005, across=0.0, height=0.05, gap=0.08, grasped=False, lift=0.0)
AROUND = CubeInHand(along=0.005, across=0.0, height=0.0, gap=0.08, grasped=False, lift=0.0)
HELD = CubeInHand(along=0.0, across=0.0, height=0.0, gap=0.041, grasped=True, lift=0.0)
LIFTED = HELD._replace(lift=0.041)


def test_each_stage_is_reached_in_turn_and_the_oracle_lies_in_its_quarter():
    for stage, state in enumerate([FAR, HOVERING, AROUND, HELD, LIFTED]):
        assert stage_of(state) == stage
        assert stage / 4 <= oracle_of(state) <= min(1.0, (stage + 1) / 4)
    assert oracle_of(LIFTED) == 1.0


def test_the_oracle_rises_along_a_textbook_lift():
    down = [HOVERING._replace(height=h) for h in np.linspace(0.20, 0.0, 40)]
    close = [AROUND._replace(gap=g) for g in np.linspace(0.08, 0.041, 10)]
    up = [HELD._replace(lift=h) for h in np.linspace(0.0, 0.045, 20)]
    progress = [oracle_of(state) for state in [*down, *close, *up]]
    assert np.all(np.diff(progress) >= -1e-9)
    assert np.abs(np.diff(progress)).max() < 0.25
    assert progress[-1] == 1.0


def test_a_dropped_cube_loses_its_progress():
    assert oracle_of(HELD._replace(lift=0.03)) > oracle_of(AROUND._replace(height=0.03)) + 0.2


def test_closing_beside_the_cube_is_no_grasp():
    beside = CubeInHand(along=0.03, across=0.0, height=0.0, gap=0.001, grasped=False, lift=0.0)
    assert stage_of(beside) <= 1


@pytest.mark.parametrize("lift,success", [(0.039, False), (0.040, True)])
def test_success_needs_four_centimetres(lift, success):
    assert (stage_of(HELD._replace(lift=lift)) == 4) is success


metres = st.floats(-1.0, 1.0)


@given(metres, metres, metres, st.floats(0.0, 0.08), st.booleans(), metres)
def test_the_oracle_is_defined_everywhere(along, across, height, gap, grasped, lift):
    state = CubeInHand(along, across, height, gap, grasped, lift)
    assert stage_of(state) / 4 <= oracle_of(state) <= min(1.0, (stage_of(state) + 1) / 4)
