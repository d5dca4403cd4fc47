"""NutAssemblySquare's stages and oracle: what they say of a good path, of failures and of a dropped nut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robo_reward.envs.nut_progress import NutAndPeg, oracle_of, stage_of

FAR = NutAndPeg(sideways=0.15, height=0.20, grasped=False, off_peg=0.35, over_table=0.01, turn=0.5, on_peg=False)
NEAR = FAR._replace(sideways=0.01, height=0.05)
HELD = FAR._replace(sideways=0.0, height=0.0, grasped=True)
OVER = HELD._replace(off_peg=0.008, over_table=0.15, turn=0.0)
AROUND = OVER._replace(over_table=0.10, off_peg=0.005)
PLACED = AROUND._replace(over_table=0.049, on_peg=True)


def test_each_stage_is_reached_in_turn_and_the_oracle_lies_in_its_quarter():
    for stage, state in enumerate([FAR, NEAR, HELD, OVER, PLACED]):
        assert stage_of(state) == stage
        assert stage / 4 <= oracle_of(state) <= (stage + 1) / 4
    assert oracle_of(PLACED) == 1.0 and stage_of(AROUND) == 3


def test_the_oracle_rises_along_a_textbook_assembly():
    reach = [FAR._replace(sideways=0.15 * s, height=0.02 + 0.18 * s) for s in np.linspace(1, 0, 20)]
    grasp = [NEAR._replace(sideways=0.0, height=h) for h in np.linspace(0.02, 0.0, 5)]
    up = [HELD._replace(over_table=h) for h in np.linspace(0.01, 0.16, 20)]
    across = [up[-1]._replace(off_peg=s, turn=s) for s in np.linspace(0.35, 0.0, 40)]
    down = [across[-1]._replace(over_table=h) for h in np.linspace(0.16, 0.05, 20)]
    progress = [oracle_of(state) for state in [*reach, *grasp, *up, *across, *down]]
    assert np.all(np.diff(progress) >= -1e-9)
    assert np.abs(np.diff(progress)).max() < 0.2
    assert progress[-1] > 0.99


@pytest.mark.parametrize("state", [HELD._replace(over_table=0.15, off_peg=0.1), OVER])
def test_a_dropped_nut_loses_its_progress(state):
    beside = state._replace(grasped=False, over_table=0.01, off_peg=0.06, height=0.14)
    assert oracle_of(state) > oracle_of(beside) + 0.25


def test_over_the_peg_needs_height_and_a_hand_unless_the_peg_is_in_the_hole():
    assert stage_of(OVER._replace(over_table=0.12, off_peg=0.015)) == 2  # held beside the peg's upper end
    assert stage_of(OVER._replace(grasped=False, height=0.3)) == 0  # left lying on the peg's top
    assert stage_of(AROUND._replace(grasped=False, height=0.3)) == 3  # let go of around the peg


def test_a_turned_or_shifted_nut_is_further_from_success():
    assert oracle_of(OVER._replace(turn=0.6)) < oracle_of(OVER) - 0.02
    assert oracle_of(OVER._replace(off_peg=0.018)) < oracle_of(OVER) - 0.01


metres = st.floats(-1.0, 1.0)


@given(st.floats(0, 1), metres, st.booleans(), st.floats(0, 1), metres, st.floats(0, np.pi / 4), st.booleans())
def test_the_oracle_is_defined_everywhere(sideways, height, grasped, off_peg, over_table, turn, on_peg):
    state = NutAndPeg(sideways, height, grasped, off_peg, over_table, turn, on_peg)
    assert stage_of(state) / 4 <= oracle_of(state) <= min(1.0, (stage_of(state) + 1) / 4)
